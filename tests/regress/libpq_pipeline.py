#!/usr/bin/env python3
"""libpq's own pipeline tests, direct and through a proxy: same exit codes, same messages on the wire from each side."""

import argparse
import difflib
import subprocess
import sys
import tempfile

import source
import servers


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["session", "transaction"], default="session")
    parser.add_argument("--through", choices=["pgsteward", "pgbouncer", "direct"], default="pgsteward")
    options = parser.parse_args()
    program = source.build_pipeline(source.sources())
    # A cluster for each run: the tests leave tables behind, and a notice tells whether they were there.
    with servers.Postgres(bin=source.programs()) as postgres:
        direct = found = run_all(program, postgres.port)
    if options.through != "direct":
        with servers.Postgres(bin=source.programs()) as postgres:
            with source.proxy(options.through, postgres, options.mode) as proxy:
                found = run_all(program, proxy.port)
    faults = 0
    for test, (code, trace, said) in found.items():
        same = (code, trace) == direct[test][:2]
        faults += not (same and code == 0)
        verdict = "ok" if code == 0 else f"FAILED ({code})"
        print(f"{test:25} {verdict}{'' if same else ', differs from direct'}")
        if code:
            print(said)
        sys.stdout.writelines(difflib.unified_diff(direct[test][1], trace, "direct", options.through, n=0))
    print(f"libpq_pipeline: {len(found) - faults} passed, {faults} failed")
    sys.exit(1 if faults else 0)


def run_all(program, port):
    """{test: (exit code, messages, output)}; the trace of inserts depends on timing and is not compared."""
    tests = subprocess.run([program, "tests"], capture_output=True, text=True, check=True).stdout.split()
    return {test: run_one(program, test, port) for test in tests}


def run_one(program, test, port):
    with tempfile.NamedTemporaryFile("r") as trace:
        words = [] if test in ("pipelined_insert", "uniqviol") else ["-t", trace.name]
        conninfo = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
        try:
            done = subprocess.run([program, "-r", "700", *words, test, conninfo],
                                  capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired as late:
            return "timeout", by_side(trace), str(late.output)
        return done.returncode, by_side(trace), done.stdout + done.stderr


def by_side(trace):
    """First all that the client sent, then all that it got: how the two interleave is a matter of timing."""
    return sorted(trace, key=lambda line: line.startswith("B"))


if __name__ == "__main__":
    main()
