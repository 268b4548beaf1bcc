//! What SHOW can show. Columns, their order and types are PgBouncer 1.25's (its manual, "Show commands"); columns of
//! the proxy's own come at the end.

mod connections;
mod pools;
mod settings;
mod stats;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Admin;
use super::averages::Span;
use super::fleet::State;
use super::table::{Column, Table};
use crate::config::Config;

/// Something that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Help,
    Version,
    State,
    Stats,
    StatsTotals,
    StatsAverages,
    Totals,
    Pools,
    Databases,
    Users,
    Lists,
    Clients,
    Servers,
    Sockets,
    ActiveSockets,
    Pins,
    Prepared,
    Config,
    Mem,
    DnsHosts,
    DnsZones,
    Peers,
    PeerPools,
}

impl Show {
    pub(super) const ALL: &[Self] = &[
        Self::Help,
        Self::Version,
        Self::State,
        Self::Stats,
        Self::StatsTotals,
        Self::StatsAverages,
        Self::Totals,
        Self::Pools,
        Self::Databases,
        Self::Users,
        Self::Lists,
        Self::Clients,
        Self::Servers,
        Self::Sockets,
        Self::ActiveSockets,
        Self::Pins,
        Self::Prepared,
        Self::Config,
        Self::Mem,
        Self::DnsHosts,
        Self::DnsZones,
        Self::Peers,
        Self::PeerPools,
    ];

    /// As it is written after SHOW.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Help => "HELP",
            Self::Version => "VERSION",
            Self::State => "STATE",
            Self::Stats => "STATS",
            Self::StatsTotals => "STATS_TOTALS",
            Self::StatsAverages => "STATS_AVERAGES",
            Self::Totals => "TOTALS",
            Self::Pools => "POOLS",
            Self::Databases => "DATABASES",
            Self::Users => "USERS",
            Self::Lists => "LISTS",
            Self::Clients => "CLIENTS",
            Self::Servers => "SERVERS",
            Self::Sockets => "SOCKETS",
            Self::ActiveSockets => "ACTIVE_SOCKETS",
            Self::Pins => "PINS",
            Self::Prepared => "PREPARED",
            Self::Config => "CONFIG",
            Self::Mem => "MEM",
            Self::DnsHosts => "DNS_HOSTS",
            Self::DnsZones => "DNS_ZONES",
            Self::Peers => "PEERS",
            Self::PeerPools => "PEER_POOLS",
        }
    }

    /// By its name, in capitals.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|show| show.name() == name)
    }

    /// Its columns. HELP has none: it is told by a notice.
    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Help => &[],
            Self::Version => settings::VERSION,
            Self::State => settings::STATE,
            Self::Stats => stats::STATS,
            Self::StatsTotals | Self::StatsAverages => stats::STATS_PART,
            Self::Totals => stats::TOTALS,
            Self::Pools => pools::POOLS,
            Self::Databases => pools::DATABASES,
            Self::Users => pools::USERS,
            Self::Lists => pools::LISTS,
            Self::Clients | Self::Servers => connections::CONNECTIONS,
            Self::Sockets | Self::ActiveSockets => connections::SOCKETS,
            Self::Pins => connections::PINS,
            Self::Prepared => pools::PREPARED,
            Self::Config => settings::CONFIG,
            Self::Mem => settings::MEM,
            Self::DnsHosts => settings::DNS_HOSTS,
            Self::DnsZones => settings::DNS_ZONES,
            Self::Peers => settings::PEERS,
            Self::PeerPools => settings::PEER_POOLS,
        }
    }

    /// What there is to see.
    pub(super) async fn table(self, admin: &Admin) -> Table {
        let view = View::new(admin).await;
        let mut table = Table::new(self.columns());
        match self {
            Self::Version => settings::version(&mut table),
            Self::State => settings::state(&view, &mut table),
            Self::Stats => stats::stats(&view, &mut table),
            Self::StatsTotals => stats::totals_by_database(&view, &mut table),
            Self::StatsAverages => stats::averages(&view, &mut table),
            Self::Totals => stats::totals(&view, &mut table),
            Self::Pools => pools::pools(&view, &mut table),
            Self::Databases => pools::databases(&view, &mut table),
            Self::Users => pools::users(&view, &mut table),
            Self::Lists => pools::lists(&view, &mut table),
            Self::Clients => connections::clients(&view, &mut table),
            Self::Servers => connections::servers(&view, &mut table),
            Self::Sockets => connections::sockets(&view, &mut table, false),
            Self::ActiveSockets => connections::sockets(&view, &mut table, true),
            Self::Pins => connections::pins(&view, &mut table),
            Self::Prepared => pools::prepared(&view, &mut table),
            Self::Config => settings::config(&view, &mut table),
            Self::Mem => settings::mem(&view, &mut table),
            // The system's resolver is asked at each dial, and no proxy knows another yet.
            Self::Help | Self::DnsHosts | Self::DnsZones | Self::Peers | Self::PeerPools => {}
        }
        table
    }
}

/// One moment.
struct View<'a> {
    admin: &'a Admin,
    state: State,
    config: Arc<Config>,
    now: SystemTime,
}

impl<'a> View<'a> {
    async fn new(admin: &'a Admin) -> Self {
        Self {
            admin,
            state: admin.fleet().state().await,
            config: admin.config(),
            now: SystemTime::now(),
        }
    }

    /// Connections of clients that are not logged in yet.
    fn logging_in(&self) -> usize {
        self.admin.connections().saturating_sub(self.state.clients.len())
    }

    fn span(&self, database: &str) -> Span {
        let averages = &self.admin.averages;
        averages.lock().unwrap_or_else(std::sync::PoisonError::into_inner).span(database)
    }

    /// A moment in the past, as text in UTC.
    fn time(&self, age: Duration) -> String {
        let at = self.now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let text = humantime::format_rfc3339_seconds(at).to_string();
        text.replace('T', " ").replace('Z', " UTC")
    }
}
