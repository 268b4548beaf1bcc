"""One run of one case: the load on a server, and what came of it."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import servers
import workloads

HERE = pathlib.Path(__file__).resolve().parent
# For all logins before a run and the last transactions after it; whoever takes longer hangs.
GRACE_SECONDS = 30


class Failed(Exception):
    """The load could not be run; the reason in one line."""


def run(server, case, seconds):
    """Gives {"tps", "transactions", "failed", "p50_ms", "p99_ms", "began", "ended"}, the last two by the clock."""
    if case.workload is workloads.WORKLOADS["copy"]:
        return copy_out(server, case.clients, seconds)
    with tempfile.TemporaryDirectory(prefix="pgsteward-bench-") as directory:
        return pgbench_run(server, case, seconds, pathlib.Path(directory))


def copy_out(server, clients, seconds):
    printed = finish([sys.executable, HERE / "copy_out.py", server.port, clients, seconds], seconds)
    found = json.loads(printed)
    times = found["times_ms"]
    return {"tps": len(times) / (found["ended"] - found["began"]), "transactions": len(times), "failed": 0,
            "began": found["began"], "ended": found["ended"], **percentiles(times)}


def pgbench_run(server, case, seconds, directory):
    workload = case.workload
    words = ["-n", "-M", case.mode, "-c", case.clients, "-j", threads(case), "-T", duration(case, seconds),
             "-l", "--log-prefix", directory / "log", *workload.words]
    if workload.logged < 1:
        words += ["--sampling-rate", workload.logged]
    if workload.script:
        script = directory / "script.sql"
        script.write_text(workload.script)
        words += ["-f", script]
    printed = pgbench(server, words, seconds)
    if "tps = " not in printed:
        raise Failed("no transaction ended in time")
    found = {name: float(re.search(pattern, printed)[1]) for name, pattern in {
        "tps": r"tps = ([\d.]+)", "transactions": r"actually processed: (\d+)",
        "failed": r"failed transactions: (\d+)"}.items()}
    lines = [line.split() for path in directory.glob("log.*") for line in path.read_text().splitlines()]
    return {**found, **window(lines), **percentiles(gaps(lines) if "-C" in workload.words else times(lines))}


def duration(case, seconds):
    """pgbench's clock runs while it logs in, one client after the other: 500 direct ones take 1.4 s."""
    return max(1, round(seconds + case.clients / 250))


def threads(case):
    """Two are enough to keep two processors busy. But each connects one client at a time; and each prepares one
    statement at a time, with transactions open in its other clients: a pool that is smaller than those can't go on."""
    prepares_inside = case.mode == "prepared" and case.workload.name == "tpcb"
    return case.clients if "-C" in case.workload.words or prepares_inside else min(case.clients, 2)


def pgbench(server, words, seconds):
    program = servers.pg_bin() / "pgbench"
    return finish([program, "-h", "127.0.0.1", "-p", server.port, "-U", "postgres", *words, "postgres"], seconds)


def finish(command, seconds):
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed("did not end") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line] or [f"exit code {done.returncode}"]
        raise Failed(next((line for line in lines if "rror" in line or "FATAL" in line), lines[-1]))
    return done.stdout


# === pgbench's log: lines of client, transaction, microseconds, script, second, microsecond ===


def times(lines):
    """Latencies in ms."""
    return [float(line[2]) / 1e3 for line in lines if line[2].isdigit()]


def gaps(lines):
    """Times between one client's ends of transactions: pgbench's own latencies leave out the time to connect."""
    ends = sorted((int(line[0]), end(line)) for line in lines)
    return [(later - before) * 1e3 for (client, before), (same, later) in zip(ends, ends[1:]) if client == same]


def window(lines):
    """From the begin of the first transaction to the end of the last."""
    begins = [end(line) - float(line[2]) / 1e6 for line in lines if line[2].isdigit()]
    if not begins:
        raise Failed("no transaction was logged")
    return {"began": min(begins), "ended": max(map(end, lines))}


def end(line):
    return int(line[4]) + int(line[5]) / 1e6


def percentiles(values):
    ordered = sorted(values)
    if not ordered:
        return {"p50_ms": None, "p99_ms": None}
    return {f"p{percent}_ms": ordered[len(ordered) * percent // 100] for percent in (50, 99)}
