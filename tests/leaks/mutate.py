#!/usr/bin/env python3
"""Switches off each kind of tracking, pin and reset in turn, in a copy of the tree, and runs the leak hunt on it.

Ends with 0 if the hunt notices every one. Takes a quarter of an hour: not a part of `make test`.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "target/mutants/tree"

SESSION = "src/client_state/session.rs"
QUESTION = "src/client_state/question.rs"
CHANNELS = "src/client_state/channels.rs"
TOUCHED = "src/client_state/touched.rs"
CLEANUP = "src/pool/cleanup.rs"
LOAN = "src/session/loan.rs"


def no_pin(effect):
    keep = "let mut pins = effects.without(Effect::Setting).without(Effect::Prepare);"
    return (f"{effect} keeps nothing", SESSION, keep,
            keep.replace("let mut pins = effects", f"let mut pins = effects.without(Effect::{effect})"))


def no_reset(statement):
    return (f"a routine's reset without {statement.strip('; ')}", CLEANUP, statement, "")


# What is switched off, where, the code, and what stands in its place.
MUTATIONS = [
    ("settings are not applied", LOAN, "        apply(&mut server.exchange, &steps, &mut self.preface);\n"
     "        if steps.is_empty() {", "        let _ = (apply, &steps);\n        {"),
    ("settings are not tracked", SESSION, "!self.touch_all(changes, parameter)",
     "{ self.touch_all(changes, parameter); self.touched = None; false }"),
    ("the role is not tracked", SESSION, 'name.starts_with(b"transaction_")',
     'name.starts_with(b"transaction_") || name == b"role"'),
    ("custom settings are not tracked", SESSION, 'name.starts_with(b"transaction_")',
     'name.starts_with(b"transaction_") || name.contains(&b\'.\')'),
    ("bound parameters are not looked at", SESSION, ".is_some_and(|name| self.touch(&name.to_ascii_lowercase(), change.may_reset)),",
     ".is_none_or(|name| { let _ = name; true }),"),
    ("a rollback is not thought of", TOUCHED, "*doubt = Doubt::Undone.max(*doubt);", "let _ = (doubt, Doubt::Undone);"),
    ("RESET of a setting is not thought of", TOUCHED,
     "let doubt = if may_be_reset { Doubt::Reset } else { Doubt::None };",
     "let doubt = if may_be_reset && false { Doubt::Reset } else { Doubt::None };"),
    ("RESET ALL is not seen", SESSION, "self.touched.get_or_insert_default().add_all();", ""),
    ("another session user is not noticed", SESSION, "if !is_own_user || ", "if "),
    ("what was noted behind a question is forgotten", SESSION,
     ".filter(|effect| !self.news.contains(*effect))", ""),
    ("all pins are taken for gone", QUESTION, '_ => column == Some(b"f"),', "_ => column.is_some(),"),
    ("server connections go on listening", QUESTION, 'sql.push_str("; UNLISTEN *");', ""),
    ("a LISTEN that is undone is not", CHANNELS, "listed.iter().any(|listed| **listed == **name)",
     "{ let _ = listed; name.len() < 1000 }"),
    ("an UNLISTEN is not thought of", CHANNELS, "self.by_name.remove(&*name);", "let _ = name;"),
    ("SQL's prepared statements keep nothing", "src/strategy/relay/statements/query.rs",
     "Some(NameUse::Prepare(name)) => self.state.own.add(&name),", "Some(NameUse::Prepare(_)) => {}"),
    ("a routine is not undone", SESSION, "std::mem::take(&mut self.routine) != Routine::None",
     "std::mem::take(&mut self.routine) == Routine::Asked"),
    ("functions are taken for harmless", "src/analysis/session_effects.rs",
     "} else if self.calls && !is_as(before) {", "} else if self.calls && is_as(before) {"),
    ("the end of a client is not cleaned up after", "src/session/ending.rs", "            lease.clean();",
     "            let mut lease = lease;\n            lease.server.actual = Some(Rc::clone(&self.overlay));\n"
     "            lease.release();"),
    ("application names are not applied again", SESSION, "self.first.iter().filter(|(name, _)| settings.get(name).is_none())",
     "self.first.iter().filter(|_| false)"),
    no_pin("Temporary"),
    no_pin("AdvisoryLock"),
    no_pin("Listen"),
    no_pin("HoldCursor"),
    no_reset("RESET ALL; "),
    # Either is enough for a role.
    no_reset("SET SESSION AUTHORIZATION DEFAULT; RESET ALL; RESET ROLE; "),
    no_reset("CLOSE ALL; "),
    no_reset("UNLISTEN *; "),
    no_reset("DISCARD TEMP; "),
    ("a routine's reset leaves advisory locks", CLEANUP, "SELECT pg_catalog.pg_advisory_unlock_all(), ", "SELECT "),
    ("a routine's prepared statements stay", CLEANUP, "WHERE from_sql)", "WHERE false)"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--only", default="", help="mutations with this in their names")
    options = parser.parse_args()
    missed = 0
    for name, file, code, instead in MUTATIONS:
        if options.only not in name:
            continue
        found = hunt(file, code, instead, options.steps)
        missed += found is None
        print(f"{name:55} {found or 'NOT NOTICED'}", flush=True)
    sys.exit(missed > 0)


def hunt(file, code, instead, steps):
    """What the hunt says of a mutation; None: nothing."""
    for part in ["src", "tests", "benches", "Cargo.toml", "Cargo.lock", "rustfmt.toml", "clippy.toml", "proxy.toml", "docs"]:
        sync(ROOT / part, COPY / part)
    text = (COPY / file).read_text()
    if text.count(code) != 1:
        return None if code not in text else "AMBIGUOUS"
    (COPY / file).write_text(text.replace(code, instead))
    if file == "src/session/ending.rs":
        ending = (COPY / file).read_text()
        (COPY / file).write_text(ending.replace("use std::io;\n", "use std::io;\nuse std::rc::Rc;\n"))
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target/mutants/target"),
                   "PGSTEWARD_LEAK_STEPS": str(steps), "PGSTEWARD_SEED": "1", "RUST_BACKTRACE": "0",
                   "RUSTFLAGS": "--cap-lints warn"}
    done = subprocess.run(["cargo", "test", "--locked", "--test", "leaks"], cwd=COPY, env=environment,
                          capture_output=True, text=True)
    said = done.stdout + done.stderr
    if "could not compile" in said:
        error = re.search(r"^error.*", said, re.M)
        return None if error is None else f"DOES NOT COMPILE: {error[0]}"
    if "test result: ok" in said:
        return None
    step = re.findall(r"^(\d+): client", said, re.M)
    why = re.search(r"(client \d differs|a client that has set nothing finds|nothing came within|\n direct: )[^\n]*", said)
    return f"noticed at step {step[-1] if step else '?'}: {why[0].strip()[:70] if why else said[-200:]}"


def sync(source, target):
    """Copies what has changed, so that what has not is not compiled again."""
    if source.is_dir():
        for each in source.rglob("*"):
            if each.is_file():
                sync(each, target / each.relative_to(source))
    elif source.exists() and (not target.exists() or source.read_bytes() != target.read_bytes()):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
