"""As little of a PostgreSQL client as the clients that pgbench can't be need."""

import socket
import struct

# ReadyForQuery outside of a transaction. Nothing that we ask for has these bytes at the end of a chunk by chance.
READY = b"Z\0\0\0\5I"


def log_in(port):
    body = struct.pack("!I", 3 << 16) + b"user\0postgres\0database\0postgres\0\0"
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(struct.pack("!I", len(body) + 4) + body)
    until_ready(client)
    return client


def ask(client, sql):
    """Runs a statement; its answer is read and forgotten."""
    text = sql.encode() + b"\0"
    client.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)
    until_ready(client)


def until_ready(client):
    tail = b""
    while tail != READY:
        chunk = client.recv(1 << 18)
        if not chunk:
            raise SystemExit(f"the server closed the connection: {tail!r}")
        if not tail and chunk.startswith(b"E"):
            raise SystemExit(f"refused: {chunk[:300]!r}")
        tail = (tail + chunk[-len(READY):])[-len(READY):]
