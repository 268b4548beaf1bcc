//! We are the client: logs in on a PostgreSQL server, request by request (bodies of `R` messages in, `p` frames out).
//!
//! Trust, password, MD5 and SCRAM-SHA-256 without channel binding; errors that the server sends (`E`) are the
//! caller's. The server proves itself too: after SCRAM has begun, AuthenticationOk without its signature is refused.
//!
//! Manual: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>; codes: `protocol.h`.

use std::fmt;
use std::io;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use crate::config::Secret;

/// A login under way on one server connection. `Debug` hides the password.
///
/// ```text
/// Fresh --Cleartext, MD5--> PasswordSent --Ok--> Ended
/// Fresh --SASL--> ScramBegun --SASLContinue--> ScramComputing --resume--> ProofSent --SASLFinal--> ServerProven
/// Fresh, ServerProven --Ok--> Ended;  any error --> Ended
/// ```
pub struct ServerLogin {
    user: String,
    password: Option<Secret>,
    state: State,
}

/// What the caller does next.
#[derive(Debug)]
pub enum Step {
    /// Send this frame (tag and length included), then read the next request.
    Send(Vec<u8>),
    /// Run [`SlowProof::compute`] on a thread that may block, then send what [`ServerLogin::resume`] gives.
    SendSlow(SlowProof),
    /// Nothing to send: read the next request.
    Continue,
    /// The server has let us in: ParameterStatus and the rest follow.
    Authenticated,
}

/// SCRAM's proof, not computed yet. Holds the password; moves to another thread.
pub struct SlowProof {
    scram: Box<ScramSha256>,
    server_first: Vec<u8>,
}

/// SCRAM's proof, for [`ServerLogin::resume`].
pub struct ComputedProof(Box<ScramSha256>);

/// Why a login on a server failed, on its side or for want of configuration on ours.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A request's body is shorter or longer than its kind allows.
    #[error("the server sent a malformed {0} request")]
    Malformed(&'static str),
    /// A method that we don't know how to answer.
    #[error("the server asks for {0} authentication, which is not supported")]
    Unsupported(&'static str),
    /// A code that no version of the protocol has.
    #[error("the server asks for an unknown authentication method (code {0})")]
    Unknown(i32),
    /// No SASL mechanism in common.
    #[error("the server offers no SASL mechanism that is supported, only: {0}")]
    NoMechanism(String),
    /// A request that can't follow what went before.
    #[error("the server sent {0} out of turn during authentication")]
    OutOfTurn(&'static str),
    /// The server asks for a password and the configuration has none.
    #[error(
        "the server asks for the password ({method}) of user \"{user}\", but none is configured: \
         set databases.NAME.password, or server_password (or a plain password) of its [[users]] entry"
    )]
    NoPassword {
        /// Our name on the server.
        user: String,
        /// What it would be used for.
        method: &'static str,
    },
    /// The password can't be sent: it holds a zero byte.
    #[error("the password of user \"{user}\" can't be sent to the server: {source}")]
    Unsendable {
        /// Our name on the server.
        user: String,
        /// What the encoder says.
        source: io::Error,
    },
    /// The server's part of SCRAM is malformed, or it doesn't know our password itself.
    #[error("SCRAM authentication on the server failed: {0}")]
    Scram(#[source] io::Error),
    /// AuthenticationOk before the server has proved that it knows our password.
    #[error("the server ended SCRAM authentication without proving its identity")]
    ServerUnproven,
}

// === impl ServerLogin ===

impl ServerLogin {
    /// A login as `user`, whose startup packet is on its way. An empty password counts as none, as in libpq.
    pub fn new(user: &str, password: Option<&Secret>) -> Self {
        Self {
            user: user.to_owned(),
            password: password.filter(|secret| !secret.reveal().is_empty()).cloned(),
            state: State::Fresh,
        }
    }

    /// Takes the body of one `R` message. After an error nothing but closing the connection is left.
    pub fn answer(&mut self, body: &[u8]) -> Result<Step, LoginError> {
        // An early return leaves `Ended`, which nothing leads out of.
        let state = std::mem::replace(&mut self.state, State::Ended);
        let request = Request::decode(body)?;
        match (state, request) {
            (State::Fresh | State::PasswordSent | State::ServerProven, Request::Ok) => {
                Ok(Step::Authenticated)
            }
            (State::Fresh, Request::Cleartext) => self.send_cleartext(),
            (State::Fresh, Request::Md5(salt)) => self.send_md5(salt),
            (State::Fresh, Request::Sasl(mechanisms)) => self.begin_scram(mechanisms),
            (State::ScramBegun(scram), Request::SaslContinue(data)) => {
                self.state = State::ScramComputing;
                Ok(Step::SendSlow(SlowProof { scram, server_first: data.to_vec() }))
            }
            (State::ProofSent(mut scram), Request::SaslFinal(data)) => {
                scram.finish(data).map_err(LoginError::Scram)?;
                self.state = State::ServerProven;
                Ok(Step::Continue)
            }
            (State::ScramBegun(_) | State::ScramComputing | State::ProofSent(_), Request::Ok) => {
                Err(LoginError::ServerUnproven)
            }
            (
                State::Fresh
                | State::PasswordSent
                | State::ScramBegun(_)
                | State::ScramComputing
                | State::ProofSent(_)
                | State::ServerProven
                | State::Ended,
                request,
            ) => Err(LoginError::OutOfTurn(request.name())),
        }
    }

    /// Takes back the proof of [`Step::SendSlow`]; gives the frame to send.
    pub fn resume(&mut self, proof: ComputedProof) -> Result<Vec<u8>, LoginError> {
        let ComputedProof(scram) = proof;
        match std::mem::replace(&mut self.state, State::Ended) {
            State::ScramComputing => {}
            State::Fresh
            | State::PasswordSent
            | State::ScramBegun(_)
            | State::ProofSent(_)
            | State::ServerProven
            | State::Ended => return Err(LoginError::OutOfTurn("a proof")),
        }
        let frame = self.frame(|buffer| frontend::sasl_response(scram.message(), buffer))?;
        self.state = State::ProofSent(scram);
        Ok(frame)
    }

    fn send_cleartext(&mut self) -> Result<Step, LoginError> {
        let password = self.password("password")?;
        let frame = self.frame(|buffer| frontend::password_message(password, buffer))?;
        self.state = State::PasswordSent;
        Ok(Step::Send(frame))
    }

    fn send_md5(&mut self, salt: [u8; 4]) -> Result<Step, LoginError> {
        let hash = md5_hash(self.user.as_bytes(), self.password("md5")?, salt);
        let frame = self.frame(|buffer| frontend::password_message(hash.as_bytes(), buffer))?;
        self.state = State::PasswordSent;
        Ok(Step::Send(frame))
    }

    fn begin_scram(&mut self, mechanisms: &[u8]) -> Result<Step, LoginError> {
        check_mechanisms(mechanisms)?;
        let password = self.password("scram-sha-256")?;
        // Without TLS there is nothing to bind to: `n,,`, as libpq.
        let scram = Box::new(ScramSha256::new(password, ChannelBinding::unsupported()));
        let frame = self.frame(|buffer| {
            frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), buffer)
        })?;
        self.state = State::ScramBegun(scram);
        Ok(Step::Send(frame))
    }

    fn password(&self, method: &'static str) -> Result<&[u8], LoginError> {
        match &self.password {
            Some(password) => Ok(password.reveal().as_bytes()),
            None => Err(LoginError::NoPassword { user: self.user.clone(), method }),
        }
    }

    fn frame(
        &self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<Vec<u8>, LoginError> {
        let mut buffer = BytesMut::new();
        write(&mut buffer)
            .map_err(|source| LoginError::Unsendable { user: self.user.clone(), source })?;
        Ok(buffer.into())
    }
}

impl fmt::Debug for ServerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLogin").field("user", &self.user).finish_non_exhaustive()
    }
}

// === impl SlowProof ===

impl SlowProof {
    /// PBKDF2 with as many rounds as the server wants (4096 usually, 100,000 at most).
    pub fn compute(mut self) -> Result<ComputedProof, LoginError> {
        self.scram.update(&self.server_first).map_err(LoginError::Scram)?;
        Ok(ComputedProof(self.scram))
    }
}

impl fmt::Debug for SlowProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowProof").finish_non_exhaustive()
    }
}

impl fmt::Debug for ComputedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputedProof").finish_non_exhaustive()
    }
}

// === impl LoginError ===

impl LoginError {
    /// The SQLSTATE for a client that waits for this server connection.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Unknown(_) | Self::OutOfTurn(_) => "08P01",
            Self::Unsupported(_) | Self::NoMechanism(_) => "0A000",
            Self::NoPassword { .. }
            | Self::Unsendable { .. }
            | Self::Scram(_)
            | Self::ServerUnproven => "28000",
        }
    }

    /// Whether the configuration, not the server, must change for the login to succeed.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::NoPassword { .. } | Self::Unsendable { .. } => true,
            Self::Malformed(_)
            | Self::Unsupported(_)
            | Self::Unknown(_)
            | Self::NoMechanism(_)
            | Self::OutOfTurn(_)
            | Self::Scram(_)
            | Self::ServerUnproven => false,
        }
    }
}

/// Where a login stands.
enum State {
    /// Nothing asked yet.
    Fresh,
    /// The password, plain or hashed, is sent.
    PasswordSent,
    /// SASLInitialResponse is sent.
    ScramBegun(Box<ScramSha256>),
    /// The caller has the proof to compute.
    ScramComputing,
    /// The proof is sent.
    ProofSent(Box<ScramSha256>),
    /// The server's signature was right.
    ServerProven,
    /// Logged in, or failed.
    Ended,
}

/// An Authentication message.
#[derive(Debug)]
enum Request<'a> {
    Ok,
    Cleartext,
    Md5([u8; 4]),
    Sasl(&'a [u8]),
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
}

impl<'a> Request<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, LoginError> {
        let (code, data) =
            body.split_first_chunk::<4>().ok_or(LoginError::Malformed("authentication"))?;
        // AUTH_REQ_* in PostgreSQL's src/include/libpq/protocol.h (pqcomm.h before 17).
        let request = match i32::from_be_bytes(*code) {
            0 => Self::Ok,
            3 => Self::Cleartext,
            5 => Self::Md5(
                data.try_into()
                    .map_err(|_length| LoginError::Malformed("AuthenticationMD5Password"))?,
            ),
            10 => Self::Sasl(data),
            11 => Self::SaslContinue(data),
            12 => Self::SaslFinal(data),
            1 => return Err(LoginError::Unsupported("Kerberos V4")),
            2 => return Err(LoginError::Unsupported("Kerberos V5")),
            4 => return Err(LoginError::Unsupported("crypt password")),
            6 => return Err(LoginError::Unsupported("SCM credential")),
            7 | 8 => return Err(LoginError::Unsupported("GSSAPI")),
            9 => return Err(LoginError::Unsupported("SSPI")),
            unknown => return Err(LoginError::Unknown(unknown)),
        };
        match request {
            Self::Ok | Self::Cleartext if !data.is_empty() => {
                Err(LoginError::Malformed(request.name()))
            }
            request => Ok(request),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Ok => "AuthenticationOk",
            Self::Cleartext => "AuthenticationCleartextPassword",
            Self::Md5(_) => "AuthenticationMD5Password",
            Self::Sasl(_) => "AuthenticationSASL",
            Self::SaslContinue(_) => "AuthenticationSASLContinue",
            Self::SaslFinal(_) => "AuthenticationSASLFinal",
        }
    }
}

/// Is SCRAM-SHA-256 in the list of zero-terminated names, itself ended by an empty one?
fn check_mechanisms(list: &[u8]) -> Result<(), LoginError> {
    let names = match list {
        [0] => list,
        [names @ .., 0, 0] => names,
        [..] => return Err(LoginError::Malformed("AuthenticationSASL")),
    };
    let mut names = names.split(|byte| *byte == 0);
    if names.any(|name| name == SCRAM_SHA_256.as_bytes()) {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(list).replace('\0', " ");
    let shown = shown.trim().chars().take(SHOWN_CHARS).collect();
    Err(LoginError::NoMechanism(shown))
}

/// So much of a server's text goes into an error.
const SHOWN_CHARS: usize = 200;

#[cfg(test)]
mod tests;
