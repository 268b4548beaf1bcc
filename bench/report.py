"""Samples to medians, spreads and ratios, and those to tables."""

import statistics

import workloads

MEASURED = ("tps", "p50_ms", "p99_ms", "proxy_cpu_us")


# === figures ===


def summary(cases, samples, names):
    """A row for each case and server, in their order; each figure is {"median", "spread"} or None."""
    rows = []
    for case in cases:
        key = {"workload": case.workload.name, "mode": case.mode, "clients": case.clients}
        for name in names:
            runs = [sample for sample in samples if sample["through"] == name and is_of(sample, key)]
            rows.append({**key, "through": name, **figures(runs)})
    for row in rows:
        row.update(ratios(row, rows))
    return rows


def is_of(sample, key):
    return all(sample[name] == value for name, value in key.items())


def figures(runs):
    done = [run for run in runs if "error" not in run]
    found = {name: middle([run[name] for run in done if run[name] is not None]) for name in MEASURED}
    return {**found, "failed": sum(run["failed"] for run in done),
            "errors": [run["error"] for run in runs if "error" in run]}


def middle(values):
    """Median, and half of the range in terms of it: of one value there is no spread."""
    if not values:
        return None
    median = statistics.median(values)
    spread = (max(values) - min(values)) / median / 2 if median and len(values) > 1 else None
    return {"median": median, "spread": spread}


def ratios(row, rows):
    direct, pgbouncer = base(row, rows, "direct"), base(row, rows, "pgbouncer")
    return {"tps_vs_direct": ratio(row, direct, "tps"), "tps_vs_pgbouncer": ratio(row, pgbouncer, "tps"),
            "cpu_vs_pgbouncer": ratio(row, pgbouncer, "proxy_cpu_us"),
            "pgbouncer_mode": pgbouncer and pgbouncer["mode"]}


def base(row, rows, name):
    """What a row is compared with: the same case; for a case that PgBouncer can't run the plainest mode that it ran."""
    same = [other for other in rows if other["through"] == name and other["tps"]
            and (other["workload"], other["clients"]) == (row["workload"], row["clients"])]
    return next((other for other in same if other["mode"] == row["mode"]), same[0] if same else None)


def ratio(row, other, name):
    if not other or not row[name] or not other[name]:
        return None
    return row[name]["median"] / other[name]["median"]


# === tables ===


def print_cases(rows):
    print(f"\n{'workload':8} {'mode':8} {'clients':>7}  {'through':9} {'TPS':>13} {'p50 ms':>14} {'p99 ms':>14} "
          f"{'CPU us/tx':>12} | {'TPS x direct':>12} {'x pgbouncer':>11} | {'CPU x pgbouncer':>15}")
    for row in rows:
        star = "*" if row["pgbouncer_mode"] not in (None, row["mode"]) else ""
        cells = [shown(row["tps"], 0), shown(row["p50_ms"], 3), shown(row["p99_ms"], 3), shown(row["proxy_cpu_us"], 1)]
        print("{workload:8} {mode:8} {clients:7}  {through:9} ".format(**row)
              + "{:>13} {:>14} {:>14} {:>12} | ".format(*cells)
              + f"{times(row['tps_vs_direct']):>12} {times(row['tps_vs_pgbouncer'], star):>11} | "
              + f"{times(row['cpu_vs_pgbouncer'], star):>15}" + faults(row))
    if any(row["mode"] == "prepared" for row in rows):
        print("* PgBouncer 1.18 can't do this in transaction mode: compared with it in the plainest mode that it ran")


def shown(figure, digits):
    if figure is None:
        return "-"
    spread = "" if figure["spread"] is None else f" ±{figure['spread'] * 100:.0f}%"
    return f"{figure['median']:.{digits}f}{spread}"


def times(value, star=""):
    return "-" if value is None else f"{value:.2f}{star}"


def faults(row):
    failed = f"  {row['failed']:.0f} FAILED" if row["failed"] else ""
    return failed + (f"  ERROR: {row['errors'][0]}" if row["errors"] else "")


def print_memory(memory, count):
    if memory:
        print(f"\nKiB per idle client, of {count}")
    for name, figure in memory.items():
        print(f"  {name:10} {shown(figure, 2)}")


def print_syscalls(counts):
    """A line for each call, busiest first; a column for each proxy and number of clients."""
    columns = {(name, clients): calls for name, by_clients in counts.items() for clients, calls in by_clients.items()}
    if not columns:
        return
    print("\nsystem calls per transaction, pgbench -S under strace")
    print(f"{'':16}" + "".join(f"{f'{name}, {clients}':>16}" for name, clients in columns))
    totals = {}
    for calls in columns.values():
        for call, number in calls.items():
            totals[call] = totals.get(call, 0) + number
    for call in sorted(totals, key=totals.get, reverse=True):
        if totals[call] >= 0.01 * len(columns):
            print(f"{call:16}" + "".join(f"{calls.get(call, 0):16.2f}" for calls in columns.values()))
    print(f"{'all':16}" + "".join(f"{sum(calls.values()):16.2f}" for calls in columns.values()))
