//! We are the server: a client proves by SCRAM-SHA-256 that it knows its password (RFC 5802, RFC 7677).
//!
//! Behaves as PostgreSQL's `auth-scram.c` on a connection without TLS, word for word. Carrying the messages
//! (AuthenticationSASL, -Continue, -Final and the client's `p`) is the caller's; who exists is [`super::credentials`]'.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::{Choice, ConstantTimeEq};

use super::client_message::{Binding, ClientFinal, ClientFirst};
use super::digest;
use super::scram_error::ScramError;
use super::verifier::Verifier;

/// PostgreSQL's SCRAM_RAW_NONCE_LEN: random bytes before base64.
const NONCE_BYTES: usize = 18;

/// An exchange whose challenge is out: only the client's final message can follow, once, so the type is the state.
///
/// `begin` -> (server-first-message) -> `finish` -> server-final-message | error
#[derive(Debug)]
pub struct ServerExchange {
    verifier: Verifier,
    is_mock: bool,
    binding: Binding,
    /// The client's nonce and ours.
    nonce: Vec<u8>,
    /// client-first-message-bare "," server-first-message ",": AuthMessage lacks only the final message.
    signed: Vec<u8>,
}

impl ServerExchange {
    /// Reads the client-first-message; gives the server-first-message, data of AuthenticationSASLContinue.
    ///
    /// With `is_mock` the exchange looks like any other and fails at the end.
    pub fn begin(
        client_first: &[u8],
        verifier: Verifier,
        is_mock: bool,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        // The message's faults come first, as in PostgreSQL: no randomness is spent on garbage.
        let first = ClientFirst::parse(client_first)?;
        let mut random = [0; NONCE_BYTES];
        getrandom::fill(&mut random).map_err(|_cause| ScramError::NoRandomness)?;
        let server_nonce = BASE64.encode(random);
        Ok(Self::challenge(&first, verifier, is_mock, &server_nonce))
    }

    /// Reads the client-final-message; gives the server-final-message, data of AuthenticationSASLFinal:
    /// the client is who it says.
    pub fn finish(self, client_final: &[u8]) -> Result<Vec<u8>, ScramError> {
        let last = ClientFinal::parse(client_final, self.binding)?;
        if !bool::from(last.nonce.ct_eq(&self.nonce)) {
            return Err(ScramError::NonceMismatch);
        }
        let auth_message = [&self.signed, last.without_proof];
        let signature = digest::hmac(&self.verifier.stored_key, &auth_message);
        let client_key = digest::xor(&last.proof, &signature);
        // Computed for a mock too: a user that doesn't exist takes as long as one that does.
        let is_proven = digest::hash(&client_key).ct_eq(&self.verifier.stored_key);
        if !bool::from(is_proven & !Choice::from(u8::from(self.is_mock))) {
            return Err(ScramError::Proof);
        }
        let signature = digest::hmac(&self.verifier.server_key, &auth_message);
        Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
    }

    fn challenge(
        first: &ClientFirst<'_>,
        verifier: Verifier,
        is_mock: bool,
        server_nonce: &str,
    ) -> (Self, Vec<u8>) {
        let nonce = [first.nonce, server_nonce.as_bytes()].concat();
        let salt = BASE64.encode(&verifier.salt);
        let rest = format!(",s={salt},i={}", verifier.iterations);
        let server_first = [b"r=", nonce.as_slice(), rest.as_bytes()].concat();
        let exchange = Self {
            signed: [first.bare, b",", &server_first, b","].concat(),
            binding: first.binding,
            nonce,
            verifier,
            is_mock,
        };
        (exchange, server_first)
    }
}

#[cfg(test)]
mod tests;
