#!/usr/bin/env python3
"""PostgreSQL's regression suite, direct and through a proxy; says which tests end differently.

What counts is not pg_regress's verdict (the sources may be of another minor version than the server) but
whether a test's output through the proxy is what the same server gives without one.
"""

import argparse
import difflib
import pathlib
import re
import shutil
import subprocess
import sys
import time

import source
import servers

SETTINGS = ["max_prepared_transactions=2", "max_connections=300", "log_line_prefix=%m [%p] %q%a "]


def known_tests(file):
    """Names of tests that are expected to differ; lines with # give the reasons."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def main():
    options = arguments()
    tree = source.sources()
    modules = source.build_modules(tree)
    output = servers.TARGET / "regress"
    direct_results = output / "direct"
    direct = None
    if not options.reuse_direct or not (direct_results / "verdicts").exists():
        direct = suite("direct", tree, modules, direct_results, options, None)
    else:
        direct = read_verdicts(direct_results)
    if options.through == "direct":
        return
    name = f"{options.through}-{options.mode}"
    found = suite(name, tree, modules, output / name, options, options.through)
    sys.exit(report(name, direct, found, direct_results, output / name, options))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["session", "transaction"], default="session")
    parser.add_argument("--through", choices=["pgsteward", "pgbouncer", "direct"], default="pgsteward")
    parser.add_argument("--reuse-direct", action="store_true", help="compare with the last direct run")
    parser.add_argument("--minutes", type=float, default=15, help="give up on a run after this long")
    parser.add_argument("tests", nargs="*", help="these tests only, one after the other (test_setup comes first)")
    return parser.parse_args()


def suite(name, tree, modules, output, options, through):
    """Runs the suite once against a fresh cluster; gives {test: "ok" | "FAILED"}."""
    shutil.rmtree(output, ignore_errors=True)
    servers.owned_directory(output)
    began = time.monotonic()
    with servers.Postgres(SETTINGS, bin=source.programs()) as postgres:
        if through is None:
            ended = regress(postgres.port, tree, modules, output, options)
        else:
            with source.proxy(through, postgres, options.mode) as proxy:
                ended = regress(proxy.port, tree, modules, output, options)
                (output / "proxy.log").write_text(proxy.log())
        (output / "server.log").write_text(postgres.log())
    verdicts = read_verdicts(output)
    failed = [test for test, verdict in verdicts.items() if verdict != "ok"]
    print(f"{name}: {len(verdicts)} tests in {time.monotonic() - began:.0f} s{ended}, pg_regress "
          f"finds {len(failed)} not as expected: {' '.join(failed) or '-'}", flush=True)
    if not verdicts:
        raise SystemExit((output / "verdicts").read_text())
    return verdicts


def regress(port, tree, modules, output, options):
    program = pathlib.Path(source.pg_config("--pkglibdir")) / "pgxs/src/test/regress/pg_regress"
    tests = ["test_setup", *options.tests] if options.tests else [
        f"--schedule={tree / 'src/test/regress/parallel_schedule'}"]
    command = servers.leashed([
        program, f"--bindir={source.programs()}", f"--dlpath={modules}", "--host=127.0.0.1", f"--port={port}",
        "--user=postgres", f"--inputdir={tree / 'src/test/regress'}", f"--outputdir={output}",
        "--max-concurrent-tests=20", *tests])
    with open(output / "verdicts", "w") as verdicts:
        process = subprocess.Popen(command, cwd=output, stdout=verdicts, stderr=verdicts)
        try:
            process.wait(options.minutes * 60)
            return ""
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return " (STOPPED: out of time)"


def read_verdicts(output):
    """pg_regress prints `test name ... ok 12 ms`, or `     name ... FAILED 12 ms` in a parallel group."""
    lines = (output / "verdicts").read_text().splitlines()
    found = (re.match(r"(?:test)?\s+(\w+)\s+\.\.\.\s+(ok|FAILED|failed)", line) for line in lines)
    return {match[1]: "ok" if match[2] == "ok" else "FAILED" for match in found if match}


def report(name, direct, found, direct_output, output, options):
    """Prints the tests that differ from direct's and writes how; the exit code."""
    differing = [test for test in direct if differs(test, direct, found, direct_output, output)]
    known_file = pathlib.Path(__file__).with_name(f"known-{options.mode}.txt")
    known = known_tests(known_file) if options.through == "pgsteward" else []
    with open(output / "differences.diff", "w") as diffs:
        for test in differing:
            diffs.writelines(difflib.unified_diff(
                lines_of(direct_output, test), lines_of(output, test), f"direct/{test}", f"{name}/{test}"))
    for test in differing:
        note = " (known)" if test in known else ""
        print(f"  differs from direct: {test}{note}{'' if test in found else ' (did not run)'}")
    new = [test for test in differing if test not in known]
    print(f"{name}: {len(direct) - len(differing)} of {len(direct)} tests as direct, {len(differing)} differ, "
          f"{len(new)} of them unexpected" + (f"; see {output / 'differences.diff'}" if differing else ""))
    return 1 if new else 0


def differs(test, direct, found, direct_output, output):
    """Both as expected (in one of PostgreSQL's accepted variants), or both the same words."""
    if found.get(test) == "ok" and direct[test] == "ok":
        return False
    return test not in found or lines_of(direct_output, test) != lines_of(output, test)


def lines_of(output, test):
    path = output / "results" / f"{test}.out"
    return path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []


if __name__ == "__main__":
    main()
