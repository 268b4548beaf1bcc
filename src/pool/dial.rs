//! Opening a server connection: connect, startup packet, log in, read on to ReadyForQuery.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::key::Target;
use crate::auth::{LoginError, ServerLogin, Step};
use crate::config::{Address, Net};
use crate::net::{Stream, tune};
use crate::protocol::frame::{HEADER_BYTES, server_header};
use crate::protocol::{LocalError, ServerError, SqlState, message, writer};

/// Longest message of a server before its first ReadyForQuery.
const LOGIN_MESSAGE_MAX: usize = 1024 * 1024;

/// A connection that has just logged in.
#[derive(Debug)]
pub struct Dialled {
    /// Its socket.
    pub stream: Stream,
    /// Process ID of the backend.
    pub pid: i32,
    /// Its cancel key.
    pub key: Vec<u8>,
    /// What the server reported, in order.
    pub parameters: Parameters,
    /// The role that the session begins with.
    pub role: Vec<u8>,
}

/// ParameterStatus values, in the server's order.
pub type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// Why a server connection could not be opened.
#[derive(Debug)]
pub enum DialError {
    /// The server refused: the body of its ErrorResponse.
    Refused(Vec<u8>),
    /// It could not be reached, or the login can't be done.
    Local {
        /// What the client is told.
        error: LocalError,
        /// Whether a later dial may do better by itself.
        is_transient: bool,
    },
}

impl DialError {
    /// The ErrorResponse that a client gets. One that stays after it gets severity ERROR.
    pub fn to_frame(&self, ends_session: bool) -> Vec<u8> {
        match self {
            Self::Refused(body) if ends_session => writer::frame(b'E', body),
            Self::Refused(body) => ServerError::new(body).downgraded(),
            Self::Local { error, .. } if ends_session => error.clone().into_fatal().to_frame(),
            Self::Local { error, .. } => error.to_frame(),
        }
    }

    /// Whether the server, not this login, is the matter: starting up, full, out of reach.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(body) => {
                let code = ServerError::new(body).code();
                code.is_some_and(|code| code.0.starts_with(b"57P") || code.0.starts_with(b"53"))
            }
            Self::Local { is_transient, .. } => *is_transient,
        }
    }

    /// For the log.
    pub fn summary(&self) -> String {
        match self {
            Self::Refused(body) => ServerError::new(body).message(),
            Self::Local { error, .. } => error.message.clone(),
        }
    }

    fn unreachable(target: &Target, why: &dyn std::fmt::Display) -> Self {
        let address = &target.address;
        Self::Local {
            error: LocalError::error(
                SqlState::UNABLE_TO_CONNECT,
                format!("could not connect to the PostgreSQL server at {address}: {why}"),
            ),
            is_transient: true,
        }
    }
}

/// Opens a connection to the target; `settings` go into the startup packet as they are.
pub async fn dial(
    target: &Target,
    settings: &[(Vec<u8>, Vec<u8>)],
    options: &Net,
) -> Result<Dialled, DialError> {
    let limit = target.settings.connect_timeout;
    match tokio::time::timeout(limit, dial_unlimited(target, settings, options)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(DialError::unreachable(
            target,
            &format_args!("no answer within {limit:?} (pool.connect_timeout)"),
        )),
    }
}

async fn dial_unlimited(
    target: &Target,
    settings: &[(Vec<u8>, Vec<u8>)],
    options: &Net,
) -> Result<Dialled, DialError> {
    let stream =
        connect(&target.address).await.map_err(|error| DialError::unreachable(target, &error))?;
    tune(&stream, options);
    let mut login = Login { stream, received: Vec::new() };
    login
        .run(target, settings)
        .await
        .unwrap_or_else(|error| Err(DialError::unreachable(target, &error)))
        .map(|LoggedIn { pid, key, parameters, role }| Dialled {
            stream: login.stream,
            pid,
            key,
            parameters,
            role,
        })
}

/// Connects to a server's address.
pub async fn connect(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Tcp { host, port } => {
            TcpStream::connect((host.as_str(), *port)).await.map(Stream::from)
        }
        Address::Unix(path) => UnixStream::connect::<&Path>(path).await.map(Stream::from),
    }
}

/// What a login has told.
#[derive(Default)]
struct LoggedIn {
    pid: i32,
    key: Vec<u8>,
    parameters: Parameters,
    role: Vec<u8>,
}

/// The conversation up to the first ReadyForQuery.
struct Login {
    stream: Stream,
    received: Vec<u8>,
}

impl Login {
    /// The outer error: the socket failed. The inner one: the login did.
    async fn run(
        &mut self,
        target: &Target,
        settings: &[(Vec<u8>, Vec<u8>)],
    ) -> io::Result<Result<LoggedIn, DialError>> {
        let mut packet = Vec::new();
        let own = [
            (&b"user"[..], target.key.user.as_bytes()),
            (&b"database"[..], target.dbname.as_bytes()),
        ];
        let given = settings.iter().map(|(name, value)| (&name[..], &value[..]));
        writer::startup(&mut packet, own.into_iter().chain(given));
        self.stream.write_all(&packet).await?;

        let mut auth = ServerLogin::new(&target.key.user, target.password.as_ref());
        let mut told = LoggedIn::default();
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'R' => {
                    if let Err(error) = self.authenticate(&mut auth, &body).await? {
                        return Ok(Err(refused_by_us(target, &error)));
                    }
                }
                b'S' => told.parameters.extend(
                    message::parameter_status(&body)
                        .map(|(name, value)| (name.into(), value.into())),
                ),
                b'K' => {
                    if let Some((found, secret)) = message::backend_key(&body) {
                        (told.pid, told.key) = (found, secret.to_vec());
                    }
                }
                b'E' => return Ok(Err(DialError::Refused(body))),
                b'Z' => {
                    told.role = self.role().await?;
                    return Ok(Ok(told));
                }
                b'N' => {}
                _ => {
                    return Err(broken(format!("message type {:?} during login", tag as char)));
                }
            }
        }
    }

    /// The role that the session begins with: no list of settings shows it.
    async fn role(&mut self) -> io::Result<Vec<u8>> {
        let mut request = Vec::new();
        writer::query(&mut request, "SHOW role");
        self.stream.write_all(&request).await?;
        let mut role = Vec::new();
        loop {
            match self.message().await? {
                // One column: the number of columns and its length come first.
                (b'D', row) => role = row.get(6..).unwrap_or_default().to_vec(),
                (b'E', body) => return Err(broken(ServerError::new(&body).message())),
                (b'Z', _) => return Ok(role),
                _ => {}
            }
        }
    }

    async fn authenticate(
        &mut self,
        auth: &mut ServerLogin,
        body: &[u8],
    ) -> io::Result<Result<(), LoginError>> {
        let answer = match auth.answer(body) {
            Ok(Step::Send(answer)) => answer,
            Ok(Step::SendSlow(proof)) => {
                // PBKDF2 takes milliseconds: not on the worker's reactor.
                let proof = tokio::task::spawn_blocking(move || proof.compute()).await;
                match proof.map_err(io::Error::other)?.and_then(|proof| auth.resume(proof)) {
                    Ok(answer) => answer,
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Step::Continue | Step::Authenticated) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        self.stream.write_all(&answer).await?;
        Ok(Ok(()))
    }

    /// The next message: its tag and body.
    async fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some(header) = server_header(&self.received).map_err(io::Error::other)? {
                if header.bytes > LOGIN_MESSAGE_MAX {
                    return Err(broken(format!(
                        "a message of {} bytes during login",
                        header.bytes
                    )));
                }
                if self.received.len() >= header.bytes {
                    let body = self.received.drain(..header.bytes).skip(HEADER_BYTES).collect();
                    return Ok((header.tag, body));
                }
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the connection during login",
                ));
            }
        }
    }
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn refused_by_us(target: &Target, error: &LoginError) -> DialError {
    DialError::Local {
        error: LocalError::error(
            SqlState::INVALID_AUTHORIZATION,
            format!("could not log in on the PostgreSQL server at {}: {error}", target.address),
        ),
        is_transient: false,
    }
}

/// The pause after a failed dial.
pub(super) fn next_pause(before: Option<Duration>, target: &Target) -> Duration {
    let settings = &target.settings;
    before.map_or(settings.retry_min, |pause| (pause * 2).min(settings.retry_max))
}
