#!/usr/bin/env python3
"""asyncpg's own test suite, from its source distribution, direct and through the proxy; says which tests end differently.

Needs the network once, for the sources and pytest: not a part of `make test`.
"""

import argparse
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import time
import urllib.parse
import urllib.request
import venv
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import servers

VERSION = "0.32.0"
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
PYTEST = ["pytest==8.4.2", "pytest-timeout==2.4.0", "distro==1.9.0"]
WORK = servers.TARGET / "asyncpg"
SETTINGS = ["max_connections=200", "max_prepared_transactions=10"]
KNOWN = pathlib.Path(__file__).with_name("known.txt")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["session", "transaction"], default="transaction")
    options = parser.parse_args()
    install()
    direct = suite("direct")
    found = suite(f"pgsteward, {options.mode} mode", options.mode)
    known = [line.split()[0] for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")]
    differing = [test for test in direct if found.get(test) != direct[test]]
    for test in differing:
        note = " (known)" if test in known else ""
        print(f"  {test}: {direct[test]} direct, {found.get(test, 'did not run')} through the proxy{note}")
    new = [test for test in differing if test not in known]
    print(f"{len(direct) - len(differing)} of {len(direct)} tests as direct, {len(differing)} differ, "
          f"{len(new)} of them unexpected")
    sys.exit(bool(new))


def install():
    """The tests of the source distribution, and an environment with the wheel of the same version."""
    if not (WORK / "suite/tests").exists():
        page = urllib.request.urlopen(f"{INDEX}/asyncpg/", timeout=60).read().decode()
        url, digest = re.search(rf'href="([^"#]*/asyncpg-{VERSION}\.tar\.gz)#sha256=(\w+)"', page).groups()
        url = urllib.parse.urljoin(f"{INDEX}/asyncpg/", url)
        archive = urllib.request.urlopen(url, timeout=60).read()
        if hashlib.sha256(archive).hexdigest() != digest:
            raise SystemExit(f"{url} is not what the index says")
        WORK.mkdir(parents=True, exist_ok=True)
        (WORK / "source.tar.gz").write_bytes(archive)
        with tarfile.open(WORK / "source.tar.gz") as tar:
            prefix = f"asyncpg-{VERSION}/"
            for member in tar.getmembers():
                if member.name.startswith(prefix + "tests/"):
                    member.name = member.name.removeprefix(prefix)
                    tar.extract(member, WORK / "suite", filter="data")
    if not (WORK / "venv/done").exists():
        venv.create(WORK / "venv", with_pip=True, clear=True)
        subprocess.run([WORK / "venv/bin/pip", "install", "-q", f"asyncpg=={VERSION}", *PYTEST], check=True)
        (WORK / "venv/done").touch()


def suite(name, mode=None):
    """Runs the suite once against a fresh cluster; gives {test: "passed" | "failed" | "skipped"}."""
    began = time.monotonic()
    with servers.Postgres(SETTINGS) as postgres:
        if mode is None:
            found = run(postgres.port)
        else:
            with servers.Pgsteward(postgres, mode=mode) as proxy:
                found = run(proxy.port)
    counts = ", ".join(f"{list(found.values()).count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
    print(f"{name}: {len(found)} tests in {time.monotonic() - began:.0f} s: {counts}", flush=True)
    return found


def run(port):
    report = servers.owned_directory(WORK / "report") / "report.xml"
    report.unlink(missing_ok=True)
    environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres",
                   "PGDATABASE": "postgres", "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(report.parent)}
    # As another user than root: some tests start a server of their own.
    command = servers.leashed([WORK / "venv/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=",
                               "--timeout=120", f"--junitxml={report}", "tests"])
    with open(WORK / "log", "w") as log:
        subprocess.run(command, cwd=WORK / "suite", env=environment, stdout=log, stderr=log)
    if not report.exists():
        raise SystemExit((WORK / "log").read_text()[-4000:])
    found = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        test = f"{case.get('classname').removeprefix('tests.')}.{case.get('name')}"
        kinds = {child.tag for child in case}
        ending = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        # One with subtests is listed several times.
        found[test] = "failed" if "failed" in (ending, found.get(test)) else ending
    return found


if __name__ == "__main__":
    main()
