//! What a session finds of state: its own, or anybody's.

use crate::support::Wire;

/// Custom settings that clients set.
const CUSTOM: [&str; 3] = ["hunt.a", "hunt.b", "hunt.tenant"];

/// What a client finds that has set nothing.
pub(crate) const CLEAN: &str = "|hunter|hunter|||||||";

fn sql() -> String {
    let custom = CUSTOM.map(|name| format!("coalesce(current_setting('{name}', true), '')"));
    format!(
        "select (select string_agg(name || '=' || setting, ' ' order by name) from pg_settings \
            where source = 'session' and name not like 'transaction%' and name <> 'application_name'), \
        current_user, session_user, \
        (select string_agg(name, ' ' order by name) from pg_prepared_statements where from_sql), \
        (select string_agg(name, ' ' order by name) from pg_cursors where is_holdable), \
        (select string_agg(objid::text, ' ' order by objid) from pg_locks \
            where locktype = 'advisory' and pid = pg_backend_pid()), \
        (select string_agg(c, ' ' order by c) from pg_listening_channels() c), \
        (select string_agg(relname, ' ' order by relname) from pg_class \
            where relnamespace = pg_my_temp_schema() and relkind = 'r'), \
        concat_ws(' ', {}), current_setting('application_name')",
        custom.map(|custom| format!("nullif({custom}, '')")).join(", ")
    )
}

/// Channels that a client may listen on: its number follows.
pub(crate) const CHANNELS: [&str; 2] = ["news", "olds"];

/// A client's own view, and what it is told of what it sends to its channels.
pub(crate) fn own(wire: &mut Wire, client: usize) -> String {
    let view = wire.query(&sql()).without_async().ok().value();
    let notify = CHANNELS.map(|name| format!("notify {name}_{client}"));
    let reply = wire.query(&notify.join("; ")).ok();
    // A process ID comes first.
    let told = reply.all(b'A').map(|frame| String::from_utf8_lossy(&frame.body[4..]).into_owned());
    format!("{view}, told {:?}", told.collect::<Vec<_>>())
}

/// The last value that a sequence has given the client; 55000: there is none.
pub(crate) fn last_value(wire: &mut Wire) -> String {
    let reply = wire.query("select lastval()");
    reply.sqlstate().unwrap_or_else(|| reply.value())
}

/// That of somebody who is in a transaction of its own from then on.
pub(crate) fn of_probe(wire: &mut Wire) -> String {
    wire.query("begin").ok();
    wire.query(&sql()).ok().value()
}
