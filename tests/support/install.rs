//! Which PostgreSQL the tests run against, and its empty cluster, made once per version.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use super::children::{leashed, unprivileged};

/// Server programs of one PostgreSQL version.
#[derive(Debug)]
pub struct Install {
    /// The directory of `postgres` and `initdb`.
    pub bin: PathBuf,
    /// `15.20`, `18.1` ...
    pub version: String,
}

impl Install {
    /// The version under test, found once: `PGSTEWARD_PG_BIN` names the directory, `PGSTEWARD_TEST_PG` the
    /// major version; without either it is the newest that the system has.
    pub fn chosen() -> &'static Self {
        static CHOSEN: OnceLock<Install> = OnceLock::new();
        CHOSEN.get_or_init(|| {
            let bin = find().unwrap_or_else(|why| panic!("{why}; `make setup` installs it"));
            let version = run(Command::new(bin.join("postgres")).arg("--version"));
            let version = version
                .split_whitespace()
                .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
                .unwrap_or_else(|| panic!("no version in {version:?}"));
            Self { version: version.to_owned(), bin }
        })
    }

    /// Major version.
    pub fn major(&self) -> u32 {
        let digits = self.version.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|d| d.parse().ok()).expect("versions start with a number")
    }

    /// A program of this version.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// An empty cluster to copy. Made under another name and renamed, so parallel test processes don't clash.
    pub fn template(&self) -> &'static Path {
        static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
        TEMPLATE.get_or_init(|| {
            let ready = base().join(format!("template-{}", self.version));
            if !ready.exists() {
                let draft = base().join(format!("draft.{}", process::id()));
                self.initdb(&draft);
                if fs::rename(&draft, &ready).is_err() {
                    // Another process was first; its cluster is as good.
                    fs::remove_dir_all(&draft).expect("our own draft");
                }
            }
            ready
        })
    }

    fn initdb(&self, directory: &Path) {
        make_directory(directory);
        let mut command = leashed(self.program("initdb"), "KILL", unprivileged());
        command
            .args(["--username=postgres", "--auth=trust", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C", "--wal-segsize=1"])
            .arg("--pgdata")
            .arg(directory);
        run(&mut command);
    }
}

/// Where clusters live: below the target directory if the server's account gets there, else in a temporary one.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let target =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent");
        let mut reach = leashed("test", "KILL", unprivileged());
        let reached = reach.arg("-x").arg(target).status();
        let base = if reached.is_ok_and(|status| status.success()) {
            target.join("test-pg")
        } else {
            env::temp_dir().join("pgsteward-test-pg")
        };
        fs::create_dir_all(&base).expect("a directory for clusters");
        sweep(&base);
        base
    })
}

/// Makes a directory that only the server's account may enter.
pub fn make_directory(path: &Path) {
    use std::os::unix::fs::{PermissionsExt, chown};
    fs::create_dir_all(path).expect("a new directory");
    if let Some(account) = unprivileged() {
        chown(path, Some(account.uid), Some(account.gid)).expect("root may chown");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("our own directory");
}

/// Runs a command to its end and gives what it printed; panics with all of it on failure.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}{errors}", output.status);
    printed
}

/// Removes what dead test processes left: `cluster.PID.NUMBER` and `draft.PID`.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('.');
        let ours = matches!(parts.next(), Some("cluster" | "draft"));
        let owner = parts.next().and_then(|pid| pid.parse().ok());
        if ours && owner.is_some_and(|pid| !super::children::exists(pid)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn find() -> Result<PathBuf, String> {
    if let Some(bin) = env::var_os("PGSTEWARD_PG_BIN") {
        let bin = PathBuf::from(bin);
        return has_server(&bin).ok_or(format!("no postgres in {}", bin.display()));
    }
    if let Ok(major) = env::var("PGSTEWARD_TEST_PG") {
        // Not by way of `tmp`, which may be closed to the server's account.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        let embedded = target.expect("target/tmp has a parent");
        let embedded = embedded.join("embedded-postgres").join(&major).join("bin");
        let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
        return has_server(&debian)
            .or_else(|| has_server(&embedded))
            .ok_or(format!("no PostgreSQL {major}"));
    }
    newest_of_debian()
        .or_else(|| {
            let output = Command::new("pg_config").arg("--bindir").output().ok()?;
            has_server(Path::new(String::from_utf8(output.stdout).ok()?.trim()))
        })
        .or_else(|| env::split_paths(&env::var_os("PATH")?).find_map(|bin| has_server(&bin)))
        .ok_or("no PostgreSQL server found".to_owned())
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut majors: Vec<u32> =
        versions.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    majors.sort_unstable();
    majors
        .iter()
        .rev()
        .find_map(|major| has_server(Path::new(&format!("/usr/lib/postgresql/{major}/bin"))))
}

fn has_server(bin: &Path) -> Option<PathBuf> {
    bin.join("postgres").exists().then(|| bin.to_owned())
}
