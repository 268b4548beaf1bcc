//! What a server keeps instead of a password: RFC 5803's fields, as PostgreSQL writes them in `pg_authid.rolpassword`:
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (salt and keys in base64).
//!
//! Manual: <https://www.postgresql.org/docs/current/catalog-pg-authid.html>.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::digest::{self, Key};

/// PostgreSQL's SCRAM_SHA_256_DEFAULT_ITERATIONS.
pub const ITERATIONS: u32 = 4096;

/// PostgreSQL's SCRAM_DEFAULT_SALT_LEN.
pub const SALT_BYTES: usize = 16;

/// How a verifier begins; a password that begins so is meant to be one.
const PREFIX: &str = "SCRAM-SHA-256$";

/// Enough to check a client's proof and to prove ourselves to it. `Debug` hides all but the iterations.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl Verifier {
    /// Whether a configured password is written as a verifier (it may still be malformed).
    pub fn is_written_as(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads PostgreSQL's form; `None` if a part is missing, too long or not base64.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let verifier = Self {
            iterations: parse_iterations(iterations)?,
            salt: BASE64.decode(salt).ok()?,
            stored_key: parse_key(stored_key)?,
            server_key: parse_key(server_key)?,
        };
        (!verifier.salt.is_empty()).then_some(verifier)
    }

    /// From the password itself. Slow (PBKDF2): not for a thread that serves clients.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = digest::salted_password(prepare(password).as_bytes(), salt, iterations);
        let client_key = digest::hmac(&salted, &[b"Client Key"]);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: digest::hash(&client_key),
            server_key: digest::hmac(&salted, &[b"Server Key"]),
        }
    }

    /// For a user without a usable password: same look, and keys that no password matches.
    pub fn mock(user: &str, key: &[u8; 32]) -> Self {
        Self {
            iterations: ITERATIONS,
            salt: salt_of(user, key).to_vec(),
            stored_key: digest::hmac(key, &[b"stored key of ", user.as_bytes()]),
            server_key: digest::hmac(key, &[b"server key of ", user.as_bytes()]),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// A user's salt, the same as long as the key is: users that exist and those that don't get theirs the same way, so
/// that neither a restart nor a reload tells them apart.
pub(super) fn salt_of(user: &str, key: &[u8; 32]) -> [u8; SALT_BYTES] {
    let digest = digest::hmac(key, &[b"salt of ", user.as_bytes()]);
    std::array::from_fn(|at| digest[at])
}

/// SASLprep (RFC 4013) as PostgreSQL's `pg_saslprep` is used: what it refuses, or what leaves nothing, is taken raw.
fn prepare(password: &str) -> Cow<'_, str> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        Ok(_) | Err(_) => Cow::Borrowed(password),
    }
}

fn parse_iterations(text: &str) -> Option<u32> {
    let iterations: i32 = text.parse().ok()?;
    u32::try_from(iterations).ok().filter(|count| *count > 0)
}

fn parse_key(text: &str) -> Option<Key> {
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by PostgreSQL 15.20 for the password `pencil`.
    const PENCIL: &str = "SCRAM-SHA-256$4096:IXUYul96V/g3OfchWuNcBA==$\
        BbkAPWjfHSosiMfhBalAYYlhswL4Vt6ItUF5DZpaE3g=:pOXQjGMn6G2Z1I/jvP4INEfcHQELbIEshxu2nrUwVf4=";

    #[test]
    fn a_verifier_of_postgresql_is_what_we_derive() {
        let read = Verifier::parse(PENCIL).unwrap();
        assert_eq!(read.iterations, ITERATIONS);
        assert_eq!(read.salt.len(), SALT_BYTES);
        assert_eq!(Verifier::derive("pencil", &read.salt, 4096), read);
        assert_ne!(Verifier::derive("pencil ", &read.salt, 4096), read);
    }

    #[test]
    fn malformed_verifiers_are_refused() {
        for (from, to) in [
            ("SCRAM-SHA-256$", "SCRAM-SHA-1$"),
            ("4096", "0"),
            ("4096", "-1"),
            ("4096", "x"),
            ("4096", "4294967295"),
            ("==$", "$"),
            ("IXUYul96V/g3OfchWuNcBA==", ""),
            ("BbkA", ""),
            ("BbkA", "BbkABbkA"),
            ("g=:", "g:"),
            ("g=:", "g="),
        ] {
            let text = PENCIL.replacen(from, to, 1);
            assert_ne!(text, PENCIL);
            assert_eq!(Verifier::parse(&text), None, "{text}");
        }
        assert_eq!(Verifier::parse(&format!("{PENCIL}:")), None);
    }

    /// RFC 4013 section 3, and passwords that SASLprep refuses.
    #[test]
    fn passwords_are_prepared_as_postgresql_does() {
        assert_eq!(prepare("I\u{ad}X"), "IX");
        assert_eq!(prepare("\u{aa}"), "a");
        assert_eq!(prepare("a\u{7}b"), "a\u{7}b");
        assert_eq!(prepare("\u{ad}"), "\u{ad}");
        assert_eq!(prepare("\u{627}1"), "\u{627}1");
    }

    #[test]
    fn mocks_look_like_real_ones_and_differ_by_user_and_key() {
        let mock = Verifier::mock("ghost", &[1; 32]);
        assert_eq!(mock, Verifier::mock("ghost", &[1; 32]));
        assert_eq!((mock.iterations, mock.salt.len()), (ITERATIONS, SALT_BYTES));
        assert_ne!(mock.salt, Verifier::mock("other", &[1; 32]).salt);
        assert_ne!(mock.salt, Verifier::mock("ghost", &[2; 32]).salt);
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", Verifier::parse(PENCIL).unwrap());
        assert_eq!(shown, "Verifier { iterations: 4096, .. }");
    }
}
