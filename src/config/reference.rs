//! The sample `proxy.toml` and docs/configuration.md, made from the table of keys.
//!
//! The committed files are compared with these by a test; `UPDATE=1 cargo test reference` writes them anew.

#![cfg(test)]

use std::fmt::Write;

use super::keys::{DATABASE, Key, SECTIONS, Section, USER};

/// Width of comment lines.
const WIDTH: usize = 100;

const SAMPLE_INTRODUCTION: &str = "\
# pgsteward's configuration: every key, with its default. `pgsteward check` checks it; any key can be
# overridden by `--set section.key=value`. Durations and sizes carry their unit.
";

const EXAMPLE_DATABASE: &str = "\
[databases.\"*\"]
host = \"127.0.0.1\"
";

const EXAMPLE_USER: &str = "\
# [[users]]
# name = \"ann\"
# password = \"secret\"
";

/// The sample file.
fn sample() -> String {
    let mut out = SAMPLE_INTRODUCTION.to_owned();
    for section in SECTIONS {
        comment(&mut out, section.doc);
        _ = writeln!(out, "[{}]", section.name);
        keys(&mut out, section, "");
    }
    comment(&mut out, DATABASE.doc);
    out.push_str(EXAMPLE_DATABASE);
    keys(&mut out, &DATABASE, "# ");
    comment(&mut out, USER.doc);
    out.push_str(EXAMPLE_USER);
    keys(&mut out, &USER, "# ");
    out
}

fn keys(out: &mut String, section: &Section, prefix: &str) {
    for key in section.keys {
        paragraph(out, key.doc);
        match key.default {
            Some(default) => _ = writeln!(out, "{prefix}{} = {default}", key.name),
            None => _ = writeln!(out, "# {} = {}", key.name, placeholder(key)),
        }
    }
}

fn placeholder(key: &Key) -> &'static str {
    match key.kind {
        super::keys::Kind::Integer(..) => "10",
        super::keys::Kind::Choice(_) => "\"transaction\"",
        _ => "\"...\"",
    }
}

fn comment(out: &mut String, doc: &str) {
    out.push('\n');
    paragraph(out, doc);
}

fn paragraph(out: &mut String, doc: &str) {
    let mut line = String::from("#");
    for word in doc.split_whitespace() {
        if line.len() + word.len() + 1 > WIDTH {
            _ = writeln!(out, "{line}");
            "#".clone_into(&mut line);
        }
        _ = write!(line, " {word}");
    }
    _ = writeln!(out, "{line}");
}

/// The reference page.
fn page() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         This page is made from `src/config/keys.rs` (`UPDATE=1 cargo test reference`).\n\n\
         `pgsteward serve` reads `proxy.toml` in the current directory, or the file that `--config` names.\n\
         `--upstream URL` (or `PGSTEWARD_UPSTREAM`, unless `--config` is given) needs no file: every database\n\
         name goes to that server. `--set section.key=value` overrides single keys, `--listen` and\n\
         `--admin-listen` the addresses. Faults are listed all at once, each with its line; `pgsteward check`\n\
         does only that. Durations (`ms`, `s`, `min`, `h`, `d`) and sizes (`B`, `KiB`, `MiB`, `GiB`) carry their\n\
         unit.\n",
    );
    for section in SECTIONS.iter().chain([&DATABASE, &USER]) {
        let title = if section.name == USER.name {
            "[[users]]".to_owned()
        } else {
            format!("[{}]", section.name)
        };
        let doc = section.doc.replace('\n', " ");
        _ = write!(
            out,
            "\n## `{title}`\n\n{doc}\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
        );
        for key in section.keys {
            let restart = if super::keys::is_changeable(section.name, key.name) {
                ""
            } else {
                " A change takes a restart."
            };
            let default =
                key.default.map_or("not set".to_owned(), |default| format!("`{default}`"));
            _ = writeln!(
                out,
                "| `{}` | {} | {default} | {}{restart} |",
                key.name,
                key.kind.describe(),
                key.doc
            );
        }
    }
    out
}

/// Holds a committed file against what it is made from.
pub(crate) fn compare(file: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "{file} is not up to date: UPDATE=1 cargo test reference");
}

mod tests {
    use std::path::Path;

    use super::compare;
    use crate::config::{Source, load};

    #[test]
    fn the_sample_is_up_to_date() {
        compare("proxy.toml", &super::sample());
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        compare("docs/configuration.md", &super::page());
    }

    #[test]
    fn the_sample_says_the_defaults() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sample =
            load(&Source { file: Some(dir.join("proxy.toml")), ..Source::default() }).unwrap();
        let upstream = Some("postgres://127.0.0.1".to_owned());
        let bare = load(&Source { upstream, ..Source::default() }).unwrap();
        let shown = |mut config: crate::config::Config| {
            config.auth.mock_key = [0; 32];
            format!("{config:?}")
        };
        assert_eq!(shown(sample.config), shown(bare.config));
    }
}
