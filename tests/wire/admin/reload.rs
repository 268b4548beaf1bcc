//! Taking a changed configuration over, by RELOAD, SIGHUP and SET.

use std::fs;

use super::{number, show};
use crate::launch::{Role, SOON};
use crate::support::{Postgres, Proxy, Wire, eventually};

fn config(pool: &str, more: &str) -> String {
    let port = Postgres::shared().port();
    format!(
        "[pool]\n{pool}\n[databases.shop]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"postgres\"\n{more}\n"
    )
}

fn change(proxy: &Proxy, text: &str) {
    fs::write(proxy.config_file(), text).unwrap();
}

fn login(proxy: &Proxy, role: &Role, database: &str) -> Wire {
    Wire::login(proxy.port(), role.name(), database)
}

fn pool_size(console: &mut Wire) -> u64 {
    number(&show(console, "DATABASES")[0], "pool_size")
}

#[test]
fn what_has_not_changed_lives_on() {
    let role = Role::new();
    let proxy = Proxy::with_config(&config("size = 2", ""));
    let mut console = proxy.console();
    let mut client = login(&proxy, &role, "shop");
    client.query("begin").ok();
    let pids = role.pids();
    let before = number(&show(&mut console, "STATS_TOTALS")[0], "query_count");
    change(&proxy, &config("size = 7", ""));
    assert_eq!(console.query("RELOAD").ok().commands(), ["RELOAD"]);
    assert_eq!(pool_size(&mut console), 7);
    assert_eq!(number(&show(&mut console, "STATS_TOTALS")[0], "query_count"), before);
    client.query("commit").ok();
    client.query("select 1").ok();
    assert_eq!(role.pids(), pids);
}

#[test]
fn a_bigger_pool_serves_those_who_wait() {
    let role = Role::new();
    let proxy = Proxy::with_config(&config("size = 1", ""));
    let mut holder = login(&proxy, &role, "shop");
    holder.query("begin").ok();
    let mut waiter = login(&proxy, &role, "shop");
    waiter.send(&crate::support::frames::query("select 1"));
    let mut console = proxy.console();
    eventually("it waits", SOON, || number(&show(&mut console, "POOLS")[0], "cl_waiting") == 1);
    change(&proxy, &config("size = 2", ""));
    proxy.signal("HUP");
    waiter.until_ready().ok();
    holder.query("commit").ok();
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let role = Role::new();
    let proxy = Proxy::with_config(&config("size = 2", ""));
    let mut console = proxy.console();
    let mut client = login(&proxy, &role, "shop");
    change(&proxy, &config("size = 7\nnonsense = 1\nmode = \"fast\"", ""));
    let refused = console.query("RELOAD");
    assert_eq!(refused.sqlstate().as_deref(), Some("F0000"));
    let why = refused.error_field('H').unwrap();
    assert!(why.contains(":3: pool.nonsense") && why.contains(":4: pool.mode"), "{why}");
    eventually("it is logged", SOON, || proxy.log().contains("pool.nonsense"));
    assert_eq!(pool_size(&mut console), 2);
    client.query("select 1").ok();
    fs::remove_file(proxy.config_file()).unwrap();
    assert_eq!(console.query("RELOAD").sqlstate().as_deref(), Some("F0000"));
    change(&proxy, &config("size = 3", ""));
    console.query("RELOAD").ok();
    assert_eq!(pool_size(&mut console), 3);
}

#[test]
fn what_takes_a_restart_says_so() {
    let proxy = Proxy::with_config(&config("size = 2", ""));
    let mut console = proxy.console();
    change(&proxy, &config("size = 2", "[server]\nworkers = 3"));
    let told = console.query("RELOAD").ok();
    let notice = told.all(b'N').next().expect("a notice").field('D').unwrap();
    assert_eq!(notice, "server.workers: takes effect at the next restart");
    let config = show(&mut console, "CONFIG");
    let workers = config.iter().find(|row| row["key"] == "server.workers").unwrap();
    assert_eq!((&*workers["value"], &*workers["changeable"]), ("1", "no"));
}

#[test]
fn a_database_that_leads_elsewhere_drains() {
    let role = Role::new();
    let proxy = Proxy::with_config(&config("size = 2", ""));
    let mut console = proxy.console();
    let mut client = login(&proxy, &role, "shop");
    client.query("begin").ok();
    change(&proxy, &config("size = 2", "").replace("\"postgres\"", "\"template1\""));
    console.query("RELOAD").ok();
    // The open transaction ends where it began; the next client is there.
    assert_eq!(client.query("select current_database()").ok().value(), "postgres");
    client.send(&crate::support::frames::query("commit"));
    assert_eq!(client.until_end().sqlstate().as_deref(), Some("57P01"));
    let mut next = login(&proxy, &role, "shop");
    assert_eq!(next.query("select current_database()").ok().value(), "template1");
}

#[test]
fn clients_of_a_database_that_is_gone_leave_at_the_end_of_their_transaction() {
    let role = Role::new();
    let port = Postgres::shared().port();
    let other =
        format!("[databases.other]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"postgres\"");
    let proxy = Proxy::with_config(&config("size = 2", &other));
    let mut console = proxy.console();
    let mut idle = login(&proxy, &role, "other");
    let mut open = login(&proxy, &role, "other");
    let mut stays = login(&proxy, &role, "shop");
    open.query("begin").ok();
    change(&proxy, &config("size = 2", ""));
    console.query("RELOAD").ok();
    assert_eq!(idle.until_end().sqlstate().as_deref(), Some("57P01"));
    open.query("select 1").ok();
    open.send(&crate::support::frames::query("commit"));
    let end = open.until_end();
    assert_eq!(
        (end.commands(), end.sqlstate().as_deref()),
        (vec!["COMMIT".to_owned()], Some("57P01"))
    );
    stays.query("select 1").ok();
    let mut refused = Wire::connect(proxy.port());
    let reply = refused.log_in(&[("user", role.name()), ("database", "other")], None);
    assert_eq!(reply.sqlstate().as_deref(), Some("3D000"));
    change(&proxy, &config("size = 2", &other));
    console.query("RELOAD").ok();
    login(&proxy, &role, "other").query("select 1").ok();
}

#[test]
fn set_changes_one_key_until_the_next_reload() {
    let proxy = Proxy::with_config(&config("size = 2", ""));
    let mut console = proxy.console();
    console.query("SET pool.size = 9").ok();
    assert_eq!(pool_size(&mut console), 9);
    console.query("SET pool.min = 1").ok();
    assert_eq!(pool_size(&mut console), 9);
    assert_eq!(console.query("SET pool.size = -1").sqlstate().as_deref(), Some("F0000"));
    assert_eq!(pool_size(&mut console), 9);
    console.query("RELOAD").ok();
    assert_eq!(pool_size(&mut console), 2);
}

#[test]
fn the_log_s_level_changes_with_it() {
    let proxy = Proxy::with_config(&config("size = 2", ""));
    let mut console = proxy.console();
    assert!(!proxy.log().contains("DEBUG"));
    console.query("SET log.level = debug").ok();
    login(&proxy, &Role::new(), "shop").query("select 1").ok();
    eventually("there are lines at debug", SOON, || proxy.log().contains("DEBUG"));
}

#[test]
fn users_and_passwords_are_taken_over() {
    let user = |password: &str| {
        let section = "[auth]\nmethod = \"scram-sha-256\"\n[[users]]\nname = \"carol\"\nserver_user = \"postgres\"";
        config(
            "size = 2",
            &format!("{section}\npassword = \"{password}\"\n[admin]\nadmin_users = [\"carol\"]"),
        )
    };
    let proxy = Proxy::with_config(&user("one"));
    let enter = |database: &str, password: &str| {
        let mut wire = Wire::connect(proxy.port());
        let reply = wire.log_in(&[("user", "carol"), ("database", database)], Some(password));
        (wire, reply.sqlstate())
    };
    let (mut console, _) = enter("pgsteward", "one");
    let (mut inside, refused) = enter("shop", "one");
    assert_eq!(refused, None);
    change(&proxy, &user("two"));
    console.query("RELOAD").ok();
    inside.query("select 1").ok();
    assert_eq!(enter("shop", "one").1.as_deref(), Some("28P01"));
    assert_eq!(enter("shop", "two").1, None);
}
