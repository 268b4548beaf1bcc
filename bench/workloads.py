"""What is run: the workloads, and the cases that the options leave of them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    about: str
    # Of pgbench -M.
    modes: tuple
    # More clients at once would say nothing new.
    clients_max: int
    # Words of pgbench's command line, or a script for it.
    words: tuple = ()
    script: str = ""
    # Share of the transactions whose latency is logged. Of fast ones a fifth: that is thousands a run, and
    # costs nothing that can be measured; all of them cost pgbench 2 us a transaction (of 24).
    logged: float = 1.0


@dataclasses.dataclass(frozen=True)
class Case:
    workload: Workload
    mode: str
    clients: int


# As an object mapper reads one thing with its relations: few columns, by key, three joins.
JOIN = """\\set aid random(1, 100000)
SELECT a.aid, a.abalance, b.bid, b.bbalance, t.tid, t.tbalance, p.aid, p.abalance FROM pgbench_accounts a \
JOIN pgbench_branches b ON b.bid = a.bid JOIN pgbench_tellers t ON t.bid = b.bid \
JOIN pgbench_accounts p ON p.aid = b.bid WHERE a.aid = :aid ORDER BY t.tid LIMIT 1;
"""

# About 1 MB.
ROW = "SELECT repeat('x', 1048576);\n"
ROWS = "SELECT i, repeat('x', 100) FROM generate_series(1, 9000) i;\n"
COPY = "COPY (SELECT * FROM pgbench_accounts WHERE aid <= 10000) TO STDOUT"

ALL_MODES = ("simple", "extended", "prepared")
WORKLOADS = {workload.name: workload for workload in [
    Workload("select", "pgbench -S", ALL_MODES, 500, ("-S",), logged=0.2),
    Workload("tpcb", "pgbench's TPC-B", ALL_MODES, 500, ("-b", "tpcb-like")),
    Workload("join", "one thing with its relations, by key", ("extended", "prepared"), 500, script=JOIN, logged=0.2),
    # pgbench connects one client at a time in each of its threads.
    Workload("connect", "pgbench -S -C: a connection for each transaction", ("simple",), 32, ("-S", "-C")),
    Workload("row", "one row of 1 MB", ("simple",), 8, script=ROW),
    Workload("rows", "1 MB in 9000 rows", ("simple",), 8, script=ROWS),
    # pgbench can't: see copy_out.py.
    Workload("copy", "COPY out of 1 MB", ("simple",), 8),
]}


def cases(options):
    return [Case(workload, mode, clients)
            for workload in (WORKLOADS[name] for name in options.workloads)
            for mode in workload.modes if mode in options.modes
            for clients in options.clients if clients <= workload.clients_max]


def can_run(name, case):
    """PgBouncer 1.18 loses prepared statements in transaction mode: pgbench stops at the first."""
    return name != "pgbouncer" or case.mode != "prepared"
