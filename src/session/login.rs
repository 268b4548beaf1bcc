//! From the session request to ReadyForQuery: who the client is and where its statements go.

use std::rc::Rc;

use tokio::time::Instant;

use super::context::Context;
use super::drive::Session;
use super::handle::{Identity, Registered};
use super::replication::Replication;
use super::route::route;
use super::scram::{self, Refusal};
use super::startup;
use super::visitor::{Rights, is_console, leave_for_console, rights};
use super::wire::Wire;
use crate::client_state::{ClientState, Settings};
use crate::config::{AuthMethod, PoolMode};
use crate::pool::{Parameters, Pool, StartupSettings, Variant, WaitError};
use crate::protocol::startup::{MINOR_MAX, SessionRequest};
use crate::protocol::{LocalError, SqlState, TransactionStatus, writer};
use crate::telemetry::metrics::{Limit, LoginFailure, PoolCounter};

/// Bytes of a cancel key, by the client's minor protocol version.
const KEY_BYTES: [usize; 2] = [4, 32];

/// What became of a connection.
pub(super) enum Outcome {
    /// A client that is ready for queries.
    Session(Box<Session>),
    /// A walsender's client.
    Replication(Box<Replication>),
    /// Nothing: it cancelled something, was refused, or left.
    Over,
}

/// Why a login fails.
enum Failure {
    /// The client is gone.
    Gone,
    /// It gets this ErrorResponse.
    Told(Vec<u8>),
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        Self::Told(error.to_frame())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Gone => Self::Gone,
            Refusal::Told(error) => error.into(),
        }
    }
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Self {
        Self::Told(error.to_frame(true))
    }
}

/// Reads the first packets and logs the client in.
pub(super) async fn login(mut wire: Wire, context: &Rc<Context>) -> Outcome {
    let Some(request) = startup::session_request(&mut wire, context).await else {
        return Outcome::Over;
    };
    let peer = wire.peer;
    match admit(&mut wire, context, &request).await {
        Ok(Admitted::Session(ready)) => {
            ready.pool.cells.count(PoolCounter::Logins);
            let (client, pid) = (ready.handle.identity.id, ready.handle.pid.0);
            log_connection!(context, %client, %peer, user = %request.user,
                database = %request.database, pid, "client logged in");
            Outcome::Session(Box::new(ready.into_session(wire, context)))
        }
        Ok(Admitted::Console(rights)) => {
            tracing::info!(%peer, user = %request.user, ?rights, "console client logged in");
            // A client that is gone needs no console.
            let _ = leave_for_console(wire, context, &request, rights).await;
            Outcome::Over
        }
        Ok(Admitted::Replication(replication)) => {
            Outcome::Replication(Box::new(Replication::new(replication, wire)))
        }
        Err(Failure::Gone) => Outcome::Over,
        Err(Failure::Told(frame)) => {
            let error = crate::protocol::ServerError::new(frame.get(5..).unwrap_or_default());
            context.process.count_login_failure(reason(error.code()));
            tracing::warn!(%peer, user = %request.user, database = %request.database,
                "login refused: {}", error.message());
            // If it can't be told, it is gone.
            let _ = wire.send(&frame).await;
            Outcome::Over
        }
    }
}

/// Why a login failed, by what the client is told.
fn reason(code: Option<SqlState>) -> LoginFailure {
    match code {
        Some(SqlState::INVALID_PASSWORD) => LoginFailure::Password,
        Some(SqlState::INVALID_AUTHORIZATION) => LoginFailure::NotAllowed,
        Some(SqlState::UNDEFINED_DATABASE) => LoginFailure::NoDatabase,
        Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE | SqlState::CANNOT_CONNECT_NOW) => {
            LoginFailure::Closed
        }
        Some(SqlState::TOO_MANY_CONNECTIONS) => LoginFailure::TooMany,
        Some(SqlState::PROTOCOL_VIOLATION) => LoginFailure::Protocol,
        _ => LoginFailure::Server,
    }
}

enum Admitted {
    Session(Ready),
    Console(Rights),
    Replication(super::replication::Begun),
}

/// A client that was told to be ready.
struct Ready {
    handle: Registered,
    pool: Rc<Pool>,
    variant: Rc<Variant>,
    mode: PoolMode,
    /// What is set for the client on whatever server connection it gets.
    first: Rc<Settings>,
}

impl Ready {
    fn into_session(self, wire: Wire, context: &Rc<Context>) -> Session {
        Session::new(
            Rc::clone(context),
            self.handle,
            wire.stream,
            wire.received,
            ClientState::new(self.mode, self.pool.target().settings.session, self.first),
            self.pool,
            self.variant,
        )
    }
}

async fn admit(
    wire: &mut Wire,
    context: &Rc<Context>,
    request: &SessionRequest,
) -> Result<Admitted, Failure> {
    let config = context.config();
    let is_console = is_console(&config, &request.database);
    if !is_console {
        check_capacity(context)?;
    }
    if request.minor > MINOR_MAX || !request.protocol_options.is_empty() {
        let mut out = Vec::new();
        let minor = request.minor.min(MINOR_MAX);
        writer::negotiate_protocol_version(&mut out, minor, &request.protocol_options);
        wire.send(&out).await?;
    }
    authenticate(wire, context, request).await?;
    if is_console {
        return Ok(Admitted::Console(rights(&config, &request.user)?));
    }
    let mut out = Vec::new();
    writer::authentication_ok(&mut out);
    let admitted = enter(wire, context, request, &mut out).await;
    if matches!(admitted, Err(Failure::Told(_))) {
        // As PostgreSQL does, which looks at the database and the settings after authentication.
        wire.send(&out).await?;
    }
    admitted
}

/// What follows authentication; sends `out` with the greeting.
async fn enter(
    wire: &mut Wire,
    context: &Rc<Context>,
    request: &SessionRequest,
    out: &mut Vec<u8>,
) -> Result<Admitted, Failure> {
    let (target, mode) = route(&context.config(), &request.database, &request.user)?;
    if context.pools.is_disabled(&target.key.database) {
        let message =
            format!("database \"{}\" is not currently accepting connections", request.database);
        return Err(LocalError::fatal(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .hint("It was disabled at the proxy's console.")
            .into());
    }
    let key_bytes = KEY_BYTES[usize::from(request.minor >= 2)];
    let identity = Identity {
        id: context.next_session_id(),
        user: request.user.as_str().into(),
        pool: target.key.clone(),
        is_replication: request.is_replication(),
        peer: wire.peer,
        local: wire.stream.tcp().and_then(|stream| stream.local_addr().ok()),
        since: Instant::now(),
    };
    let handle = context
        .registry
        .register(context.worker, key_bytes, identity)
        .ok_or_else(|| LocalError::fatal(SqlState::INTERNAL_ERROR, "no random numbers"))?;

    if request.is_replication() {
        let begun = super::replication::begin(context, handle, &target, request, out).await;
        let begun = begun.map_err(|error| Failure::Told(error.to_frame(true)))?;
        wire.send(out).await?;
        return Ok(Admitted::Replication(begun));
    }
    let pool = context.pools.pool(target, &request.user);
    let name = request.settings.iter().find(|(name, _)| name == APPLICATION_NAME);
    let name = name.map(|(_, value)| value.as_slice()).unwrap_or_default();
    handle.activity.application_name.replace(name.into());
    let (carried, settings) = carried(mode, &request.settings);
    let variant = pool.variant(&settings);
    let mut parameters = parameters(&pool, &variant, &handle).await?;
    tell_carried(&mut parameters, &carried);
    greet(out, &handle, &parameters);
    wire.send(out).await?;
    Ok(Admitted::Session(Ready { handle, pool, variant, mode, first: Rc::new(carried) }))
}

/// The setting that names an application.
pub(super) const APPLICATION_NAME: &[u8] = b"application_name";

/// Longest name of an application that PostgreSQL keeps whole.
const APPLICATION_NAME_MAX: usize = 63;

/// The settings of a startup packet that are set on whatever server connection the client gets, and those that its
/// server connections are made with. The name of an application is one that many clients differ by.
fn carried(mode: PoolMode, settings: &StartupSettings) -> (Settings, StartupSettings) {
    let is_carried = |(name, value): &&(Vec<u8>, Vec<u8>)| {
        // What else PostgreSQL does to a name it does to the startup packet's.
        let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
        mode != PoolMode::Session
            && name == APPLICATION_NAME
            && is_plain
            && (1..=APPLICATION_NAME_MAX).contains(&value.len())
    };
    let carried = settings.iter().filter(is_carried);
    let carried = carried.map(|(name, value)| (&**name, &**value)).collect();
    let others = settings.iter().filter(|setting| !is_carried(setting)).cloned().collect();
    (carried, others)
}

/// The parameters as the client finds them.
fn tell_carried(parameters: &mut Rc<Parameters>, carried: &Settings) {
    for (name, value) in carried.iter() {
        let parameters = Rc::make_mut(parameters);
        for parameter in parameters.iter_mut().filter(|(known, _)| known == name) {
            parameter.1 = value.to_vec();
        }
    }
}

/// Appends what every client is told at the end of its login.
pub(super) fn greet(out: &mut Vec<u8>, handle: &Registered, parameters: &Parameters) {
    for (name, value) in parameters {
        writer::parameter_status(out, name, value);
    }
    writer::backend_key_data(out, handle.pid.0, &handle.key);
    writer::ready_for_query(out, TransactionStatus::Idle);
}

fn check_capacity(context: &Context) -> Result<(), LocalError> {
    if context.is_draining.get() {
        let message = "the database system is shutting down";
        return Err(LocalError::fatal(SqlState::CANNOT_CONNECT_NOW, message));
    }
    if context.is_full() {
        context.process.count_limit(Limit::Clients);
        return Err(LocalError::fatal(
            SqlState::TOO_MANY_CONNECTIONS,
            "sorry, too many clients already",
        )
        .hint("Raise limits.clients."));
    }
    Ok(())
}

async fn authenticate(
    wire: &mut Wire,
    context: &Rc<Context>,
    request: &SessionRequest,
) -> Result<(), Refusal> {
    let auth = context.config().auth.clone();
    match auth.method {
        AuthMethod::ScramSha256 => scram::authenticate(wire, context, &request.user).await,
        AuthMethod::Trust if auth.trust_remote || wire.peer.is_loopback() => Ok(()),
        AuthMethod::Trust => Err(Refusal::Told(
            LocalError::fatal(
                SqlState::INVALID_AUTHORIZATION,
                format!("connections from {} are not trusted", wire.peer),
            )
            .hint("Set auth.method = \"scram-sha-256\", or auth.trust_remote = true."),
        )),
    }
}

/// What the server reports for these settings: known, or asked by opening a connection.
async fn parameters(
    pool: &Rc<Pool>,
    variant: &Rc<Variant>,
    handle: &Registered,
) -> Result<Rc<Parameters>, WaitError> {
    if let Some(parameters) = pool.parameters(variant) {
        return Ok(parameters);
    }
    let mut waiting = pool.wait(variant)?;
    handle.activity.waiting_since.set(Some(Instant::now()));
    let lease = std::future::poll_fn(|cx| waiting.poll(cx)).await;
    handle.activity.waiting_since.set(None);
    let lease = lease?;
    let parameters = Rc::clone(&lease.server.parameters);
    lease.release();
    Ok(parameters)
}
