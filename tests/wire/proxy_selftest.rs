//! The proxy's process as the tests handle it: starts, says where it listens, can be measured, ends.

use crate::support::frames::{bind, execute, parse, sync};
use crate::support::{Postgres, Proxy};

#[test]
fn it_relays_and_can_be_measured() {
    let proxy = Proxy::sidecar(Postgres::shared());
    let mut wire = proxy.wire();
    assert_eq!(wire.query("select 41 + 1").ok().value(), "42");
    let batch =
        [parse("", "select $1::int", &[]), bind("", "", &[Some("7")]), execute("", 0), sync()];
    assert_eq!(wire.ask(&batch.concat()).ok().value(), "7");
    assert!(proxy.rss_kib() > 500);
    assert!(proxy.open_files() > 3);
    let before = proxy.cpu_us();
    for _ in 0..200 {
        wire.query("select 1").ok();
    }
    assert!(proxy.cpu_us() > before);
    assert!(proxy.log().contains("listening on"));
    wire.close();
}

#[test]
fn it_ends_when_told() {
    let mut proxy = Proxy::sidecar(Postgres::shared());
    proxy.wire().close();
    proxy.signal("TERM");
    proxy.wait_exit();
}

#[test]
fn a_bad_configuration_is_refused_with_its_reason() {
    let refusal = Proxy::builder().config("[server]\nnonsense = 1\n").try_start().unwrap_err();
    assert!(!refusal.status.success());
    assert!(refusal.log.contains("nonsense") || refusal.log.contains("unknown"), "{}", refusal.log);
}
