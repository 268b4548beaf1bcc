"""psycopg 3 in pipeline mode: many statements on the way at once, errors in the middle, explicit Syncs, transactions."""

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus

from steps import fails, show, step


def first(cursor):
    return cursor.fetchone()[0]


def plain(conn):
    step("hundreds of statements in one pipeline")
    with conn.pipeline():
        found = [conn.execute("select %s::int, %s::text", (n, f"ü {n}")) for n in range(500)]
    show(sum(first(cursor) for cursor in found))
    step("results fetched inside the pipeline")
    with conn.pipeline():
        show([first(conn.execute("select %s::int * 2", (n,))) for n in range(20)])
    step("explicit Syncs: many groups on the way")
    with conn.pipeline() as pipe:
        found = []
        for n in range(150):
            found.append(conn.execute("select %s::int", (n,)))
            pipe.sync()
    show([first(cursor) for cursor in found[::10]])
    step("prepared in the pipeline, and reused")
    with conn.pipeline():
        found = [conn.execute("select %s::int + 1", (n,), prepare=True) for n in range(50)]
    show(sum(first(cursor) for cursor in found))
    step("executemany in and out of a pipeline")
    conn.execute("create table item (id int primary key, name text)")
    with conn.pipeline(), conn.cursor() as cur:
        cur.executemany("insert into item values (%s, %s) returning id", [(n, f"item {n}") for n in range(1500)], returning=True)
        cur.executemany("update item set name = 'x' where id = %s", [(n,) for n in range(100)])
    show(first(conn.execute("select count(*) || ' ' || count(*) filter (where name = 'x') from item")))


def errors(conn):
    step("a syntax error at Parse; a bad value at Bind")
    for query, values in (("selec %s", (1,)), ("select %s::date", ("nonsense",)), ("select * from nowhere", ())):
        with fails(psycopg.Error), conn.pipeline():
            conn.execute("select 1")
            conn.execute(query, values)
            conn.execute("select 2")
        show(first(conn.execute("select 'goes on'")))
    step("an implicit transaction: all of a group or nothing")
    with fails(psycopg.Error), conn.pipeline():
        conn.execute("insert into item values (2000, 'lost')")
        conn.execute("insert into item values (0, 'clash')")
    with conn.pipeline() as pipe:
        conn.execute("insert into item values (2001, 'kept')")
        pipe.sync()
        conn.execute("insert into item values (2002, 'kept')")
    show([row for row in conn.execute("select * from item where id >= 2000 order by id")])
    step("VACUUM refuses a pipeline after other statements")
    with fails(psycopg.Error), conn.pipeline():
        conn.execute("insert into item values (2003, 'x')")
        conn.execute("vacuum item")


def transactions(conn):
    step("a transaction block in a pipeline")
    with conn.pipeline(), conn.transaction():
        conn.execute("insert into item values (3000, 'in a block')")
        cursor = conn.execute("select name from item where id = 3000")
    show(first(cursor), conn.info.transaction_status.name)
    step("a block that fails, inside a pipeline that goes on")
    with conn.pipeline() as pipe:
        with fails(psycopg.Error), conn.transaction():
            conn.execute("insert into item values (3001, 'lost')")
            conn.execute("insert into item values (3000, 'clash')")
            pipe.sync()
        conn.execute("insert into item values (3002, 'kept')")
    show([row for row in conn.execute("select * from item where id >= 3000 order by id")])
    step("savepoints in a pipeline")
    with conn.pipeline() as pipe, conn.transaction():
        conn.execute("insert into item values (3003, 'kept')")
        with fails(psycopg.Error), conn.transaction():
            conn.execute("insert into item values (3003, 'clash')")
            pipe.sync()
    show([row for row in conn.execute("select * from item where id = 3003")])
    step("several BEGIN ... COMMIT in one pipeline without waiting")
    with conn.pipeline():
        for n in range(4000, 4010):
            conn.execute("begin")
            conn.execute("insert into item values (%s, 'b')", (n,))
            conn.execute("commit" if n % 2 else "rollback")
    show([row[0] for row in conn.execute("select id from item where id >= 4000 order by id")])
    step("COPY is refused in a pipeline")
    with fails(psycopg.Error), conn.pipeline(), conn.cursor() as cur:
        with cur.copy("copy item to stdout"):
            pass


def large(conn):
    step("megabytes both ways in one pipeline")
    text = "x" * 100_000
    with conn.pipeline():
        found = [conn.execute("select %s::text || %s::text", (text, n)) for n in range(100)]
    show(sum(len(first(cursor)) for cursor in found))
    step("notices and settings in a pipeline")
    conn.add_notice_handler(lambda diag: show(diag.severity, diag.message_primary))
    with conn.pipeline():
        conn.execute("do $$ begin raise notice 'from a pipeline'; end $$")
        conn.execute("set time zone 'Asia/Tokyo'")
        cursor = conn.execute("show time zone")
    show(first(cursor), conn.info.parameter_status("TimeZone"))
    step("LISTEN and NOTIFY in a pipeline")
    heard = []
    conn.add_notify_handler(lambda notice: heard.append((notice.channel, notice.payload)))
    with conn.pipeline() as pipe:
        conn.execute("listen news")
        pipe.sync()
        conn.execute("notify news, 'one'")
        pipe.sync()
        conn.execute("select 1")
    conn.execute("select 1")
    show(heard)


def by_libpq(conn):
    """psycopg's own reaction to an error depends on how early it arrives; libpq's does not."""
    step("an error in the middle: what follows until Sync is skipped")
    share = "select 10 / (3 - $1::int)"
    show(*raw(conn, [*((share, n) for n in range(6)), None, ("select 1",), None]))
    step("groups after the failed one go on")
    show(*raw(conn, [part for n in range(6) for part in ((share, n), None)]))
    step("BEGIN, an error, ROLLBACK as groups of one pipeline")
    statements = ["begin", "insert into item values (3004)", "select 1/0", "select 1", "rollback", "select 'after'"]
    show(*raw(conn, [part for statement in statements for part in ((statement,), None)]))
    step("Syncs with nothing before them")
    show(*raw(conn, [None, None, ("select 1",), None, None]))
    step("an empty statement, COMMIT and ROLLBACK without a block")
    show(*raw(conn, [("",), ("commit",), ("rollback",), None]))
    step("an implicit transaction ends at Sync: what was deferred fails there")
    conn.execute("create table child (id int references item deferrable initially deferred)")
    show(*raw(conn, [("insert into child values (99999)",), ("select 1",), None, ("select 2",), None]))
    step("a BEGIN in mid-group takes in what was before it")
    show(*raw(conn, [("insert into item values (7000)",), ("begin",), None, ("rollback",), None, ("select count(*) from item where id = 7000",), None]))


def raw(conn, parts):
    """Sends statements, `None` for a Sync, then reads all results."""
    pgconn = conn.pgconn
    pgconn.enter_pipeline_mode()
    for part in parts:
        if part is None:
            pgconn.pipeline_sync()
        else:
            pgconn.send_query_params(part[0].encode(), [str(value).encode() for value in part[1:]])
    found, syncs = [], parts.count(None)
    while syncs:
        result = pgconn.get_result()
        if result is not None:
            found.append(told(result))
            syncs -= found[-1] == "PIPELINE_SYNC"
    pgconn.exit_pipeline_mode()
    return [*found, pgconn.transaction_status]


def told(result):
    if result.status == ExecStatus.TUPLES_OK:
        return [result.get_value(row, 0) for row in range(result.ntuples)]
    if result.status == ExecStatus.FATAL_ERROR:
        return result.error_field(DiagnosticField.SQLSTATE).decode()
    return ExecStatus(result.status).name if not result.command_status else result.command_status.decode()


def main():
    with psycopg.connect(autocommit=True) as conn:
        plain(conn)
    # What psycopg prepares after an error depends on when the error arrives.
    with psycopg.connect(autocommit=True, prepare_threshold=None) as conn:
        for part in (errors, transactions, large):
            part(conn)
    with psycopg.connect(autocommit=True) as conn:
        by_libpq(conn)


main()
