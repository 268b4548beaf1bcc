//! Asking a client for its password by SCRAM-SHA-256.

use std::rc::Rc;

use super::context::Context;
use super::wire::{Missing, Wire};
use crate::auth::{Lookup, ScramError, ServerExchange, Verifier, initial_response};
use crate::protocol::{LocalError, SqlState, writer};

/// Why a client is not let in.
pub(super) enum Refusal {
    /// It is gone.
    Gone,
    /// It is told this.
    Told(LocalError),
}

impl From<std::io::Error> for Refusal {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

/// Runs the exchange; `Ok` lets the client in.
pub(super) async fn authenticate(
    wire: &mut Wire,
    context: &Rc<Context>,
    user: &str,
) -> Result<(), Refusal> {
    let refused = |error: ScramError| Refusal::Told(refusal(&error, user));
    let (verifier, is_mock) = verifier(context, user).await.ok_or(Refusal::Gone)?;

    let mut out = Vec::new();
    writer::authentication_sasl(&mut out);
    wire.send(&out).await?;
    let body = password_message(wire).await?;
    let client_first = if let Some(data) = initial_response(&body).map_err(refused)? {
        data.to_vec()
    } else {
        out.clear();
        writer::authentication_sasl_continue(&mut out, b"");
        wire.send(&out).await?;
        password_message(wire).await?
    };
    let (exchange, server_first) =
        ServerExchange::begin(&client_first, verifier, is_mock).map_err(refused)?;
    out.clear();
    writer::authentication_sasl_continue(&mut out, &server_first);
    wire.send(&out).await?;
    let client_final = password_message(wire).await?;
    let server_final = exchange.finish(&client_final).map_err(refused)?;
    out.clear();
    writer::authentication_sasl_final(&mut out, &server_final);
    wire.send(&out).await?;
    Ok(())
}

/// What the user must prove to know, and whether it is a mock.
async fn verifier(context: &Rc<Context>, user: &str) -> Option<(Verifier, bool)> {
    match context.credentials().verifier(user) {
        Lookup::Known(verifier) => Some((verifier, false)),
        Lookup::Mock(verifier) => Some((verifier, true)),
        // PBKDF2 takes milliseconds: not on the worker's reactor.
        Lookup::Derive(job) => {
            let verifier = tokio::task::spawn_blocking(move || job.compute()).await.ok()?;
            Some((verifier, false))
        }
    }
}

async fn password_message(wire: &mut Wire) -> Result<Vec<u8>, Refusal> {
    wire.password_message().await.map_err(|missing| match missing {
        Missing::Gone => Refusal::Gone,
        Missing::Malformed(_) => {
            let tag = wire.received.first().copied().unwrap_or_default();
            let message = if tag == b'p' {
                "invalid length of a password message".to_owned()
            } else {
                format!("expected SASL response, got message type {tag}")
            };
            Refusal::Told(LocalError::fatal(SqlState::PROTOCOL_VIOLATION, message))
        }
    })
}

fn refusal(error: &ScramError, user: &str) -> LocalError {
    if matches!(error, ScramError::Proof) {
        let message = format!("password authentication failed for user \"{user}\"");
        return LocalError::fatal(SqlState::INVALID_PASSWORD, message);
    }
    let code = error.sqlstate().as_bytes().try_into().map_or(SqlState::INTERNAL_ERROR, SqlState);
    let told = LocalError::fatal(code, error.to_string());
    match error.detail() {
        Some(detail) => told.detail(detail),
        None => told,
    }
}
