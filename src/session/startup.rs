//! The first packets of a connection, up to the one that asks for a session.

use std::rc::Rc;

use super::context::Context;
use super::wire::{Missing, Wire};
use crate::protocol::startup::{SessionRequest, Startup, StartupError, decode};
use crate::protocol::{LocalError, SqlState};
use crate::telemetry::metrics::{LoginFailure, ProcessCounter};

/// Answer to a wish for encryption: no.
const NO_ENCRYPTION: &[u8] = b"N";

/// Reads up to the session request. `None`: there will be no session.
pub(super) async fn session_request(
    wire: &mut Wire,
    context: &Rc<Context>,
) -> Option<SessionRequest> {
    // Each kind of encryption may be asked for once, as in PostgreSQL.
    let (mut ssl_asked, mut gss_asked) = (false, false);
    loop {
        let packet = match wire.packet().await {
            Ok(packet) => packet,
            Err(Missing::Gone) => return None,
            Err(Missing::Malformed(why)) => {
                tracing::debug!(peer = %wire.peer, %why, "connection refused");
                return None;
            }
        };
        match decode(&packet) {
            Ok(Startup::SslRequest) if !ssl_asked => ssl_asked = true,
            Ok(Startup::GssEncRequest) if !gss_asked => gss_asked = true,
            Ok(Startup::SslRequest | Startup::GssEncRequest) => return None,
            Ok(Startup::Cancel { pid, key }) => {
                if !context.cancels.cancel(pid, key).await {
                    tracing::debug!(peer = %wire.peer, pid, "cancel request with an unknown key");
                    context.process.count(ProcessCounter::UnknownCancels);
                }
                return None;
            }
            Ok(Startup::Session(request)) => return Some(request),
            Err(error) => {
                refuse(wire, context, &error).await;
                return None;
            }
        }
        wire.send(NO_ENCRYPTION).await.ok()?;
    }
}

async fn refuse(wire: &mut Wire, context: &Context, error: &StartupError) {
    tracing::debug!(peer = %wire.peer, %error, "connection refused");
    context.process.count_login_failure(LoginFailure::Protocol);
    let code = match error {
        // PostgreSQL says nothing to who does not speak its protocol.
        StartupError::Length => return,
        StartupError::Version(..) => SqlState::FEATURE_NOT_SUPPORTED,
        StartupError::NoUser | StartupError::Encoding => SqlState::INVALID_AUTHORIZATION,
        StartupError::Layout => SqlState::PROTOCOL_VIOLATION,
    };
    let told = match error {
        // Protocol 2 had errors without a length and without fields.
        StartupError::Version(0..=2, _) => format!("EFATAL:  {error}\n\0").into_bytes(),
        _ => LocalError::fatal(code, error.to_string()).to_frame(),
    };
    // If it can't be told, it is gone.
    let _ = wire.send(&told).await;
}
