"""Interleaved rounds: whatever else the machine does hits all servers alike."""

import load
import proxies
import workloads
from cpu import Watch
from progress import Progress


def rounds(cases, running, postgres, options):
    """Runs all cases; a list of samples."""
    progress = Progress(options.rounds * sum(workloads.can_run(name, case) for case in cases for name in running))
    samples, broken = [], {}
    for turn in range(options.rounds):
        for case in cases:
            for name in [name for name in rotated(running, turn) if workloads.can_run(name, case)]:
                # What has failed once is not tried again: it may have taken long.
                found = broken.get((case, name)) or sample(name, running[name], case, postgres, options.seconds)
                if "error" in found:
                    broken[case, name] = found
                samples.append({"workload": case.workload.name, "mode": case.mode, "clients": case.clients,
                                "through": name, "round": turn, **found})
                progress.step(f"{case.workload.name} {case.mode}, {case.clients} clients, {name}: "
                              + (found["error"] if "error" in found else f"{found['tps']:.0f} TPS"))
    return samples


def rotated(running, turn):
    """Each round begins with another one, so that nobody always follows the same neighbour."""
    names = list(running)
    return names[turn % len(names):] + names[:turn % len(names)]


def sample(name, server, case, postgres, seconds):
    tidy(case, postgres)
    try:
        if not proxies.is_proxy(name):
            return {**load.run(server, case, seconds), "proxy_cpu_us": None}
        with Watch(server) as watch:
            found = load.run(server, case, seconds)
    except load.Failed as error:
        return {"error": str(error)}
    spent = watch.between(found["began"], found["ended"])
    return {**found, "proxy_cpu_us": spent * 1e6 / found["transactions"]}


def tidy(case, postgres):
    """What pgbench does before TPC-B, but not through a proxy."""
    if case.workload.name == "tpcb":
        postgres.psql("vacuum pgbench_branches, pgbench_tellers")
        postgres.psql("truncate pgbench_history")
