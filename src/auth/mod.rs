//! Who a client is, and who we are to a server: the conversations of a login, without the sockets.
//!
//! * [`credentials`]: what we know of each user, whether it exists or not.
//! * [`server_exchange`]: we are the server, a client proves that it knows its password.
//! * [`client_exchange`]: we are the client and log in on a PostgreSQL server.
//! * [`verifier`]: what a server keeps instead of a password.
//!
//! All of it is pure: bodies of messages come in, bodies or frames go out. PBKDF2, the one slow step, is always
//! a value of its own (`DeriveJob`, `SlowProof`) that the caller may move to another thread.
//!
//! Manual: <https://www.postgresql.org/docs/current/sasl-authentication.html>. SCRAM: RFC 5802, RFC 7677.

pub mod client_exchange;
pub mod client_message;
pub mod credentials;
mod digest;
pub mod scram_error;
pub mod server_exchange;
pub mod verifier;

pub use client_exchange::{ComputedProof, LoginError, ServerLogin, SlowProof, Step};
pub use client_message::{MECHANISMS, initial_response};
pub use credentials::{Credentials, DeriveJob, Lookup, Unusable, server_password};
pub use scram_error::{Malformation, ScramError};
pub use server_exchange::ServerExchange;
pub use verifier::Verifier;
