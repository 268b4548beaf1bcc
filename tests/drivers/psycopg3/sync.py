"""psycopg 3, blocking API: parameters in text and binary, prepared statements, COPY, cursors, notices, cancel.

With `--prepare-threshold=0` each statement is prepared at its first execution.
"""

import sys
import uuid

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from steps import BIG, TYPES, fails, hang_up, meanwhile, show, show_rows, step

SETTINGS = {"prepare_threshold": 0} if "--prepare-threshold=0" in sys.argv else {}


def connect(**settings):
    return psycopg.connect(**{**SETTINGS, **settings})


def queries(conn):
    step("parameters in text and binary")
    for form in ("%s", "%b"):
        row = conn.execute(f"select {form}::int + 1, {form}::text, {form}::bytea, {form}::float8", (41, "Grüße 🐘", b"\0\xff", 0.1)).fetchone()
        show(*row)
    step("many types, text and binary results")
    for binary in (False, True):
        cur = conn.execute(TYPES, binary=binary)
        for column, value in zip(cur.description, cur.fetchone()):
            show(column.name, column.type_code, column.internal_size, column.precision, value)
    step("lists, json, uuid and None as parameters")
    show(*conn.execute("select %s::int[], %s::text[], %s, %s::uuid, %s::text", ([1, None, 3], ["a", "ü,{}"], Jsonb({"k": [1]}), uuid.UUID(int=7), None)).fetchone())
    step("named parameters, a client-side cursor, composed SQL")
    show(conn.execute("select %(a)s::text || %(b)s::text || %(a)s::text", {"a": "x", "b": "y"}).fetchone())
    with psycopg.ClientCursor(conn) as cur:
        show(cur.execute("select %s, %s", ("it's", [1, 2])).fetchone())
    show(conn.execute(sql.SQL("select 1 as {}").format(sql.Identifier('we"ird'))).description[0].name)
    step("the same statement ten times")
    show([conn.execute("select %s::int * 2", (n,), prepare=None).fetchone()[0] for n in range(10)])
    step("several statements without parameters")
    cur = conn.execute("select 1; select 2, 3; create temp table if not exists pg_temp.t0 (n int) on commit drop; select 4", prepare=False)
    while True:
        show(cur.statusmessage, cur.rowcount, cur.fetchall() if cur.description else None)
        if not cur.nextset():
            break
    conn.commit()
    step("an empty query, a lone comment")
    show(conn.execute("").statusmessage, conn.execute("-- nothing").statusmessage)
    conn.commit()


def changes(conn):
    step("tables, row counts, returning")
    conn.execute("create table item (id int primary key, name text not null unique, data jsonb, made timestamptz default '2024-01-01Z')")
    cur = conn.execute("insert into item (id, name) select n, 'item ' || n from generate_series(1, 100) n returning id")
    show(cur.rowcount, cur.statusmessage, len(cur.fetchall()))
    for statement in ("update item set name = name || '!' where id <= 10", "delete from item where id > 90", "select * from item where id > 1000"):
        cur = conn.execute(statement)
        show(cur.rowcount, cur.statusmessage)
    conn.commit()
    step("executemany, with and without returning")
    with conn.cursor() as cur:
        cur.executemany("insert into item (id, name) values (%s, %s)", [(n, f"more {n}") for n in range(1000, 1500)])
        show(cur.rowcount)
        cur.executemany("update item set data = %s where id = %s returning id", [(Jsonb({"n": n}), n) for n in range(1000, 1005)], returning=True)
        show([found.fetchone()[0] for found in cur.results()])
        with fails(psycopg.Error):
            cur.executemany("insert into item (id, name) values (%s, %s)", [(2000, "a"), (2001, "b"), (1000, "clash"), (2002, "c")])
    conn.rollback()
    show(conn.execute("select count(*) from item").fetchone())
    conn.rollback()


def errors(conn):
    step("errors outside a transaction")
    conn.autocommit = True
    for statement in ("select 1/0", "selec 1", "select * from nowhere", "insert into item values (1, 'x')", "insert into item (id) values (5)", "select 'x'::int"):
        with fails(psycopg.Error):
            conn.execute(statement)
    with fails(psycopg.Error):
        conn.execute("select %s::int / %s::int", (1, 0))
    with fails(psycopg.Error):
        conn.execute("select %s::date", ("not a date",))
    show(conn.execute("select 'goes on'").fetchone(), conn.info.transaction_status.name)
    step("errors inside a transaction, aborted until rollback")
    conn.autocommit = False
    conn.execute("insert into item values (1, 'x') on conflict do nothing")
    with fails(psycopg.Error):
        conn.execute("select 1/%s::int", (0,))
    show(conn.info.transaction_status.name)
    with fails(psycopg.Error):
        conn.execute("select 1")
    with fails(psycopg.Error):
        conn.execute("select %s", ("x",), prepare=True)
    conn.rollback()
    show(conn.info.transaction_status.name, conn.execute("select 1").fetchone())
    conn.rollback()
    step("a failing COMMIT (deferred constraint)")
    conn.execute("create table child (id int references item deferrable initially deferred)")
    conn.execute("insert into child values (99999)")
    with fails(psycopg.Error):
        conn.commit()
    show(conn.info.transaction_status.name)
    step("notices")
    conn.add_notice_handler(lambda diag: show(diag.severity, diag.sqlstate, diag.message_primary, diag.message_detail))
    conn.execute("do $$ begin raise notice 'hello %', 'ü'; raise warning 'careful' using detail = 'why'; end $$")
    conn.execute("drop table if exists nowhere")
    conn.rollback()


def transactions(conn):
    step("transaction blocks, savepoints")
    with conn.transaction():
        conn.execute("insert into item values (3000, 'kept')")
        with fails(psycopg.Error):
            with conn.transaction("sp"):
                conn.execute("insert into item values (3001, 'lost')")
                conn.execute("insert into item values (3000, 'again')")
        with conn.transaction(force_rollback=True):
            conn.execute("insert into item values (3002, 'lost too')")
    show_rows(conn.execute("select id, name from item where id >= 3000"))
    conn.rollback()
    step("isolation levels, read only, deferrable")
    for level in psycopg.IsolationLevel:
        conn.isolation_level = level
        conn.read_only = True
        show(*conn.execute("select current_setting('transaction_isolation'), current_setting('transaction_read_only')").fetchone())
        with fails(psycopg.Error):
            conn.execute("delete from item")
        conn.rollback()
    conn.isolation_level = conn.read_only = None
    step("two-phase commit")
    xid = conn.xid(1, conn.info.dbname, "psycopg")
    conn.tpc_begin(xid)
    conn.execute("insert into item values (3100, 'two phases')")
    conn.tpc_prepare()
    conn.tpc_commit()
    show(conn.execute("select name from item where id = 3100").fetchone())
    conn.rollback()


def two_connections(conn):
    step("two connections: uncommitted is unseen, committed is seen")
    with connect(autocommit=True) as other:
        count = "select count(*) from item where id = 4000"
        conn.execute("insert into item values (4000, 'mine')")
        show(other.execute(count).fetchone())
        conn.commit()
        show(other.execute(count).fetchone())
        step("repeatable read: 40001")
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute(count)
        other.execute("update item set name = 'theirs' where id = 4000")
        with fails(psycopg.Error):
            conn.execute("update item set name = 'mine again' where id = 4000")
        conn.rollback()
        conn.isolation_level = None
        step("lock_timeout in a transaction")
        conn.execute("select * from item where id = 4000 for update")
        with fails(psycopg.Error), other.transaction():
            other.execute("set local lock_timeout = '50ms'")
            other.execute("delete from item where id = 4000")
        conn.rollback()
        show(other.execute("show lock_timeout").fetchone())


def big(conn):
    step("50000 rows, text and binary")
    for binary in (False, True):
        cur = conn.execute("select n, 'row ' || n, n * 0.5 from generate_series(1, 50000) n", binary=binary)
        rows = cur.fetchall()
        show(len(rows), rows[0], rows[-1], sum(row[0] for row in rows))
    step("a value of 5 MB there and back")
    text = "0123456789äöüßé" * (BIG // 20)
    show(conn.execute("select %s::text", (text,)).fetchone()[0] == text, len(text.encode()))
    data = bytes(range(256)) * (BIG // 256)
    show(conn.execute("select %b::bytea", (data,), binary=True).fetchone()[0] == data, len(data))
    show(conn.execute("select repeat('x', 5000000)").fetchone()[0])
    conn.rollback()


def cursors(conn):
    step("a server-side cursor")
    with conn.cursor("named") as cur:
        cur.itersize = 7
        cur.execute("select n from generate_series(1, 50) n where n > %s", (10,))
        show(cur.fetchone(), cur.fetchmany(3), sum(row[0] for row in cur))
    step("scroll, absolute and relative")
    with conn.cursor("scrolling", scrollable=True, binary=True) as cur:
        cur.execute("select n, 'x' || n from generate_series(1, 50) n")
        cur.scroll(10)
        show(cur.fetchone())
        cur.scroll(2, mode="absolute")
        show(cur.fetchmany(2))
        with fails(psycopg.Error):
            cur.scroll(-1000)
            cur.execute("select 1/0")
    conn.rollback()
    step("a cursor WITH HOLD outlives its transaction")
    cur = conn.cursor("holding", withhold=True)
    cur.execute("select n from generate_series(1, 20) n")
    conn.commit()
    show(cur.fetchmany(2))
    conn.commit()
    show(cur.fetchmany(2))
    cur.close()
    conn.commit()
    step("rows streamed one by one")
    with conn.cursor() as cur:
        show(sum(row[0] for row in cur.stream("select n from generate_series(1, %s) n", (1000,))))
        with fails(psycopg.Error):
            for row in cur.stream("select 10 / (3 - n) from generate_series(1, 5) n"):
                show(*row)
    conn.rollback()


def copies(conn):
    step("COPY in: rows, text, binary")
    conn.execute("create table copied (n int, t text)")
    with conn.cursor() as cur:
        with cur.copy("copy copied from stdin") as copy:
            for n in range(1000):
                copy.write_row((n, None if n % 7 == 0 else f"tab\t{n} ü\\"))
        show(cur.rowcount, cur.statusmessage)
        with cur.copy("copy copied from stdin (format binary)") as copy:
            copy.set_types(["int4", "text"])
            for n in range(1000, 2000):
                copy.write_row((n, f"binary {n}"))
        show(cur.rowcount)
        with cur.copy("copy copied from stdin (format csv)") as copy:
            copy.write(b'2000,"a ""quoted"" one"\n2001,')
            copy.write("ünï\n")
        show(cur.rowcount)
    conn.commit()
    step("COPY out: rows, blocks, binary, with a parameter-like query")
    with conn.cursor() as cur:
        with cur.copy("copy (select * from copied order by n limit 3) to stdout") as copy:
            copy.set_types(["int4", "text"])
            show(*copy.rows())
        for form in ("text", "csv", "binary"):
            with cur.copy(f"copy (select * from copied order by n) to stdout (format {form})") as copy:
                show(b"".join(copy))
    conn.commit()
    step("COPY in fails half-way: bad data, then the client's own error, then a constraint")
    with conn.cursor() as cur:
        with fails(psycopg.Error), cur.copy("copy copied from stdin") as copy:
            copy.write("1\tgood\nbad\tbad\n3\tgood\n")
        conn.rollback()
        with fails(psycopg.Error, ValueError), cur.copy("copy copied from stdin") as copy:
            copy.write("1\tgood\n")
            raise ValueError("changed my mind")
        conn.rollback()
        with fails(psycopg.Error), cur.copy("copy item (id, name) from stdin") as copy:
            for n in range(90000, 140000):
                copy.write_row((n if n < 130000 else 1, f"copied {n}"))
    show(conn.info.transaction_status.name)
    conn.rollback()
    show(conn.execute("select count(*) from copied").fetchone())
    conn.rollback()
    step("COPY out left half-way, COPY that fails half-way")
    with conn.cursor() as cur:
        with fails(ValueError), cur.copy("copy (select repeat('x', 1000) from generate_series(1, 300000)) to stdout") as copy:
            show(len(next(iter(copy))))
            raise ValueError("had enough")
    conn.rollback()
    show(conn.execute("select 'still in step'").fetchone())
    with fails(psycopg.Error), conn.cursor() as cur:
        with cur.copy("copy (select 10 / (500 - n) from generate_series(1, 1000) n) to stdout") as copy:
            show(len(b"".join(copy)))
    conn.rollback()


def cancels(conn):
    step("cancel: cancel_safe, cancel")
    for cancel in (conn.cancel_safe, conn.cancel):
        with fails(psycopg.Error), meanwhile(cancel):
            conn.execute("select pg_sleep(30)")
        conn.rollback()
        show(conn.execute("select 'not cancelled'").fetchone())
        conn.rollback()
    step("a cancel while nothing runs")
    for _ in range(5):
        conn.cancel_safe()
        show(conn.execute("select 1").fetchone())
    conn.rollback()


def session(conn):
    step("SET lasts, is reported, and RESET")
    conn.autocommit = True
    show(conn.info.parameter_status("TimeZone"), conn.info.timezone)
    conn.execute("set time zone 'Asia/Tokyo'")
    conn.execute("set work_mem = '7MB'")
    show(conn.info.parameter_status("TimeZone"), conn.execute("select '2024-02-29 12:00Z'::timestamptz").fetchone())
    show(conn.execute("select current_setting('work_mem')").fetchone())
    conn.execute("select set_config('app.tenant', %s, false)", ("ü 1",))
    show(conn.execute("select current_setting('app.tenant')").fetchone())
    conn.execute("reset all")
    show(conn.info.parameter_status("TimeZone"), conn.execute("show work_mem").fetchone())
    step("SET is undone by rollback, kept by commit")
    conn.autocommit = False
    conn.execute("set work_mem = '6MB'")
    conn.rollback()
    show(conn.execute("show work_mem").fetchone())
    conn.execute("set work_mem = '6MB'")
    conn.commit()
    show(conn.execute("show work_mem").fetchone())
    conn.rollback()
    conn.autocommit = True
    step("SET ROLE")
    conn.execute("set role pg_monitor")
    show(conn.execute("select current_user, session_user = current_user").fetchone())
    with fails(psycopg.Error):
        conn.execute("select * from item")
    conn.execute("reset role")
    show(conn.execute("select count(*) > 0 from item").fetchone())
    step("temporary tables, advisory locks")
    conn.execute("create temp table mine as select generate_series(1, 5) n")
    show(conn.execute("select sum(n) from mine").fetchone())
    conn.execute("select pg_advisory_lock(%s)", (4711,))
    with connect(autocommit=True) as other:
        show(other.execute("select pg_try_advisory_lock(%s)", (4711,)).fetchone())
        with fails(psycopg.Error):
            other.execute("select * from mine")
        conn.execute("select pg_advisory_unlock(4711)")
        show(other.execute("select pg_try_advisory_lock(%s)", (4711,)).fetchone())


def listens(conn):
    step("LISTEN and NOTIFY")
    conn.execute("listen news")
    conn.execute("select pg_notify('news', 'one')")
    with conn.transaction():
        conn.execute("notify news, 'two'")
    with connect(autocommit=True) as other:
        other.execute("notify news, 'three ü'")
    for notice in conn.notifies(timeout=10, stop_after=3):
        show(notice.channel, notice.payload)
    conn.execute("unlisten *")


def prepared(conn):
    step("PREPARE, EXECUTE, DEALLOCATE, DISCARD")
    conn.execute("prepare two (int) as select $1 * 2")
    show(conn.execute("execute two(21)").fetchone())
    conn.execute("deallocate two")
    with fails(psycopg.Error):
        conn.execute("execute two(21)")
    step("prepared by the driver, dropped by DEALLOCATE ALL, prepared again")
    for _ in range(3):
        show(conn.execute("select %s::int + 1", (1,), prepare=True).fetchone())
    conn.execute("deallocate all")
    show(conn.execute("select %s::int + 1", (1,), prepare=True).fetchone())
    step("the result type changes under a prepared statement")
    conn.execute("create table shape (a int)")
    conn.execute("insert into shape values (1)")
    show(conn.execute("select * from shape where a = %s", (1,), prepare=True).fetchone())
    with connect(autocommit=True) as other:
        other.execute("alter table shape add b text default 'new'")
    with fails(psycopg.Error):
        conn.execute("select * from shape where a = %s", (1,), prepare=True)
    conn.execute("discard all")
    show(conn.execute("select * from shape where a = %s", (1,)).fetchone())


def connections():
    step("startup settings")
    with connect(options="-c work_mem=5MB -c app.name=a\\ b", application_name="psycopg ü", client_encoding="utf8") as conn:
        show(*conn.execute("select current_setting('work_mem'), current_setting('app.name', true), current_setting('application_name')").fetchone())
    step("latin1")
    with connect(client_encoding="latin1") as conn:
        show(conn.info.encoding, conn.execute("select 'Grüße', %s::text", ("é",)).fetchone())
        with fails(psycopg.Error):
            conn.execute("select chr(8364)")
    step("what login told")
    with connect() as conn:
        show(*(conn.info.parameter_status(name) for name in ("server_encoding", "client_encoding", "DateStyle", "integer_datetimes", "standard_conforming_strings", "is_superuser", "session_authorization", "IntervalStyle")))
        show(conn.info.server_version, conn.info.backend_pid > 0)
    step("20 connections after each other")
    show([connect_once(n) for n in range(20)])
    step("closed without Terminate in a transaction: rolled back")
    conn = connect()
    conn.execute("insert into item values (5000, 'gone')")
    conn.execute("select pg_advisory_xact_lock(12)")
    hang_up(conn.fileno())
    with fails(psycopg.Error):
        conn.execute("select 1")
    conn.close()
    with connect(autocommit=True) as conn:
        conn.execute("select pg_advisory_lock(12)")
        show(conn.execute("select count(*) from item where id = 5000").fetchone())


def connect_once(number):
    with connect() as conn:
        return conn.execute("select %s::int", (number,)).fetchone()[0]


def main():
    with connect() as conn:
        for part in (queries, changes, errors, transactions, two_connections, big, cursors, copies, cancels):
            part(conn)
            conn.rollback()
    with connect() as conn:
        for part in (session, listens, prepared):
            part(conn)
    connections()


main()
