//! Carrying commands out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::command::{Command, Misread};
use super::fleet::State;
use super::show::Show;
use super::table::{Column, Table, Type, Value};
use super::{Admin, Reloaded, Request, ShutdownMode};
use crate::pool::Scope;
use crate::protocol::SqlState;
use crate::session::{Order, Rights};

/// It is looked after so long whether what a command waits for has come, then after twice as long, and so on.
const POLL_MIN: Duration = Duration::from_millis(5);

/// The longest pause between two looks.
const POLL_MAX: Duration = Duration::from_millis(200);

/// What SELECT 1 gives.
pub(super) const ONE: &[Column] = &[Column("?column?", Type::Int4)];

/// What SHOW HELP tells.
const HELP: &str = "SHOW HELP|VERSION|STATE|STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS|POOLS|DATABASES|USERS|LISTS
SHOW CLIENTS|SERVERS|SOCKETS|ACTIVE_SOCKETS|PINS|PREPARED|CONFIG|MEM|DNS_HOSTS|DNS_ZONES|PEERS|PEER_POOLS
SET section.key = value
RELOAD
PAUSE [db]
RESUME [db]
DISABLE db
ENABLE db
RECONNECT [db]
KILL [db]
KILL_CLIENT id
WAIT_CLOSE [db]
SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]";

/// What a command gives.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Rows, and a tag.
    Rows(Table, &'static str),
    /// A tag.
    Done(&'static str),
    /// A notice with details, and a tag.
    Told(String, String, &'static str),
    /// A transaction block begins, as far as drivers are concerned.
    Begun,
    /// It ends.
    Ended(&'static str),
}

/// Why a command was not carried out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: SqlState,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Refusal {
    fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Not as things are.
    fn state(message: impl Into<String>) -> Self {
        Self::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
    }
}

impl From<Misread> for Refusal {
    fn from(misread: Misread) -> Self {
        let syntax = |message| Self::new(SqlState::SYNTAX_ERROR, message);
        match misread {
            Misread::Unknown(text) => syntax(format!("the console has no command \"{text}\""))
                .hint("SHOW HELP lists what it knows. Statements for a database need a connection to that database."),
            Misread::Usage(usage) => syntax(format!("syntax error: expected {usage}")),
        }
    }
}

impl Command {
    /// The columns of its rows.
    pub(super) fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Self::Show(Show::Help) => None,
            Self::Show(show) => Some(show.columns()),
            Self::SelectOne => Some(ONE),
            _ => None,
        }
    }

    /// Whether it changes nothing.
    fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::Show(_) | Self::SelectOne | Self::Begin | Self::End(_) | Self::Ignored(_)
        )
    }
}

impl Admin {
    /// Carries a command out; what it waits for has come to pass when this ends.
    pub(super) async fn carry_out(
        &self,
        command: Command,
        rights: Rights,
        who: &str,
    ) -> Result<Outcome, Refusal> {
        if !command.only_looks() {
            if rights != Rights::All {
                return Err(Refusal::new(SqlState::INSUFFICIENT_PRIVILEGE, "admin access needed")
                    .hint("Add the user to admin.admin_users."));
            }
            tracing::info!(user = who, ?command, "console command");
        }
        match command {
            Command::Show(Show::Help) => {
                Ok(Outcome::Told("Console usage".to_owned(), HELP.to_owned(), "SHOW"))
            }
            Command::Show(show) => Ok(Outcome::Rows(show.table(self).await, "SHOW")),
            Command::SelectOne => {
                let mut table = Table::new(ONE);
                table.add(vec![Value::from(1_u64)]);
                Ok(Outcome::Rows(table, "SELECT"))
            }
            Command::Begin => Ok(Outcome::Begun),
            Command::End(tag) => Ok(Outcome::Ended(tag)),
            Command::Ignored(tag) => Ok(Outcome::Done(tag)),
            Command::Pause(scope) => self.pause(scope).await,
            Command::Resume(scope) => self.resume(scope).await,
            Command::Disable(name) => {
                self.check_name(&name)?;
                self.order(|| Order::Disable(Arc::clone(&name)), "DISABLE").await
            }
            Command::Enable(name) => {
                self.check_name(&name)?;
                self.order(|| Order::Enable(Arc::clone(&name)), "ENABLE").await
            }
            Command::Reconnect(scope) => {
                self.check(&scope)?;
                self.order(|| Order::Reconnect(scope.clone()), "RECONNECT").await
            }
            Command::Kill(scope) => {
                self.check(&scope)?;
                self.order(|| Order::Kill(scope.clone()), "KILL").await
            }
            Command::KillClient(id) => {
                let state = self.fleet().state().await;
                if !state.clients.iter().any(|client| client.id == id) {
                    return Err(Refusal::state(format!("no such client: {}", id.0)));
                }
                self.order(|| Order::KillClient(id), "KILL_CLIENT").await
            }
            Command::WaitClose(scope) => {
                self.check(&scope)?;
                self.until(|state| !has_server(state, &scope, true)).await;
                Ok(Outcome::Done("WAIT_CLOSE"))
            }
            Command::Suspend => Err(Refusal::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "SUSPEND is not supported: the proxy keeps nothing in buffers that a restart would lose",
            )
            .hint("Use PAUSE to have no server connections.")),
            Command::Reload => self.reload(Request::Reload, "RELOAD").await,
            Command::Set(assignment) => {
                self.reload(|to| Request::Set(assignment.0, to), "SET").await
            }
            Command::Shutdown(mode) => self.shutdown(mode).await,
        }
    }

    fn check(&self, scope: &Scope) -> Result<(), Refusal> {
        match scope {
            Scope::All => Ok(()),
            Scope::Database(name) => self.check_name(name),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if self.config().databases.find(name).is_some() {
            return Ok(());
        }
        Err(Refusal::new(SqlState::UNDEFINED_DATABASE, format!("no such database: {name}")))
    }

    /// Gives an order, and waits until all workers have carried it out.
    async fn order(
        &self,
        order: impl Fn() -> Order,
        tag: &'static str,
    ) -> Result<Outcome, Refusal> {
        self.fleet().tell(order);
        self.fleet().state().await;
        Ok(Outcome::Done(tag))
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let mut pause = POLL_MIN;
        while !is_so(&self.fleet().state().await) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Waits until all server connections are gone. A RESUME in the meantime ends the wait.
    async fn pause(&self, scope: Scope) -> Result<Outcome, Refusal> {
        self.check(&scope)?;
        let is_paused = |state: &State| match &scope {
            Scope::All => state.gates.is_all_paused(),
            Scope::Database(name) => state.gates.is_paused(name),
        };
        if is_paused(&self.fleet().state().await) {
            return Err(Refusal::state("already suspended/paused"));
        }
        self.fleet().tell(|| Order::Pause(scope.clone()));
        self.until(|state| !is_paused(state) || !has_server(state, &scope, false)).await;
        if is_paused(&self.fleet().state().await) {
            return Ok(Outcome::Done("PAUSE"));
        }
        Err(Refusal::state("RESUME came before all server connections were closed"))
    }

    async fn resume(&self, scope: Scope) -> Result<Outcome, Refusal> {
        self.check(&scope)?;
        let gates = self.fleet().state().await.gates;
        match &scope {
            Scope::All if !gates.is_all_paused() => {
                return Err(Refusal::state("pooler is not paused/suspended"));
            }
            Scope::Database(name) if !gates.is_paused_by_name(name) => {
                return Err(Refusal::state(format!("database {name} is not paused")));
            }
            Scope::All | Scope::Database(_) => {}
        }
        self.order(|| Order::Resume(scope.clone()), "RESUME").await
    }

    async fn reload(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<Reloaded, String>>) -> Request,
        tag: &'static str,
    ) -> Result<Outcome, Refusal> {
        let (to, answer) = oneshot::channel();
        let is_heard = self.requests.send(request(to)).is_ok();
        let answer = if is_heard { answer.await.ok() } else { None };
        let Some(result) = answer else {
            return Err(Refusal::state("pooler is shutting down"));
        };
        match result {
            Err(faults) => {
                let message = "the configuration was refused, and the one before stays in force";
                Err(Refusal::new(SqlState::CONFIG_FILE_ERROR, message).hint(faults))
            }
            Ok(reloaded) => {
                // All workers work with it.
                self.fleet().state().await;
                Ok(told(&reloaded, tag))
            }
        }
    }

    async fn shutdown(&self, mode: ShutdownMode) -> Result<Outcome, Refusal> {
        if self.requests.send(Request::Shutdown(mode)).is_err() || mode == ShutdownMode::Now {
            // The end of the process is the answer.
            std::future::pending::<()>().await;
        }
        Ok(Outcome::Done("SHUTDOWN"))
    }
}

/// Whether a database has a server connection, or one that is to be closed.
fn has_server(state: &State, scope: &Scope, only_to_close: bool) -> bool {
    let pools = state.pools.values().filter(|pool| scope.includes(&pool.key.database));
    pools.into_iter().any(|pool| {
        let is_meant = |to_close: bool| !only_to_close || to_close;
        (pool.dialing > 0 && !only_to_close)
            || pool.servers.iter().any(|server| is_meant(server.is_to_close))
    })
}

fn told(reloaded: &Reloaded, tag: &'static str) -> Outcome {
    let mut lines: Vec<String> = reloaded.warnings.clone();
    lines
        .extend(reloaded.kept.iter().map(|key| format!("{key}: takes effect at the next restart")));
    if lines.is_empty() {
        return Outcome::Done(tag);
    }
    Outcome::Told("the configuration was taken over".to_owned(), lines.join("\n"), tag)
}
