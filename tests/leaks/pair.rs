//! One client twice: connected directly, and through the proxy.

use crate::act::{Act, Side};
use crate::support::frames::{bind, close, execute, parse, query, sync, terminate};
use crate::support::{Reply, Wire};
use crate::view;

/// The database of those that are connected directly, and that of the others.
pub(crate) const DIRECT: &str = "hunt_direct";
pub(crate) const PROXIED: &str = "hunt_proxied";

pub(crate) struct Pair {
    client: usize,
    direct: Wire,
    proxied: Wire,
    /// It has done what may keep its server connection.
    may_be_pinned: bool,
}

impl Pair {
    pub(crate) fn new(direct: u16, proxied: u16, client: usize) -> Self {
        let name = format!("client {client}");
        Self {
            client,
            direct: log_in(direct, DIRECT, &name),
            proxied: log_in(proxied, PROXIED, &name),
            may_be_pinned: false,
        }
    }

    pub(crate) fn may_be_pinned(&self) -> bool {
        self.may_be_pinned
    }

    /// Does the same on both sides; both are told the same.
    pub(crate) fn run(&mut self, act: &Act) {
        self.may_be_pinned = (self.may_be_pinned || act.pins()) && !act.unpins();
        for request in act.requests() {
            let told = [(&mut self.direct, Side::Direct), (&mut self.proxied, Side::Proxied)].map(
                |(wire, side)| if act.is_for(side) { ask(wire, &request) } else { String::new() },
            );
            let [direct, proxied] = told;
            assert!(
                direct == proxied || !act.is_for(Side::Direct),
                "{request:?}\n direct: {direct}\nproxied: {proxied}"
            );
        }
    }

    pub(crate) fn views(&mut self) -> (String, String) {
        let client = self.client;
        let (direct, proxied) =
            (view::last_value(&mut self.direct), view::last_value(&mut self.proxied));
        // In another transaction than that which has taken it, it need not be known.
        let last = if proxied == "55000" { direct.clone() } else { proxied };
        (
            format!("{}, last {direct}", view::own(&mut self.direct, client)),
            format!("{}, last {last}", view::own(&mut self.proxied, client)),
        )
    }

    pub(crate) fn leave(mut self, politely: bool) {
        if politely {
            self.proxied.send(&terminate());
        } else {
            // In the middle of something.
            self.proxied
                .send(&query("begin; select pg_sleep(0.001), set_config('hunt.a', 'left', false)"));
        }
    }
}

fn log_in(port: u16, database: &str, name: &str) -> Wire {
    let mut wire = Wire::connect(port);
    let login = [("user", "hunter"), ("database", database), ("application_name", name)];
    wire.log_in(&login, None).ok();
    wire
}

/// One request of a client.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Query(String),
    /// By an unnamed statement, with parameters.
    Extended(String, Vec<Option<String>>),
    /// By a named statement that is closed again.
    Named(String, Vec<Option<String>>),
    /// Several in one group.
    Pipeline(Vec<String>),
    /// Queries, each sent before the one in front of it is answered.
    Burst(Vec<String>),
}

fn ask(wire: &mut Wire, request: &Request) -> String {
    let run = |name: &str, sql: &str, values: &[Option<String>]| {
        let values: Vec<_> = values.iter().map(Option::as_deref).collect();
        [parse(name, sql, &vec![25; values.len()]), bind("", name, &values), execute("", 0)]
            .concat()
    };
    let bytes = match request {
        Request::Query(sql) => query(sql),
        Request::Extended(sql, values) => [run("", sql, values), sync()].concat(),
        Request::Named(sql, values) => {
            [run("hunt", sql, values), close(b'S', "hunt"), sync()].concat()
        }
        Request::Burst(all) => {
            let bytes: Vec<_> = all.iter().map(|sql| query(sql)).collect();
            wire.send(&bytes.concat());
            return all.iter().map(|_| told(&wire.until_ready())).collect();
        }
        Request::Pipeline(all) => {
            let all: Vec<_> = all.iter().map(|sql| run("", sql, &[])).collect();
            [all.concat(), sync()].concat()
        }
    };
    let reply = wire.ask(&bytes);
    if matches!(request, Request::Named(..)) && reply.sqlstate().is_some() {
        // Its Close was skipped.
        wire.ask(&[close(b'S', "hunt"), sync()].concat());
    }
    told(&reply)
}

/// What a client is told, but for what differs by nature.
fn told(reply: &Reply) -> String {
    let errors = reply.all(b'E').map(|error| error.field('C').unwrap_or_default());
    let errors: Vec<_> = errors.collect();
    let reply = reply.without_async();
    format!("{} {} {}", reply.tags(), reply.commands().join(","), errors.join(","))
}
