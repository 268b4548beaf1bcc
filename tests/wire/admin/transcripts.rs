//! What the documents show is what a user sees: each block of docs/ that begins with `$ ` is run, line by line.
//!
//! Numbers and the widths of columns may differ.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::launch::launch;
use crate::support::Proxy;

/// A command and what it prints.
struct Shown {
    command: String,
    output: String,
}

/// All of them in a document.
fn shown(text: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut is_in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_in_block = line == "```console";
        } else if is_in_block {
            match (line.strip_prefix("$ "), all.last_mut()) {
                (Some(command), _) => {
                    all.push(Shown { command: command.to_owned(), output: String::new() });
                }
                (None, Some(last)) => last.output.extend([line, "\n"]),
                (None, None) => panic!("output before the first command: {line}"),
            }
        }
    }
    all
}

/// Numbers are alike, and so are rows of dashes and of blanks.
fn normalized(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        let repeats = matches!(c, '0' | '-' | ' ') && out.ends_with(c);
        if !repeats {
            out.push(c);
        }
    }
    let lines = out.lines().map(|line| line.trim_end().replace("0.0 ms", "0 ms"));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn run(proxy: &Proxy, command: &str) -> String {
    let command = command
        .replace("6432", &proxy.port().to_string())
        .replace("9432", &proxy.admin_port().to_string());
    let program = crate::support::install::Install::chosen().program("psql");
    let bin = program.parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let done = Command::new("sh")
        .args(["-c", &command])
        .env("PATH", format!("{bin}:{path}"))
        .env("PAGER", "cat")
        .output()
        .unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

#[test]
fn documents_show_what_happens() {
    let mut runs = 0;
    for document in ["console.md", "operations.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
        let proxy = launch("size=20");
        let mut client = proxy.wire();
        client.query("select 1").ok();
        for Shown { command, output } in shown(&fs::read_to_string(&path).unwrap()) {
            let told = run(&proxy, &command);
            assert_eq!(normalized(&told), normalized(&output), "{document}: {command}\n{told}");
            runs += 1;
        }
    }
    assert!(runs >= 8, "only {runs} commands are shown");
}

/// psql asks the catalog for `\d` and tab completion, and repeats with `\watch`: errors, and the session goes on.
#[test]
fn psql_s_own_commands_break_nothing() {
    let proxy = launch("size=2");
    let script = "\\d\n\\dt\n\\l\nSHOW VERSION;\n\\set WATCH_COUNT 1\nSHOW STATE \\g\n";
    let command = format!(
        "printf '{}' | psql -X -h 127.0.0.1 -p 6432 -U pgsteward pgsteward",
        script.replace('\\', "\\\\")
    );
    let told = run(&proxy, &command);
    assert!(told.contains("pgsteward 0.") && told.contains("suspended"), "{told}");
    assert!(told.contains("the console has no command"), "{told}");
    let watch = "printf 'SHOW STATE \\\\watch 0.1\\n' | timeout 1 psql -X -h 127.0.0.1 -p 6432 -U pgsteward pgsteward";
    let told = run(&proxy, watch);
    assert!(told.matches("suspended").count() > 2, "{told}");
}
