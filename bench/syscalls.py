"""System calls per transaction, counted by strace in runs of their own: it halves the speed."""

import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import load
import proxies
import servers
import workloads

CLIENTS = (1, 32)
SECONDS = 2


def count_all(running):
    """Calls per transaction of pgbench -S: {name: {clients: {call: number}}}."""
    if not shutil.which("strace"):
        raise SystemExit("no strace: `make setup` installs it")
    select = workloads.WORKLOADS["select"]
    return {name: {clients: count(server, workloads.Case(select, "simple", clients)) for clients in CLIENTS}
            for name, server in running.items() if proxies.is_proxy(name)}


def count(server, case):
    with tempfile.TemporaryDirectory(prefix="pgsteward-strace-") as directory:
        counts = pathlib.Path(directory, "counts")
        tracer = subprocess.Popen(["strace", "-c", "-f", "-q", "-o", counts, "-p", str(server.process.pid)],
                                  stderr=subprocess.DEVNULL)
        try:
            servers.wait_for("strace is attached", lambda: is_traced(server.process.pid))
            transactions = load.run(server, case, SECONDS)["transactions"]
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
        return {call: number / transactions for call, number in calls(counts.read_text()).items()}


def is_traced(pid):
    return not re.search(r"TracerPid:\s+0\n", pathlib.Path(f"/proc/{pid}/status").read_text())


def calls(table):
    """Call to number from strace -c: % time, seconds, usecs/call, calls, errors or nothing, name."""
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$", table, re.MULTILINE)
    return {call: int(number) for number, call in rows if call != "total"}
