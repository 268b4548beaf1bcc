"""What the Python scripts share: numbered steps, values and errors printed the same way each time."""

import hashlib
import os
import pathlib
import socket
import threading
from contextlib import contextmanager

TYPES = (pathlib.Path(__file__).parent / "types.sql").read_text()
BIG = 5_000_000

_number = 0


def step(title):
    """Begins a step."""
    global _number
    _number += 1
    print(f"[{_number}] {title}", flush=True)


def show(*values):
    """Prints results, one line; digests stand for what is long."""
    print(" ", *(shown(value) for value in values))


def shown(value):
    if isinstance(value, memoryview):
        value = bytes(value)
    return digest(value) if isinstance(value, (str, bytes)) and len(value) > 300 else repr(value)


def show_rows(rows):
    """Prints rows below each other."""
    for row in rows:
        show(*row)


def digest(value):
    data = value.encode() if isinstance(value, str) else bytes(value)
    return f"{type(value).__name__} of {len(data)}: {hashlib.md5(data).hexdigest()}"


@contextmanager
def fails(*kinds):
    """Prints the error that the block must end with: its class and all that the server told."""
    try:
        yield
    except kinds as error:
        print("  fails:", type(error).__name__, *told(error))
    else:
        print("  does not fail")


def told(error):
    """Fields of a server's error, of psycopg's and asyncpg's shape."""
    diag = getattr(error, "diag", error)
    if not getattr(error, "sqlstate", None) and not getattr(error, "pgcode", None):
        return []
    names = ["severity", "sqlstate", "message_primary", "message_detail", "message_hint", "statement_position", "position",
             "message", "detail", "context", "schema_name", "table_name", "column_name", "constraint_name",
             "source_function", "server_source_function"]
    fields = {name: getattr(diag, name, None) for name in names}
    return [f"{name}={value!r}" for name, value in fields.items() if value is not None]


def hang_up(descriptor):
    """Closes a connection under its driver: the server sees the end of the stream and no Terminate."""
    with socket.socket(fileno=os.dup(descriptor)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


@contextmanager
def meanwhile(action, first_s=0.3, again_s=2.0):
    """Does something from a second thread while the block waits, and again if the block still waits after that."""
    done = threading.Event()

    def work():
        wait = first_s
        while not done.wait(wait):
            action()
            wait = again_s

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
