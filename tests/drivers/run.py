#!/usr/bin/env python3
"""Runs each driver's client script direct and through proxies and compares what they print, byte for byte.

    run.py --direct 127.0.0.1:5432 --proxy 127.0.0.1:6432 [--proxy transaction=127.0.0.1:6433] [--only psql,asyncpg]

Starts nothing but the scripts. Each run gets a fresh database, made over the direct connection. A script prints
`[3] title` for each step and its results below; nothing in them may change from run to run. Ends with
`N passed, N failed`; exit code 1 when one failed. What the scripts need is put there by `make setup`.
"""

import argparse
import concurrent.futures
import difflib
import os
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILT = pathlib.Path(os.environ.get("PGSTEWARD_DRIVERS_DIR", ROOT / "target" / "drivers"))
PYTHON = BUILT / "venv" / "bin" / "python"
NODE_MODULES = BUILT / "node" / "node_modules"
RUST = BUILT / "rust"
JARS = pathlib.Path("/usr/share/java")

# A script that takes longer hangs.
LIMIT_S = int(os.environ.get("PGSTEWARD_DRIVERS_LIMIT_S", "60"))
DIFF_LINES_MAX = 120

# Kind of runtime, then the arguments that follow it.
DRIVERS = {
    "psql": ("sh", "psql/psql.sh"),
    "pgbench": ("sh", "pgbench/pgbench.sh"),
    "pg_dump": ("sh", "pg_dump/pg_dump.sh"),
    "psycopg3-sync": ("python", "psycopg3/sync.py"),
    "psycopg3-prepared": ("python", "psycopg3/sync.py", "--prepare-threshold=0"),
    "psycopg3-async": ("python", "psycopg3/asynchronous.py"),
    "psycopg3-pipeline": ("python", "psycopg3/pipeline.py"),
    "migrations": ("python", "psycopg3/migrations.py"),
    "psycopg2": ("python", "psycopg2/main.py"),
    "asyncpg": ("python", "asyncpg/main.py"),
    "node-postgres": ("node", "node-postgres/main.js"),
    "postgres-js": ("node", "postgres-js/main.js"),
    "tokio-postgres": ("rust", "tokio_postgres"),
    "sqlx": ("rust", "sqlx"),
    "jdbc": ("java", "jdbc/Main.java"),
    # Eight clients at once, for a pool of two.
    "crowd-pgbench": ("sh", "pgbench/crowd.sh"),
    "crowd-psycopg3": ("python", "psycopg3/crowd.py"),
    "crowd-asyncpg": ("python", "asyncpg/crowd.py"),
    "crowd-node-postgres": ("node", "node-postgres/crowd.js"),
    "crowd-postgres-js": ("node", "postgres-js/crowd.js"),
    "crowd-sqlx": ("rust", "sqlx_crowd"),
    "crowd-jdbc": ("java", "jdbc/Crowd.java"),
}


class Missing(Exception):
    """Something that `make setup` installs is not there."""


class Skipped(Exception):
    """A driver whose runtime this machine does not have."""


# === commands ===


def command_of(name):
    """The command line of a driver's script."""
    kind, script, *arguments = DRIVERS[name]
    if kind == "rust":
        return [str(RUST / "debug" / script)]
    runtime = {"sh": sh, "python": python, "node": node, "java": java}[kind]()
    return [*runtime, str(HERE / script), *arguments]


def sh():
    for tool in ("psql", "pgbench", "pg_dump"):
        if not shutil.which(tool):
            raise Missing(f"no {tool}: run `make setup`")
    return ["bash"]


def python():
    if not PYTHON.exists():
        raise Missing(f"no {PYTHON}: run `make setup`")
    return [str(PYTHON), "-B"]


def node():
    if not NODE_MODULES.is_dir() or not shutil.which("node"):
        raise Missing(f"no {NODE_MODULES} or no node: run `make setup`")
    return ["node"]


def java():
    if not shutil.which("java"):
        raise Skipped("no java on this machine")
    modules = subprocess.run(["java", "--list-modules"], capture_output=True, text=True).stdout
    if "jdk.compiler" not in modules:
        raise Skipped("this java has no compiler (a JRE, not a JDK)")
    if not (JARS / "postgresql.jar").exists():
        raise Missing("no libpostgresql-jdbc-java: run `make setup`")
    classpath = ":".join(str(jar) for jar in sorted(JARS.glob("postgresql.jar")))
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Dfile.encoding=UTF-8", "-cp", classpath]


def build_rust():
    """Builds the Rust scripts; nothing happens when they are fresh."""
    cargo = os.environ.get("CARGO", "cargo")
    manifest = str(HERE / "rust" / "Cargo.toml")
    command = [cargo, "build", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir", str(RUST)]
    ours = {key: value for key, value in os.environ.items() if not key.startswith("CARGO_PKG")}
    subprocess.run(command, check=True, env=ours)


# === one run ===


class Database:
    """Where a script runs: a server, and a database name that is made anew over the direct address."""

    def __init__(self, direct, user, name):
        self.direct, self.user, self.name = direct, user, name

    def admin(self, *statements):
        host, port = self.direct
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", self.user, "-d", "postgres"]
        for statement in statements:
            command += ["-c", statement]
        # No notice for a database that is not there.
        quiet = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
        subprocess.run(command, check=True, env=quiet)

    def drop(self):
        self.admin(f'drop database if exists "{self.name}" with (force)')

    def __enter__(self):
        self.drop()
        self.admin(f'create database "{self.name}" template template0')
        return self

    def __exit__(self, *_):
        self.drop()

    def environment(self, address):
        ours = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        ours |= {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": str(HERE / "common"), "NODE_PATH": str(NODE_MODULES)}
        host, port = address
        return ours | {"PGHOST": host, "PGPORT": port, "PGUSER": self.user, "PGDATABASE": self.name}


def run_script(name, database, address):
    """What the script prints, and how long it took."""
    with database:
        begin = time.monotonic()
        arguments = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command_of(name), env=database.environment(address), start_new_session=True, **arguments)
        try:
            out, errors = process.communicate(timeout=LIMIT_S)
            ending = "" if process.returncode == 0 else f"exit code {process.returncode}\n{text(errors)}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, errors = process.communicate()
            ending = f"not done after {LIMIT_S} s\n{text(errors)}"
        return text(out) + ending, time.monotonic() - begin, ending


def text(output):
    return output.decode("utf-8", "backslashreplace")


# === one driver ===


def expected_output(name, options):
    """The direct run's output and time, from --expect-file if that is there."""
    stored = options.expect_file and pathlib.Path(options.expect_file)
    if stored and stored.exists():
        return stored.read_text(), 0.0
    database = Database(options.direct, options.user, f"{options.database_prefix}{name}")
    output, seconds, ending = run_script(name, database, options.direct)
    if ending:
        raise RuntimeError(f"direct run failed\n{output}")
    if stored:
        stored.write_text(output)
    return output, seconds


def check(name, options):
    """Runs one driver everywhere; the lines to print and whether it passed."""
    output, seconds = expected_output(name, options)
    steps = sum(line.startswith("[") for line in output.splitlines())
    times, faults = [f"direct {seconds:.1f} s"], []
    for label, address in options.proxy:
        copies = [f"{options.database_prefix}{name}-{copy}" if copy else f"{options.database_prefix}{name}" for copy in range(options.clients)]
        databases = [Database(options.direct, options.user, copy) for copy in copies]
        with concurrent.futures.ThreadPoolExecutor(len(databases)) as pool:
            results = list(pool.map(lambda database: run_script(name, database, address), databases))
        times.append(f"{label} {max(result[1] for result in results):.1f} s")
        differing = [result[0] for result in results if result[0] != output]
        if differing:
            faults.append(difference(output, differing[0], label, len(differing), len(results)))
    if faults:
        return False, f"FAIL {name}\n" + "\n".join(faults)
    return True, f"ok {name} ({steps} steps, {', '.join(times)})"


def difference(expected, got, label, failed, copies):
    lines = list(difflib.unified_diff(expected.splitlines(), got.splitlines(), "direct", label, lineterm="", n=4))
    if len(lines) > DIFF_LINES_MAX:
        lines[DIFF_LINES_MAX:] = [f"... {len(lines) - DIFF_LINES_MAX} more lines"]
    title = f"  through {label}" + (f" ({failed} of {copies} copies differ)" if copies > 1 else "")
    return "\n".join([title, *(f"    {line}" for line in lines)])


# === command line ===


def address(argument):
    host, _, port = argument.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{argument!r} is not HOST:PORT")
    return host, port


def labelled(argument):
    label, _, rest = argument.rpartition("=")
    return label or "proxy", address(rest)


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--direct", type=address, required=True, metavar="HOST:PORT", help="PostgreSQL itself")
    parser.add_argument("--proxy", type=labelled, action="append", required=True, metavar="[LABEL=]HOST:PORT", help="a proxy; may come again")
    parser.add_argument("--user", default="postgres", help="role, a superuser (default postgres)")
    parser.add_argument("--database-prefix", default="drivers-", help="of the databases made and dropped (default drivers-)")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="these drivers")
    parser.add_argument("--clients", type=int, default=1, help="copies of a script at once through the proxy (default 1)")
    parser.add_argument("--expect-file", metavar="FILE", help="with one driver: the direct output is read from FILE, or stored there")
    parser.add_argument("--list", action="store_true", help="the drivers' names")
    if "--list" in arguments:
        print("\n".join(DRIVERS))
        sys.exit(0)
    options = parser.parse_args(arguments)
    options.names = options.only.split(",") if options.only else list(DRIVERS)
    unknown = [name for name in options.names if name not in DRIVERS]
    if unknown:
        parser.error(f"no such driver: {', '.join(unknown)} (there are {', '.join(DRIVERS)})")
    if options.expect_file and len(options.names) > 1:
        parser.error("--expect-file needs --only with one driver")
    return options


def main():
    options = options_of(sys.argv[1:])
    if any(DRIVERS[name][0] == "rust" for name in options.names):
        build_rust()
    passed = failed = skipped = 0
    for name in options.names:
        try:
            command_of(name)
            good, report = check(name, options)
            passed, failed = passed + good, failed + (not good)
        except Skipped as why:
            skipped, report = skipped + 1, f"skip {name}: {why}"
        except (Missing, RuntimeError, OSError, subprocess.SubprocessError) as why:
            failed, report = failed + 1, f"FAIL {name}: {why}"
        print(report, flush=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
