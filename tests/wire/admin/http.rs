//! Health, metrics and JSON over HTTP.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pgsteward::telemetry::metrics::{self, Kind};

use super::show;
use crate::launch::{SOON, launch, launch_at};
use crate::support::{Options, Postgres, Proxy, StopMode, eventually};

#[test]
fn it_lives() {
    assert_eq!(launch("size=2").get("/livez"), (200, "ok\n".to_owned()));
}

#[test]
fn readiness_has_a_reason_for_each_database() {
    let postgres = Postgres::start(&Options::default());
    let dead = crate::support::postgres::free_port();
    let proxy = Proxy::with_config(&format!(
        "[databases.up]\nhost = \"127.0.0.1\"\nport = {}\ndbname = \"postgres\"\n\
         [databases.down]\nhost = \"127.0.0.1\"\nport = {dead}\n",
        postgres.port()
    ));
    let ready = || proxy.get("/readyz");
    let (status, body) = ready();
    // One that is down doesn't take the others out of service.
    assert_eq!(status, 200, "{body}");
    assert!(
        body.contains(r#""up":{"ready":true,"reason":"the server takes connections"}"#),
        "{body}"
    );
    assert!(body.contains(r#""down":{"ready":false,"reason":"127.0.0.1:"#), "{body}");
    let mut console = proxy.console();
    console.query("PAUSE up").ok();
    let (status, body) = ready();
    assert!(status == 503 && body.contains("paused at the console"), "{body}");
    console.query("RESUME up").ok();
    assert_eq!(ready().0, 200);
    postgres.stop(StopMode::Fast);
    eventually("it notices", SOON, || ready().0 == 503);
    postgres.start_again();
    eventually("it notices", SOON, || ready().0 == 200);
}

#[test]
fn json_is_what_the_console_shows() {
    let proxy = launch("size=2");
    proxy.wire().query("select 1").ok();
    let (status, pools) = proxy.get("/api/pools");
    assert_eq!(status, 200);
    assert!(
        pools.starts_with(r#"[{"cl_active":"#) && pools.contains(r#""database":"postgres""#),
        "{pools}"
    );
    let (_, index) = proxy.get("/api");
    for name in ["stats", "clients", "servers", "config", "pins", "prepared"] {
        assert!(index.contains(&format!("\"{name}\"")), "{index}");
        assert_eq!(proxy.get(&format!("/api/{name}")).0, 200, "{name}");
    }
    assert_eq!(proxy.get("/api/nothing").0, 404);
    assert_eq!(proxy.get("/nothing").0, 404);
    let shown = show(&mut proxy.console(), "CONFIG").len();
    let (_, config) = proxy.get("/api/config");
    assert_eq!(config.matches("\"changeable\":").count(), shown);
}

/// The rules that promtool checks: a HELP and a TYPE in front of each family, names and labels in their alphabet, no
/// sample twice, histograms whose buckets add up. And: nothing that isn't declared, everything that is.
#[test]
fn metrics_are_well_formed_and_declared() {
    let proxy = launch("size=2");
    let mut client = proxy.wire();
    client.query("create temp table pinned (a int)").ok();
    client.query("select 1/0");
    // Counted when it is known that nothing else keeps the connection.
    eventually("the pin is counted", SOON, || {
        proxy.get("/metrics").1.contains("pgsteward_pins_total{")
    });
    let (status, page) = proxy.get("/metrics");
    assert_eq!(status, 200);
    let declared: BTreeMap<&str, _> =
        metrics::all().into_iter().map(|metric| (metric.name, metric)).collect();
    let mut seen = BTreeSet::new();
    let mut samples = HashSet::new();
    let mut family = "";
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert_eq!(declared[name].help, text, "{name}");
            continue;
        }
        if let Some(of_type) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of_type.split_once(' ').unwrap();
            assert_eq!(declared[name].kind.as_str(), kind, "{name}");
            assert!(seen.insert(name), "{name} comes twice");
            family = name;
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(samples.insert(sample), "{sample} twice");
        let name = sample.split('{').next().unwrap();
        let metric = declared[family];
        let stem = match metric.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or_default(),
            Kind::Counter | Kind::Gauge => name,
        };
        assert_eq!(stem, family, "{line}");
        for label in metric.labels {
            assert!(sample.contains(&format!("{label}=\"")), "{line} lacks {label}");
        }
    }
    let missing: Vec<_> = declared.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    let buckets = bucket_counts(&page);
    assert!(buckets.is_sorted(), "{buckets:?}");
    let count = format!("db_client_operation_duration_seconds_count{POOL} ");
    let count = page.lines().find_map(|line| line.strip_prefix(&count)).unwrap();
    assert_eq!(buckets.last().unwrap().to_string(), count);
    for expected in [
        "pgsteward_errors_total{database=\"postgres\",user=\"postgres\",class=\"22\"} 1",
        "pgsteward_pinned_server_connections{database=\"postgres\",user=\"postgres\",reason=\"temporary\"} 1",
    ] {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
}

const POOL: &str = r#"{database="postgres",user="postgres"}"#;

fn bucket_counts(page: &str) -> Vec<u64> {
    page.lines()
        .filter(|line| line.starts_with("db_client_operation_duration_seconds_bucket"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect()
}

#[test]
fn refused_logins_and_limits_are_counted() {
    let postgres = Postgres::shared();
    let proxy = launch_at(postgres.port(), "size=1 wait_timeout=100ms limits.clients=2");
    let mut holder = proxy.wire();
    holder.query("begin").ok();
    let mut waiter = proxy.wire();
    assert_eq!(waiter.query("select 1").sqlstate().as_deref(), Some("53300"));
    let mut refused = crate::support::Wire::connect(proxy.port());
    refused.log_in(&[("user", "postgres"), ("database", "postgres")], None);
    let (_, page) = proxy.get("/metrics");
    for expected in [
        "pgsteward_limit_hits_total{limit=\"wait_timeout\"} 1",
        "pgsteward_limit_hits_total{limit=\"clients\"} 1",
        "pgsteward_login_failures_total{reason=\"too_many\"} 1",
        "db_client_connection_timeouts_total{database=\"postgres\",user=\"postgres\"} 1",
    ] {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
}

#[test]
fn pools_beyond_the_cap_are_other() {
    let proxy = launch("size=1 retry_for=0ms");
    for number in 0..=metrics::POOLS_MAX {
        let mut wire = crate::support::Wire::connect(proxy.port());
        // There is no such database: the pool is counted all the same.
        let name = format!("none_{number:03}");
        wire.log_in(&[("user", "postgres"), ("database", &name)], None);
    }
    let (_, page) = proxy.get("/metrics");
    let logins = page.lines().filter(|line| line.starts_with("pgsteward_queries_total{")).count();
    assert_eq!(logins, metrics::POOLS_MAX + 1);
    assert!(
        page.contains("pgsteward_queries_total{database=\"other\",user=\"other\"} 0"),
        "{page}"
    );
}
