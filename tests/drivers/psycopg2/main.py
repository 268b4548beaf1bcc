"""psycopg2: simple protocol throughout, client-side and named cursors, copy_expert, autocommit, notices, cancel."""

import json
import threading

import psycopg2
import psycopg2.extensions as ext
import psycopg2.extras

from steps import BIG, TYPES, fails, hang_up, meanwhile, show, show_rows, step


def connect(**settings):
    return psycopg2.connect("", **settings)


def one(conn, query, parameters=None):
    with conn.cursor() as cur:
        cur.execute(query, parameters)
        return cur.fetchone() if cur.description else cur.statusmessage


def queries(conn):
    step("parameters, many types")
    show(*one(conn, "select %s + 1, %s, %s, %s::float8, %s", (41, "Grüße 🐘 'q' \\", psycopg2.Binary(b"\0\xff"), 0.1, None)))
    with conn.cursor() as cur:
        cur.execute(TYPES)
        for column, value in zip(cur.description, cur.fetchone()):
            show(column.name, column.type_code, column.internal_size, bytes(value) if isinstance(value, memoryview) else value)
    step("lists, json, dict rows")
    show(*one(conn, "select %s, %s, %s::jsonb", ([1, None, 3], ["a", "ü,{}"], json.dumps({"k": 1}))))
    with conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cur:
        cur.execute("select 1 as a, 'x' as b")
        show(dict(cur.fetchone()))
    step("several statements: the last result counts")
    show(one(conn, "select 1; select 2; select 3"))
    show(one(conn, "create temp table t0 (n int) on commit drop; insert into t0 values (1), (2)"))
    conn.commit()
    step("an empty query fails on the client")
    with fails(psycopg2.Error):
        one(conn, "")
    show(one(conn, "-- a comment; nothing\nselect 'after it'"))
    conn.commit()


def changes(conn):
    step("tables, row counts, returning")
    one(conn, "create table item (id int primary key, name text not null unique, data jsonb)")
    with conn.cursor() as cur:
        for statement in ("insert into item select n, 'item ' || n from generate_series(1, 100) n", "update item set data = '{}' where id <= 10",
                          "delete from item where id > 90", "select * from item where id > 1000"):
            cur.execute(statement)
            show(cur.rowcount, cur.statusmessage)
        cur.execute("insert into item values (200, 'r') returning id, name")
        show(cur.fetchone())
    conn.commit()
    step("executemany, execute_batch, execute_values")
    with conn.cursor() as cur:
        cur.executemany("insert into item values (%s, %s)", [(n, f"many {n}") for n in range(1000, 1100)])
        psycopg2.extras.execute_batch(cur, "insert into item values (%s, %s)", [(n, f"batch {n}") for n in range(1100, 1400)])
        show(psycopg2.extras.execute_values(cur, "insert into item values %s returning id", [(n, f"values {n}") for n in range(1400, 1405)], fetch=True))
        with fails(psycopg2.Error):
            cur.executemany("insert into item values (%s, 'x')", [(2000,), (1000,), (2001,)])
    conn.rollback()
    show(one(conn, "select count(*) from item"))
    conn.rollback()


def errors(conn):
    step("errors in autocommit")
    conn.autocommit = True
    for statement in ("select 1/0", "selec 1", "select * from nowhere", "insert into item values (1, 'x')", "insert into item (id) values (5)", "select 'x'::int"):
        with fails(psycopg2.Error):
            one(conn, statement)
    show(one(conn, "select 'goes on'"), conn.get_transaction_status())
    step("an error in the middle of several statements rolls all back")
    with fails(psycopg2.Error):
        one(conn, "insert into item values (3000, 'a'); select 1/0; insert into item values (3001, 'b')")
    show(one(conn, "select count(*) from item where id >= 3000"))
    step("errors in a transaction, aborted until rollback")
    conn.autocommit = False
    with fails(psycopg2.Error):
        one(conn, "insert into item values (1, 'x')")
    show(conn.get_transaction_status() == ext.TRANSACTION_STATUS_INERROR)
    with fails(psycopg2.Error):
        one(conn, "select 1")
    conn.rollback()
    show(one(conn, "select 1"))
    conn.rollback()
    step("COMMIT of an aborted transaction rolls back")
    with fails(psycopg2.Error):
        one(conn, "select 1/0")
    conn.commit()
    show(conn.get_transaction_status())
    step("notices")
    one(conn, "do $$ begin raise notice 'hello %', 'ü'; raise warning 'careful'; end $$")
    one(conn, "drop table if exists nowhere")
    show(*conn.notices)
    conn.rollback()


def transactions(conn):
    step("with blocks, savepoints")
    with conn:
        one(conn, "insert into item values (4000, 'kept')")
        one(conn, "savepoint a")
        with fails(psycopg2.Error):
            one(conn, "insert into item values (4000, 'clash')")
        one(conn, "rollback to savepoint a")
        one(conn, "release savepoint a")
    with fails(psycopg2.Error), conn:
        one(conn, "insert into item values (4001, 'lost')")
        one(conn, "select 1/0")
    show(one(conn, "select array_agg(id) from item where id >= 4000"))
    conn.rollback()
    step("isolation levels through set_session and set_isolation_level")
    for level in (ext.ISOLATION_LEVEL_READ_COMMITTED, ext.ISOLATION_LEVEL_REPEATABLE_READ, ext.ISOLATION_LEVEL_SERIALIZABLE):
        conn.set_isolation_level(level)
        show(one(conn, "show transaction_isolation"))
        conn.rollback()
    conn.set_session(isolation_level="DEFAULT", readonly=True)
    with fails(psycopg2.Error):
        one(conn, "delete from item")
    conn.rollback()
    conn.set_session(isolation_level="DEFAULT", readonly=False, deferrable=False)
    step("two-phase commit")
    conn.tpc_begin(conn.xid(1, conn.info.dbname, "psycopg2"))
    one(conn, "insert into item values (4100, 'two phases')")
    conn.tpc_prepare()
    conn.tpc_commit()
    show(one(conn, "select name from item where id = 4100"))
    conn.rollback()
    conn.set_session(isolation_level=None, readonly=None, deferrable=None)


def two_connections(conn):
    step("two connections: uncommitted is unseen, committed is seen")
    other = connect()
    other.autocommit = True
    one(conn, "insert into item values (5000, 'mine')")
    show(one(other, "select count(*) from item where id = 5000"))
    conn.commit()
    show(one(other, "select count(*) from item where id = 5000"))
    step("serializable: 40001 by write skew")
    other.autocommit = False
    for connection in (conn, other):
        one(connection, "begin isolation level serializable" if connection.autocommit else "set transaction isolation level serializable")
        one(connection, "select sum(id) from item")
    one(conn, "insert into item values (5001, 'a')")
    one(other, "insert into item values (5002, 'b')")
    conn.commit()
    with fails(psycopg2.Error):
        other.commit()
    other.close()


def big(conn):
    step("50000 rows; 5 MB there and back")
    with conn.cursor() as cur:
        cur.execute("select n, 'row ' || n, n * 0.5 from generate_series(1, 50000) n")
        rows = cur.fetchall()
    show(len(rows), rows[0], rows[-1], sum(row[0] for row in rows))
    text = "0123456789äöüßé" * (BIG // 20)
    show(one(conn, "select %s", (text,))[0] == text, len(text.encode()))
    show(one(conn, "select repeat('x', 5000000)")[0])
    conn.rollback()


def cursors(conn):
    step("named cursors: fetch, iterate, scroll")
    with conn.cursor("named") as cur:
        cur.itersize = 7
        cur.execute("select n from generate_series(1, 50) n where n > %s", (10,))
        show(cur.fetchone(), cur.fetchmany(3), sum(row[0] for row in cur))
    with conn.cursor("scrolling", scrollable=True) as cur:
        cur.execute("select n from generate_series(1, 50) n")
        cur.scroll(10)
        show(cur.fetchone())
        cur.scroll(2, mode="absolute")
        show(cur.fetchmany(2))
    conn.rollback()
    step("a named cursor WITH HOLD outlives its transaction")
    cur = conn.cursor("holding", withhold=True)
    cur.execute("select n from generate_series(1, 20) n")
    conn.commit()
    show(cur.fetchmany(2))
    conn.commit()
    show(cur.fetchmany(2))
    cur.close()
    conn.commit()
    step("a named cursor in autocommit needs a transaction")
    conn.autocommit = True
    with fails(psycopg2.Error):
        conn.cursor("lonely").execute("select 1")
    conn.autocommit = False


class Source:
    """A file of rows that may fail half-way."""

    def __init__(self, rows, fails_at=None):
        self.rows, self.fails_at, self.given = iter(rows), fails_at, 0

    def read(self, _size=-1):
        self.given += 1
        if self.given == self.fails_at:
            raise ValueError("changed my mind")
        return next(self.rows, "")


class Sink:
    """A file that counts, and may refuse half-way."""

    def __init__(self, limit=None):
        self.data, self.limit = [], limit

    def write(self, block):
        self.data.append(block)
        if self.limit and len(self.data) > self.limit:
            raise ValueError("enough")


def copies(conn):
    step("copy_expert in and out, copy_from, copy_to")
    with conn.cursor() as cur:
        cur.copy_expert("copy item (id, name) from stdin", Source(f"{n}\tcöpy {n}\n" for n in range(10000, 30000)))
        show(cur.rowcount, cur.statusmessage)
        cur.copy_from(Source(["40000\tfrom a file\n40001\tand another\n"]), "item", columns=("id", "name"))
        for form in ("text", "csv"):
            sink = Sink()
            cur.copy_expert(f"copy (select id, name from item order by id) to stdout (format {form})", sink)
            show(cur.rowcount, b"".join(sink.data))
        sink = Sink()
        cur.copy_to(sink, "item", columns=("id",))
        show(len(b"".join(sink.data)))
    conn.commit()
    step("COPY in fails half-way: bad data, the client's own error, a constraint")
    with conn.cursor() as cur:
        for source in (Source(["1\tx\n", "bad\tx\n"]), Source((f"{n}\tx {n}\n" for n in range(50000, 50100)), 50), Source(f"{n if n < 65000 else 1}\ty {n}\n" for n in range(60000, 70000))):
            with fails(psycopg2.Error, ValueError):
                cur.copy_expert("copy item (id, name) from stdin", source)
            conn.rollback()
        show(one(conn, "select count(*) from item"))
    step("COPY out refused half-way, COPY out that fails half-way")
    with conn.cursor() as cur:
        with fails(psycopg2.Error, ValueError):
            cur.copy_expert("copy (select repeat('x', 1000) from generate_series(1, 20000)) to stdout", Sink(10))
        conn.rollback()
        with fails(psycopg2.Error):
            cur.copy_expert("copy (select 10 / (500 - n) from generate_series(1, 1000) n) to stdout", Sink())
    conn.rollback()
    show(one(conn, "select 'still in step'"))
    conn.rollback()
    step("COPY among several statements")
    with conn.cursor() as cur, fails(psycopg2.Error):
        cur.execute("copy item from stdin")
    conn.rollback()


def cancels(conn):
    step("cancel from a second thread")
    with fails(psycopg2.Error), meanwhile(conn.cancel):
        one(conn, "select pg_sleep(30)")
    conn.rollback()
    show(one(conn, "select 'goes on'"))
    conn.rollback()
    step("two threads on one connection take turns")
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(one(conn, "select %s", (n,))[0])) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    show(sorted(results))
    conn.rollback()


def session(conn):
    step("SET lasts, RESET, client_encoding")
    conn.autocommit = True
    one(conn, "set time zone 'Asia/Tokyo'")
    one(conn, "set work_mem = '7MB'")
    show(conn.get_parameter_status("TimeZone"), *one(conn, "select '2024-02-29 12:00Z'::timestamptz, current_setting('work_mem')"))
    conn.set_client_encoding("LATIN1")
    show(conn.encoding, one(conn, "select 'Grüße'"))
    conn.reset()
    show(conn.get_parameter_status("TimeZone"), conn.encoding, one(conn, "show work_mem"))
    conn.rollback()
    conn.autocommit = True
    step("temporary tables, PREPARE, advisory locks")
    one(conn, "create temp table mine as select generate_series(1, 5) n")
    show(one(conn, "select sum(n) from mine"))
    one(conn, "prepare two (int) as select $1 * 2")
    show(one(conn, "execute two(21)"))
    one(conn, "deallocate all")
    with fails(psycopg2.Error):
        one(conn, "execute two(21)")
    one(conn, "select pg_advisory_lock(4711)")
    show(one(conn, "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711"))
    step("LISTEN and NOTIFY")
    one(conn, "listen news")
    for payload in ("one", "two ü"):
        one(conn, "select pg_notify('news', %s)", (payload,))
    conn.poll()
    show_rows((notice.channel, notice.payload) for notice in conn.notifies)


def connections():
    step("large objects")
    conn = connect()
    lob = conn.lobject(0, "wb")
    oid = lob.oid
    lob.write(b"x" * 300_000)
    lob.close()
    conn.commit()
    lob = conn.lobject(oid, "rb")
    lob.seek(299_990)
    show(lob.tell(), lob.read())
    lob.unlink()
    conn.commit()
    step("startup settings")
    with connect(options="-c work_mem=5MB", application_name="two") as conn:
        show(*one(conn, "select current_setting('work_mem'), current_setting('application_name')"))
    conn.close()
    step("20 connections after each other")
    for number in range(20):
        conn = connect()
        assert one(conn, "select %s", (number,)) == (number,)
        conn.close()
    show("done")
    step("closed without Terminate in a transaction: rolled back")
    conn = connect()
    one(conn, "insert into item values (9000, 'gone')")
    one(conn, "select pg_advisory_xact_lock(12)")
    hang_up(conn.fileno())
    with fails(psycopg2.Error):
        one(conn, "select 1")
    conn.close()
    conn = connect()
    one(conn, "select pg_advisory_lock(12)")
    show(one(conn, "select count(*) from item where id = 9000"))
    conn.close()


def main():
    conn = connect()
    for part in (queries, changes, errors, transactions, two_connections, big, cursors, copies, cancels):
        part(conn)
    conn.close()
    conn = connect()
    session(conn)
    conn.close()
    connections()


main()
