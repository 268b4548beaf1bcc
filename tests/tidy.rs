//! The house rules that no compiler checks: imports point down the rows, every file says what it is,
//! no file grows beyond reading.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]
#![expect(clippy::unwrap_used, reason = "a test that can't read the sources fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each row may import from the rows below it only; modules of one row are strangers.
/// `cli` may build parts of the composition root; `main` and `lib` stand above all.
const ROWS: &[&[&str]] = &[
    &["cli"],
    &["server"],
    &["admin"],
    &["session"],
    &["pipeline"],
    &["strategy"],
    &["transaction"],
    &["plan"],
    &["pool", "cache", "tenant", "audit", "advice"],
    &["catalog"],
    &["request"],
    &["client_state"],
    &["analysis", "auth", "net"],
    &["protocol"],
    &["telemetry"],
    &["config"],
    &["error"],
    &["ids"],
];

/// Lines of a source file, its tests not counted (they live in a child `tests.rs` when long).
const LINES_MAX: usize = 700;

#[test]
fn imports_point_down() {
    let row_of: BTreeMap<&str, usize> = ROWS
        .iter()
        .enumerate()
        .flat_map(|(row, modules)| modules.iter().map(move |module| (*module, row)))
        .collect();
    let mut faults = Vec::new();
    for file in sources() {
        let Some(own) = module_of(&file) else {
            continue;
        };
        let Some(&own_row) = row_of.get(own.as_str()) else {
            faults.push(format!("{}: module `{own}` has no row", file.display()));
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for target in crate_paths(line) {
                if target == own {
                    continue;
                }
                let Some(&row) = row_of.get(target.as_str()) else {
                    continue;
                };
                if row <= own_row {
                    faults.push(format!(
                        "{}:{}: `{own}` must not import `{target}`",
                        file.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_opens_with_its_purpose() {
    let faults: Vec<_> = sources()
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(faults.is_empty(), "no opening //! in: {faults:?}");
}

#[test]
fn no_file_outgrows_a_reader() {
    let faults: Vec<_> = sources()
        .into_iter()
        .filter_map(|file| {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            (lines > LINES_MAX).then(|| format!("{}: {lines} lines", file.display()))
        })
        .collect();
    assert!(faults.is_empty(), "split these: {faults:?}");
}

/// All `.rs` files below `src`.
fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    found
}

/// The top-level module that a file belongs to; `None` for `main.rs` and `lib.rs`.
fn module_of(file: &Path) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = file.strip_prefix(root).unwrap().components().next()?;
    let name = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
    (name != "main" && name != "lib").then_some(name)
}

/// The modules named in `crate::module` paths of one line.
fn crate_paths(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or("");
    code.match_indices("crate::")
        .map(|(at, found)| {
            code[at + found.len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}
