//! One process hands its sockets on to the next under load, and nobody notices.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::launch::SOON;
use crate::support::frames::query;
use crate::support::{Options, Postgres, Proxy, Wire, eventually};

fn start(postgres: &Postgres, handover: &str) -> Proxy {
    let upstream = format!("postgres://127.0.0.1:{}", postgres.port());
    Proxy::builder()
        .args(["--upstream", &upstream])
        .set("pool.size=4")
        .set(&format!("server.handover={handover}"))
        .start()
}

fn path(name: &str) -> String {
    format!("{}/handover.{name}.{}", env!("CARGO_TARGET_TMPDIR"), std::process::id())
}

fn pgbench(port: u16, arguments: &[&str]) -> String {
    let done = Command::new("pgbench")
        .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()])
        .args(arguments)
        .arg("postgres")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{told}");
    String::from_utf8_lossy(&done.stdout).into_owned() + &told
}

#[test]
fn no_transaction_and_no_connect_fails_while_processes_change() {
    let postgres = Postgres::start(&Options::default());
    let path = path("load");
    let first = start(&postgres, &path);
    let port = first.port();
    pgbench(port, &["-i", "-q"]);
    let mut processes = vec![first];
    thread::scope(|scope| {
        let lasting = scope.spawn(move || pgbench(port, &["-n", "-c", "4", "-T", "4"]));
        let coming = scope.spawn(move || pgbench(port, &["-n", "-S", "-C", "-c", "4", "-T", "4"]));
        for _ in 0..4 {
            thread::park_timeout(Duration::from_millis(700));
            let next = start(&postgres, &path);
            assert_eq!(next.port(), port, "{}", next.log());
            processes.push(next);
        }
        for load in [lasting, coming] {
            let report = load.join().unwrap();
            assert!(report.contains("number of failed transactions: 0"), "{report}");
            assert!(!report.contains("aborted") && !report.contains("error"), "{report}");
        }
    });
    let mut last = processes.pop().unwrap();
    for mut process in processes {
        assert!(process.wait_exit().success(), "{}", process.log());
    }
    Wire::login(port, "postgres", "postgres").query("select 1").ok();
    last.signal("TERM");
    assert!(last.wait_exit().success());
}

#[test]
fn clients_of_the_process_before_go_on_and_can_cancel() {
    let postgres = Postgres::start(&Options::default());
    let path = path("cancel");
    let mut first = start(&postgres, &path);
    let port = first.port();
    let mut client = Wire::login(port, "postgres", "postgres");
    client.query("begin; create table kept (a int)").ok();
    let second = start(&postgres, &path);
    let mut third = start(&postgres, &path);
    client.query("insert into kept values (1)").ok();
    // The second had no clients and has left; the third knows the first one's socket all the same.
    let mut second = second;
    assert!(second.wait_exit().success());
    client.send(&query("select pg_sleep(60)"));
    assert!(client.is_silent_for(Duration::from_millis(50)));
    client.cancel(port);
    assert_eq!(client.until_ready().sqlstate().as_deref(), Some("57014"));
    client.query("rollback").ok();
    // HTTP and the console are the new one's.
    assert_eq!(first.admin_port(), third.admin_port());
    assert_eq!(third.get("/livez").0, 200);
    client.close();
    assert!(first.wait_exit().success(), "{}", first.log());
    // A key that nobody knows is ignored.
    let mut late = Wire::login(port, "postgres", "postgres");
    late.cancel(port);
    late.query("select 1").ok();
    late.close();
    third.signal("TERM");
    assert!(third.wait_exit().success());
}

#[test]
fn a_process_that_died_leaves_nothing_in_the_way() {
    let postgres = Postgres::start(&Options::default());
    let path = path("died");
    let first = start(&postgres, &path);
    first.signal("KILL");
    drop(first);
    let second = start(&postgres, &path);
    second.wire().query("select 1").ok();
    eventually("it is found", SOON, || std::fs::read_link(&path).is_ok());
}

/// What systemd does for a socket unit: the socket is descriptor 3, and the variables name it and the process (sd_listen_fds(3)).
const ACTIVATE: &str = r#"
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
environment = dict(os.environ, LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execve(sys.argv[1], sys.argv[1:], environment)
"#;

#[test]
fn sockets_of_systemd_are_used() {
    use std::io::{BufRead, BufReader};
    let upstream = format!("postgres://127.0.0.1:{}", Postgres::shared().port());
    let mut command = crate::support::children::leashed("python3", "KILL", None);
    command.args(["-c", ACTIVATE, env!("CARGO_BIN_EXE_pgsteward"), "serve"]);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "off", "--upstream", &upstream]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut process = crate::support::children::spawn(command).unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // The socket listens before the proxy runs: who comes early waits for it.
    let mut client = Wire::login(line.trim().parse().unwrap(), "postgres", "postgres");
    client.query("select 1").ok();
    process.kill().unwrap();
    process.wait().unwrap();
}
