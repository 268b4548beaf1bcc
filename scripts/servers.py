"""Throw-away servers for scripts: PostgreSQL, PgBouncer and pgsteward on free loopback ports.

Each is a context manager; each server gets a signal from the kernel when the script ends, however it ends.
"""

import itertools
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "target"


def account():
    """The user that servers run as when we are root: (name, uid, gid), else None."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
            return name, entry.pw_uid, entry.pw_gid
        except KeyError:
            pass
    raise SystemExit("root needs a user `postgres` or `nobody` to run servers as")


def leashed(command, kill="KILL", drop_root=True):
    """The command line that ends with us and does not run as root."""
    words = ["setpriv", "--pdeathsig", kill]
    if drop_root and account():
        _, uid, gid = account()
        words += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    return words + ["--"] + [str(word) for word in command]


def free_port(tried=itertools.count()):
    """A port from below the range that the kernel gives to outgoing connections, which could take it first."""
    while True:
        port = 20000 + (os.getpid() * 37 + next(tried)) % 12000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def owned_directory(path):
    """Makes a directory that the servers' account owns."""
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    if account():
        os.chown(path, account()[1], account()[2])
    return path


def scratch():
    """A new temporary directory that the servers' account owns; those of dead scripts are removed."""
    for left in pathlib.Path(tempfile.gettempdir()).glob("pgsteward-script-*"):
        if not pathlib.Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return owned_directory(tempfile.mkdtemp(prefix=f"pgsteward-script-{os.getpid()}-"))


def pg_bin():
    """The directory of the newest installed server, as tests/support/install.rs finds it."""
    if os.environ.get("PGSTEWARD_PG_BIN"):
        return pathlib.Path(os.environ["PGSTEWARD_PG_BIN"])
    found = sorted(
        (path.parent for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        key=lambda path: int(path.parent.name),
    )
    if found:
        return found[-1]
    if shutil.which("postgres"):
        return pathlib.Path(shutil.which("postgres")).parent
    raise SystemExit("no PostgreSQL server found: `make setup` installs it")


def wait_for(what, condition, seconds=30):
    """Polls until the condition holds; the only place that sleeps."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Server:
    """A process that listens on self.port."""

    name = "server"
    kill = signal.SIGKILL

    def __init__(self):
        self.port = free_port()
        self.directory = scratch()
        self.log_path = self.directory / "log"
        self.process = None

    def start(self, command, **options):
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            leashed(command, signal.Signals(self.kill).name[3:], **options),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def is_up(self):
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended at once:\n{self.log()[-4000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self):
        wait_for(f"{self.name} listens", self.is_up)
        return self

    def __exit__(self, *_):
        self.process.send_signal(self.kill)
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    # What the machine spends on it; 0 once it has ended.

    def cpu_seconds(self):
        """CPU time of all threads, those that have ended included: utime + stime of /proc/PID/stat, which has
        10 ms steps, from the clock that it is made of (`clock_getcpuclockid(3)`: the PID's complement, and 2)."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


class Postgres(Server):
    """An empty cluster; superuser `postgres`, everybody trusted."""

    name = "PostgreSQL"
    kill = signal.SIGQUIT

    def __init__(self, settings=(), bin=None, locale="C"):
        super().__init__()
        self.bin = pathlib.Path(bin or pg_bin())
        data = self.directory / "data"
        made = subprocess.run(
            leashed([self.bin / "initdb", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8",
                     f"--locale={locale}", "-D", data]),
            capture_output=True, text=True, cwd="/")
        if made.returncode:
            raise SystemExit(f"initdb failed:\n{made.stdout}{made.stderr}")
        options = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.directory}",
                   "fsync=off", *settings]
        words = [word for option in options for word in ("-c", option)]
        self.start([self.bin / "postgres", "-D", data, "-p", self.port, *words])

    def is_up(self):
        if not super().is_up():
            return False
        return self.psql("select 1", check=False) == "1"

    def psql(self, sql, database="postgres", check=True):
        done = subprocess.run(
            [self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
             str(self.port), "-U", "postgres", "-d", database, "-c", sql],
            capture_output=True, text=True)
        if check and done.returncode:
            raise SystemExit(f"psql: {done.stderr}")
        return done.stdout.strip()


class PgBouncer(Server):
    """Debian's PgBouncer in front of a Postgres: any user, no password."""

    name = "PgBouncer"

    def __init__(self, postgres, mode="transaction", size=20, clients=2000, settings=(), connect_query=""):
        super().__init__()
        program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
        if not program:
            raise SystemExit("no pgbouncer: `make setup` installs it")
        users = self.directory / "users.txt"
        users.write_text('"postgres" ""\n')
        extra = f" connect_query='{connect_query}'" if connect_query else ""
        config = self.directory / "pgbouncer.ini"
        config.write_text("\n".join([
            "[databases]",
            f"* = host=127.0.0.1 port={postgres.port} auth_user=postgres{extra}",
            "[pgbouncer]",
            f"listen_addr=127.0.0.1\nlisten_port={self.port}\nunix_socket_dir=",
            f"auth_type=trust\nauth_file={users}\npool_mode={mode}\ndefault_pool_size={size}",
            f"max_client_conn={clients}\nmax_db_connections=0\nlog_connections=0\nlog_disconnections=0",
            "ignore_startup_parameters=extra_float_digits,options", *settings, ""]))
        for path in (users, config):
            path.chmod(0o644)
        self.start([program, config])


class Pgsteward(Server):
    """Our proxy in front of a Postgres: any user, no password."""

    name = "pgsteward"

    def __init__(self, postgres, mode="transaction", size=20, clients=2000, settings=(), binary=None):
        super().__init__()
        binary = pathlib.Path(binary or TARGET / "release/pgsteward")
        if not binary.exists():
            raise SystemExit(f"no {binary}: `cargo build --release` makes it")
        chosen = [f"pool.mode={mode}", f"pool.size={size}", f"limits.clients={clients}", *settings]
        words = [word for setting in chosen for word in ("--set", setting)]
        self.start([binary, "serve", "--listen", f"127.0.0.1:{self.port}",
                    "--admin-listen", "127.0.0.1:0", "--set", "log.connections=false",
                    "--upstream", f"postgres://127.0.0.1:{postgres.port}", *words], drop_root=False)
