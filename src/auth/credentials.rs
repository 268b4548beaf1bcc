//! What the proxy knows of each user's password, shared by all workers.
//!
//! A user that doesn't exist, one without a usable password and one whose password is wrong must look alike to a
//! client (issue 3, point 5): everybody gets a verifier, and nobody can see whether it is a mock.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::verifier::{self, ITERATIONS, SALT_BYTES, Verifier};
use crate::config::{Config, Secret, User};

/// The users of one configuration. After a reload there is a new one.
pub struct Credentials {
    entries: HashMap<String, Entry>,
    mock_key: [u8; 32],
}

/// What a login of some user starts with.
#[derive(Debug)]
pub enum Lookup {
    /// The user's verifier.
    Known(Verifier),
    /// The user's password is known but its verifier was not derived yet: run the job, which is slow.
    Derive(DeriveJob),
    /// No password would do: go through the motions with this verifier and `is_mock`.
    Mock(Verifier),
}

/// PBKDF2 for one user, to be run on a thread that may block.
pub struct DeriveJob(Arc<PlainPassword>);

/// Why a user of the configuration can never log in by SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Neither password nor verifier.
    #[error("no password is set")]
    NoPassword,
    /// An MD5 hash, from which no SCRAM verifier can be made.
    #[error("the password is an MD5 hash, which SCRAM can't use")]
    Md5Hash,
    /// Written as a verifier, but malformed: taking it for a password would be worse.
    #[error("the password is a malformed SCRAM-SHA-256 verifier")]
    MalformedVerifier,
}

/// The password for the server in a `[[users]]` entry: `server_password`, else `password` if it is plain.
pub fn server_password(user: &User) -> Option<&Secret> {
    user.server_password.as_ref().or_else(|| {
        let password = user.password.as_ref()?;
        let is_plain = matches!(Password::of(Some(password)), Password::Plain(_));
        is_plain.then_some(password)
    })
}

// === impl Credentials ===

impl Credentials {
    /// Reads the verifiers of all users; derives none.
    pub fn new(config: &Config) -> Self {
        let mock_key = config.auth.mock_key;
        let entries = config.users.iter().map(|(name, user)| {
            let entry = match Password::of(user.password.as_ref()) {
                Password::Verifier(verifier) => Entry::Ready(verifier),
                Password::Plain(password) => Entry::Plain(Arc::new(PlainPassword {
                    password: password.clone(),
                    salt: verifier::salt_of(name, &mock_key),
                    verifier: OnceLock::new(),
                })),
                Password::Unusable(reason) => Entry::Unusable(reason),
            };
            (name.clone(), entry)
        });
        Self { entries: entries.collect(), mock_key }
    }

    /// What to check a client's proof against. Never blocks.
    pub fn verifier(&self, user: &str) -> Lookup {
        match self.entries.get(user) {
            Some(Entry::Ready(verifier)) => Lookup::Known(verifier.clone()),
            Some(Entry::Plain(plain)) => match plain.verifier.get() {
                Some(verifier) => Lookup::Known(verifier.clone()),
                None => Lookup::Derive(DeriveJob(Arc::clone(plain))),
            },
            Some(Entry::Unusable(_)) | None => Lookup::Mock(Verifier::mock(user, &self.mock_key)),
        }
    }

    /// Derives every verifier that is still missing: for a background thread at start, so that a user's first login
    /// takes no longer than that of a user who doesn't exist.
    pub fn derive_all(&self) {
        for entry in self.entries.values() {
            if let Entry::Plain(plain) = entry {
                plain.derived();
            }
        }
    }

    /// Users that can never log in by SCRAM, for a warning at start. In no particular order.
    pub fn unusable(&self) -> impl Iterator<Item = (&str, Unusable)> {
        self.entries.iter().filter_map(|(name, entry)| match entry {
            Entry::Unusable(reason) => Some((name.as_str(), *reason)),
            Entry::Ready(_) | Entry::Plain(_) => None,
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("users", &self.entries.len()).finish_non_exhaustive()
    }
}

// === impl DeriveJob ===

impl DeriveJob {
    /// The user's verifier, kept for later logins. Jobs of one user that run at once wait for the first.
    pub fn compute(self) -> Verifier {
        self.0.derived().clone()
    }
}

impl fmt::Debug for DeriveJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeriveJob").finish_non_exhaustive()
    }
}

/// A user of the configuration.
enum Entry {
    Ready(Verifier),
    Plain(Arc<PlainPassword>),
    Unusable(Unusable),
}

/// A password and, once somebody has needed it, its verifier.
struct PlainPassword {
    password: Secret,
    salt: [u8; SALT_BYTES],
    verifier: OnceLock<Verifier>,
}

impl PlainPassword {
    fn derived(&self) -> &Verifier {
        self.verifier
            .get_or_init(|| Verifier::derive(self.password.reveal(), &self.salt, ITERATIONS))
    }
}

/// A configured password, by the way it is written (PostgreSQL's `get_password_type`).
enum Password<'a> {
    Plain(&'a Secret),
    Verifier(Verifier),
    Unusable(Unusable),
}

impl<'a> Password<'a> {
    fn of(password: Option<&'a Secret>) -> Self {
        let Some(password) = password.filter(|secret| !secret.reveal().is_empty()) else {
            return Self::Unusable(Unusable::NoPassword);
        };
        let text = password.reveal();
        if Verifier::is_written_as(text) {
            Verifier::parse(text)
                .map_or(Self::Unusable(Unusable::MalformedVerifier), Self::Verifier)
        } else if is_md5_hash(text) {
            Self::Unusable(Unusable::Md5Hash)
        } else {
            Self::Plain(password)
        }
    }
}

/// `md5` and 32 hexadecimal digits, lower case as PostgreSQL writes them.
fn is_md5_hash(text: &str) -> bool {
    text.strip_prefix("md5").is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|digit| b"0123456789abcdef".contains(&digit))
    })
}

#[cfg(test)]
mod tests;
