"""The servers by the names that --only knows: all with the same pool."""

import contextlib
import resource

import servers

POOL_SIZE = 20
# More than any case or the memory figure asks for.
CLIENTS_MAX = 3000
THROUGH = ["direct", "pgbouncer", "pgsteward"]
# Room for 500 direct clients; no checkpoint and no vacuum in the middle of a run.
SETTINGS = ["max_connections=600", "shared_buffers=256MB", "synchronous_commit=off", "full_page_writes=off",
            "autovacuum=off", "checkpoint_timeout=1h", "max_wal_size=4GB"]


def start(name, postgres):
    """The context manager of a server."""
    classes = {"pgbouncer": servers.PgBouncer, "pgsteward": servers.Pgsteward}
    if name == "direct":
        return contextlib.nullcontext(postgres)
    return classes[name](postgres, size=POOL_SIZE, clients=CLIENTS_MAX)


def is_proxy(name):
    return name != "direct"


def raise_open_files():
    """Ours and, inherited, those of the proxies."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
