"""PostgreSQL's own tests: fetched from Debian's source package, built against the installed server."""

import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import servers

WORK = servers.TARGET / "regress-src"
WANTED = ["src/test/regress", "src/test/modules/libpq_pipeline"]
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def sources():
    """The unpacked source tree of the archive's nearest minor version; fetched once."""
    major = server_version().split(".")[0]
    found = sorted(WORK.glob(f"postgresql-{major}.*/src/test/regress"))
    if not found:
        fetch(*map(int, server_version().split(".")))
        return sources()
    return found[-1].parents[2]


def programs():
    """Server and psql of the very minor version of the sources if Debian has them, else the installed ones."""
    fetched = sorted(WORK.glob("programs/usr/lib/postgresql/*/bin/postgres"))
    return fetched[-1].parent if fetched else servers.pg_bin()


def fetch(major, minor):
    """Downloads sources and programs with a private apt configuration: the system's stays as it is."""
    lists = WORK / "apt"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    release = re.search(r"VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text())[1]
    listed = WORK / "sources.list"
    listed.write_text("".join(
        f"{kind} [signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} main\n"
        for kind in ("deb", "deb-src")
        for archive, suite in [("debian", release), ("debian-security", f"{release}-security"),
                               ("debian", f"{release}-updates")]))
    apt = ["-o", f"Dir::Etc::SourceList={listed}", "-o", "Dir::Etc::SourceParts=/dev/null",
           "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache::pkgcache={WORK}/pkgcache.bin",
           "-o", f"Dir::Cache::srcpkgcache={WORK}/srcpkgcache.bin", "-o", "APT::Sandbox::User=root"]
    print(f"fetching PostgreSQL {major}'s sources from Debian", flush=True)
    run(["apt-get", "-qq", *apt, "update"])
    known = run(["apt-cache", *apt, "showsrc", f"postgresql-{major}"])
    versions = set(re.findall(r"^Version: (\S+)", known, re.M))
    # The archive may list a minor version that it no longer (or not yet) holds: nearest first.
    for version in sorted(versions, key=lambda v: abs(int(re.match(r"\d+\.(\d+)", v)[1]) - minor)):
        if try_run(["apt-get", "-qq", *apt, "source", "--download-only", f"postgresql-{major}={version}"]):
            break
        print(f"  {version} cannot be fetched")
    else:
        raise SystemExit("Debian's archive holds no sources of this major version")
    packages = [f"{package}={version}" for package in (
        f"postgresql-{major}", f"postgresql-client-{major}", f"postgresql-server-dev-{major}")]
    if try_run(["apt-get", "-qq", *apt, "download", *packages]):
        for package in WORK.glob("*.deb"):
            run(["dpkg-deb", "-x", package, WORK / "programs"])
    members = [f"*/{path}/*" for path in WANTED]
    archive = next(WORK.glob("*.orig.tar.bz2"))
    run(["tar", "-xjf", archive, "-C", WORK, "--no-same-owner", "--wildcards", *members])
    for leftover in [*WORK.glob("*.deb"), *WORK.glob("*.tar.*"), *WORK.glob("*.dsc"), *WORK.glob("*.bin")]:
        leftover.unlink()


def build_modules(tree):
    """A directory with what the SQL tests load into the server: regress.so, refint.so, autoinc.so."""
    modules = WORK / "modules"
    if not (modules / "regress.so").exists():
        modules.mkdir(exist_ok=True)
        draft = modules / "regress.so.draft"
        fetched = sorted(WORK.glob("programs/usr/include/postgresql/*/server"))
        headers = fetched[-1] if fetched else pg_config("--includedir-server")
        run(["gcc", "-O2", "-w", "-shared", "-fPIC", f"-I{headers}",
             tree / "src/test/regress/regress.c", "-o", draft])
        for name in ("refint.so", "autoinc.so"):
            shutil.copy(programs().parent / "lib" / name, modules)
        draft.rename(modules / "regress.so")
    return modules


def build_pipeline(tree):
    """libpq's pipeline test program."""
    program = WORK / "libpq_pipeline"
    if not program.exists():
        run(["gcc", "-O2", "-w", f"-I{pg_config('--includedir-server')}", f"-I{pg_config('--includedir')}",
             tree / "src/test/modules/libpq_pipeline/libpq_pipeline.c", "-o", program,
             f"-L{pg_config('--pkglibdir')}", "-lpq", "-lpgcommon", "-lpgport"])
    return program


def server_version():
    printed = run([servers.pg_bin() / "postgres", "--version"])
    return re.search(r"\d+\.\d+", printed)[0]


def pg_config(what):
    return run([servers.pg_bin() / "pg_config", what]).strip()


def proxy(through, postgres, mode):
    """The proxy that the tests go through; many connections at once, each with its own settings."""
    if through == "pgbouncer":
        return servers.PgBouncer(postgres, mode=mode, size=40,
                                 connect_query="set intervalstyle to postgres_verbose")
    # Some tests ask for the last value of a sequence in another transaction than that which took it.
    settings = ["pool.keep_sequences=true"] if mode == "transaction" else []
    return servers.Pgsteward(postgres, mode=mode, size=40, settings=settings)


def try_run(command):
    return subprocess.run(command, cwd=WORK, capture_output=True).returncode == 0


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout
