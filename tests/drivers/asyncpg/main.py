"""asyncpg: binary throughout, Flush without Sync, named statements, portals named in SQL, COPY, notify, time-outs."""

import asyncio
import datetime
import decimal
import io
import json
import uuid

import asyncpg

from steps import BIG, TYPES, fails, show, show_rows, step


async def connect(**settings):
    return await asyncpg.connect(**settings)


def postgres_fails():
    return fails(asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)


async def queries(conn):
    step("parameters")
    show(*await conn.fetchrow("select $1::int + 1, $2::text, $3::bytea, $4::float8, $5::text", 41, "Grüße 🐘", b"\0\xff", 0.1, None))
    show(*await conn.fetchrow("select $1::numeric, $2::uuid, $3::int[], $4::text[], $5::date", decimal.Decimal("1.50"), uuid.UUID(int=7), [1, None, 3], ["a", "ü,{}"], datetime.date(2024, 2, 29)))
    step("many types")
    for name, value in (await conn.fetchrow(TYPES)).items():
        show(name, value)
    show(await conn.fetchval("select '2024-02-29 12:00Z'::timestamptz"), await conn.fetchval("select int4range(1, 5)"), await conn.fetchval("select '(1,2)'::point"))
    step("composite, enum, domain and json codecs (types looked up in the catalogue)")
    await conn.execute("create type mood as enum ('ok', 'nöt'); create domain positive as int check (value > 0); create type pair as (a int, b mood)")
    show(*await conn.fetchrow("select 'nöt'::mood, 5::positive, row(1, 'ok')::pair, array['ok', 'nöt']::mood[]"))
    await conn.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    show(await conn.fetchval("select $1::jsonb || '{\"b\": 2}'", {"a": [1, None]}))
    step("the same query twenty times (statement cache)")
    show([await conn.fetchval("select $1::int * 2", n) for n in range(20)])
    step("prepared statements: attributes, reuse, several at once")
    statement = await conn.prepare("select $1::int as a, $2::text as b")
    show([(p.name, p.kind) for p in statement.get_parameters()], [(a.name, a.type.name) for a in statement.get_attributes()], statement.get_statusmsg())
    show([tuple(await statement.fetchrow(n, "x")) for n in range(5)], statement.get_statusmsg())
    others = [await conn.prepare(f"select {n} + $1::int") for n in range(5)]
    show([await other.fetchval(1) for other in others])
    own = await conn.prepare("select 'a name of its own'", name="its own")
    show(own.get_name(), await conn.fetchval("execute \"its own\""))
    step("several statements without parameters: status of the last")
    show(await conn.execute("select 1; select 2; create temp table t0 (n int); insert into t0 values (1), (2); drop table t0; select 7"))


async def changes(conn):
    step("tables, command tags")
    for statement in ("create table item (id int primary key, name text not null unique)", "insert into item select n, 'item ' || n from generate_series(1, 100) n",
                      "update item set name = name || '!' where id <= 10", "delete from item where id > 90"):
        show(await conn.execute(statement))
    show(await conn.execute("insert into item values ($1, $2)", 200, "two hundred"))
    show_rows(await conn.fetch("insert into item values (201, 'r'), (202, 's') returning id, name"))
    step("executemany: one implicit transaction")
    await conn.executemany("insert into item values ($1, $2)", [(n, f"many {n}") for n in range(1000, 1500)])
    with postgres_fails():
        await conn.executemany("insert into item values ($1, $2)", [(2000, "a1"), (1000, "clash"), (2001, "b1")])
    show(await conn.fetchval("select count(*) from item"))
    step("fetchmany")
    show_rows(await conn.fetchmany("insert into item values ($1, 'f' || $1::int) returning name", [(n,) for n in range(3000, 3004)]))


async def errors(conn):
    step("errors outside a transaction")
    for statement in ("select 1/0", "selec 1", "select * from nowhere", "insert into item values (1, 'x')", "insert into item (id) values (5)", "select 'x'::int"):
        with postgres_fails():
            await conn.fetch(statement)
        with postgres_fails():
            await conn.execute(statement)
    with postgres_fails():
        await conn.fetch("select 1/$1::int", 0)
    with fails(asyncpg.DataError):
        await conn.fetch("select $1::int", "not a number")
    with fails(asyncpg.InterfaceError):
        await conn.fetch("select $1::int")
    show(await conn.fetchval("select 'goes on'"))
    step("errors in a transaction, savepoints")
    async with conn.transaction():
        await conn.execute("insert into item values (4000, 'kept')")
        with postgres_fails():
            async with conn.transaction():
                await conn.execute("insert into item values (4001, 'lost')")
                await conn.execute("insert into item values ($1, 'again')", 4000)
        async with conn.transaction():
            await conn.execute("insert into item values (4002, 'kept too')")
    show_rows(await conn.fetch("select * from item where id >= 4000 order by id"))
    step("an aborted transaction refuses until its end")
    transaction = conn.transaction()
    await transaction.start()
    with postgres_fails():
        await conn.fetch("select 1/$1::int", 0)
    with postgres_fails():
        await conn.fetch("select 'never prepared before'")
    with postgres_fails():
        await conn.fetch("select 1/$1::int", 1)
    await transaction.rollback()
    show(await conn.fetchval("select 1/$1::int", 1), conn.is_in_transaction())
    step("notices")
    notices = []
    conn.add_log_listener(lambda _, message: notices.append((message.severity, message.sqlstate, message.message)))
    await conn.execute("do $$ begin raise notice 'hello %', 'ü'; raise warning 'careful'; end $$")
    await conn.fetch("drop table if exists nowhere")
    await asyncio.sleep(0)
    show(notices)


async def transactions(conn):
    step("isolation levels, read only, deferrable")
    for level in ("read_committed", "repeatable_read", "serializable", "read_uncommitted"):
        async with conn.transaction(isolation=level, readonly=True, deferrable=level == "serializable"):
            show(await conn.fetchval("select current_setting('transaction_isolation')"))
            with postgres_fails():
                async with conn.transaction():
                    await conn.execute("delete from item")
    step("two connections: uncommitted is unseen, committed is seen; 40001")
    other = await connect()
    query = "select count(*) from item where id = 5000"
    async with conn.transaction():
        await conn.execute("insert into item values (5000, 'mine')")
        show(await other.fetchval(query))
    show(await other.fetchval(query))
    with postgres_fails():
        async with conn.transaction(isolation="repeatable_read"):
            await conn.fetchval(query)
            await other.execute("update item set name = 'theirs' where id = 5000")
            await conn.execute("update item set name = 'mine again' where id = 5000")
    step("both at work beside each other")
    results = await asyncio.gather(*(count(c, n * 1000) for n, c in enumerate((conn, other))))
    show([sum(result) for result in results])
    await other.close()


async def count(conn, base):
    return [await conn.fetchval("select $1::int + $2::int", base, n) for n in range(50)]


async def cursors(conn):
    step("a cursor: iterated, fetched, forwarded by SQL that names the portal")
    async with conn.transaction():
        cursor = conn.cursor("select n from generate_series(1, $1::int) n", 200, prefetch=17)
        show(sum([row[0] async for row in cursor]))
        cursor = await conn.cursor("select n from generate_series(1, 200) n")
        show(await cursor.fetchrow(), [row[0] for row in await cursor.fetch(3)])
        show(await cursor.forward(90), await cursor.fetchrow(), await cursor.forward(1000), await cursor.fetchrow())
    step("two cursors in turns")
    async with conn.transaction():
        both = [await conn.cursor(f"select {sign}n from generate_series(1, 10) n") for sign in ("", "-")]
        show([(await cursor.fetchrow())[0] for _ in range(4) for cursor in both])
    step("a cursor's error half-way, a cursor without a transaction")
    with postgres_fails():
        async with conn.transaction():
            show([row[0] async for row in conn.cursor("select 10 / (30 - n) from generate_series(1, 50) n", prefetch=10)])
    with postgres_fails():
        await conn.cursor("select 1")
    step("a cursor of a prepared statement, left half-way")
    statement = await conn.prepare("select n, repeat('x', 1000) from generate_series(1, 1000) n")
    async with conn.transaction():
        async for row in statement.cursor(prefetch=100):
            if row[0] == 150:
                break
    show(await conn.fetchval("select 'still in step'"))


async def big(conn):
    step("50000 rows, 5 MB there and back")
    rows = await conn.fetch("select n, 'row ' || n, n * 0.5 from generate_series(1, 50000) n")
    show(len(rows), tuple(rows[0]), tuple(rows[-1]), sum(row[0] for row in rows))
    text = "0123456789äöüßé" * (BIG // 20)
    show(await conn.fetchval("select $1::text", text) == text, len(text.encode()))
    show(await conn.fetchval("select repeat('x', 5000000)"))


async def copies(conn):
    step("COPY in: records (binary), a file")
    show(await conn.copy_records_to_table("item", records=[(n, f"cöpy {n}") for n in range(10000, 30000)]))
    show(await conn.copy_to_table("item", source=io.BytesIO("40000,one\n40001,ünï\n".encode()), format="csv"))

    async def records():
        for n in range(41000, 41010):
            yield n, f"async {n}"

    show(await conn.copy_records_to_table("item", records=records(), columns=("id", "name")))
    step("COPY out: a table, a query with parameters")
    for form in ("text", "csv", "binary"):
        out = io.BytesIO()
        show(await conn.copy_from_query("select * from item where id > $1 order by id", 50, output=out, format=form), out.getvalue())
    out = io.BytesIO()
    show(await conn.copy_from_table("item", output=out), len(out.getvalue()))
    step("COPY in fails half-way: a constraint, bad data, the client's own error")
    with postgres_fails():
        await conn.copy_records_to_table("item", records=((n if n < 65000 else 1, f"y {n}") for n in range(60000, 70000)))
    with postgres_fails():
        await conn.copy_to_table("item", source=io.BytesIO(b"50000\ta\nbad\tb\n"))

    async def broken():
        yield b"50000\tx\n"
        raise ValueError("changed my mind")

    with postgres_fails():
        await conn.copy_to_table("item", source=broken())
    show(await conn.fetchval("select count(*) from item"))
    step("COPY out that fails half-way; whose reader fails")
    with postgres_fails():
        await conn.copy_from_query("select 10 / (500 - n) from generate_series(1, 1000) n", output=io.BytesIO())

    async def refuse(_data):
        raise ValueError("enough")

    with postgres_fails():
        await conn.copy_from_query("select repeat('x', 1000) from generate_series(1, 5000) n", output=refuse)
    show(await conn.fetchval("select 'still in step'"))


async def cancels(conn):
    step("time-outs cancel: fetch, execute, in a transaction, a whole block")
    with fails(asyncio.TimeoutError):
        await conn.fetch("select pg_sleep($1::int)", 30, timeout=0.2)
    show(await conn.fetchval("select 'goes on'"))
    with fails(asyncio.TimeoutError):
        await conn.execute("select pg_sleep(30)", timeout=0.2)
    with fails(asyncio.TimeoutError):
        async with conn.transaction():
            await conn.execute("insert into item values (6000, 'lost')")
            await conn.execute("select pg_sleep(30)", timeout=0.2)
    show(await conn.fetchval("select count(*) from item where id = 6000"))
    step("a cancelled task")
    task = asyncio.create_task(conn.fetch("select pg_sleep(31)"))
    await asyncio.sleep(0.2)
    task.cancel()
    with fails(asyncio.CancelledError):
        await task
    show([await conn.fetchval("select $1::int", n) for n in range(5)])
    step("statement_timeout")
    with postgres_fails():
        async with conn.transaction():
            await conn.execute("set local statement_timeout = 100")
            await conn.fetch("select pg_sleep(30)")
    show(await conn.fetchval("show statement_timeout"))


async def session():
    step("settings at startup, kept by RESET ALL and by reset()")
    conn = await connect(server_settings={"timezone": "Asia/Tokyo", "application_name": "asyncpg ü", "work_mem": "5MB", "search_path": "public, pg_catalog"}, command_timeout=20)
    query = "select current_setting('timezone'), current_setting('work_mem'), current_setting('search_path'), current_setting('application_name')"
    show(*await conn.fetchrow(query))
    show(conn.get_settings().TimeZone, conn.get_settings().client_encoding, tuple(conn.get_server_version())[:2])
    await conn.execute("set timezone = 'UTC'; set work_mem = '9MB'")
    show(conn.get_settings().TimeZone, *await conn.fetchrow(query))
    await conn.execute("create temp table mine as select 5 as n")
    show(await conn.fetchval("select n from mine"))
    await conn.reset()
    show(conn.get_settings().TimeZone, *await conn.fetchrow(query))
    show(await conn.fetchval("select n from mine"))
    step("advisory locks")
    await conn.execute("select pg_advisory_lock(4711)")
    other = await connect()
    show(await other.fetchval("select pg_try_advisory_lock(4711)"))
    await conn.reset()
    show(await other.fetchval("select pg_try_advisory_lock(4711)"))
    await other.close()
    step("DEALLOCATE ALL under the driver's statement cache")
    for query in ("select $1::int + 40", "deallocate all"):
        await (conn.fetch(query, 2) if "$1" in query else conn.execute(query))
    with postgres_fails():
        await conn.fetchval("select $1::int + 40", 2)
    await conn.reload_schema_state()
    show(await conn.fetchval("select $1::int + 40", 2))
    step("the result type changes under a cached statement")
    await conn.execute("create table shape (a int); insert into shape values (1)")
    show(*await conn.fetch("select * from shape"))
    await conn.execute("alter table shape add b text default 'new'")
    show(*await conn.fetch("select * from shape"))
    await conn.execute("alter table shape drop b")
    with postgres_fails():
        async with conn.transaction():
            await conn.fetch("select * from shape")
    show(*await conn.fetch("select * from shape"))
    await conn.close()
    step("no statement cache: unnamed statements only")
    conn = await connect(statement_cache_size=0)
    show([await conn.fetchval("select $1::int * 3", n) for n in range(10)], tuple(await conn.fetchrow("select 1, 'x'")))
    await conn.close()


async def listens():
    step("LISTEN and NOTIFY")
    conn = await connect()
    heard = asyncio.Queue()
    await conn.add_listener("news", lambda _c, _pid, channel, payload: heard.put_nowait((channel, payload)))
    await conn.execute("notify news, 'one'")
    async with conn.transaction():
        await conn.execute("select pg_notify('news', $1)", "two ü")
    other = await connect()
    await other.execute("notify news, 'from another'")
    await other.close()
    show([await asyncio.wait_for(heard.get(), 10) for _ in range(3)])
    await conn.close()


async def connections():
    step("20 connections, three beside each other")
    slots = asyncio.Semaphore(3)

    async def once(number):
        async with slots:
            conn = await connect()
            value = await conn.fetchval("select $1::int", number)
            await conn.close()
            return value

    show(await asyncio.gather(*(once(n) for n in range(20))))
    step("a pool: reset between users")
    async with asyncpg.create_pool(min_size=1, max_size=3) as pool:
        show(sorted(await asyncio.gather(*(pool.fetchval("select $1::int", n) for n in range(30)))))
        async with pool.acquire() as conn:
            await conn.execute("set work_mem = '9MB'")
        show({await pool.fetchval("show work_mem") for _ in range(5)})
    step("aborted without Terminate in a transaction: rolled back")
    conn = await connect()
    await conn.transaction().start()
    await conn.execute("insert into item values (9000, 'gone')")
    await conn.execute("select pg_advisory_xact_lock(12)")
    conn.terminate()
    conn = await connect()
    await conn.execute("select pg_advisory_lock(12)")
    show(await conn.fetchval("select count(*) from item where id = 9000"))
    await conn.close()
    step("a database that is not there")
    with postgres_fails():
        await connect(database="no such")


async def main():
    conn = await connect()
    for part in (queries, changes, errors, transactions, cursors, big, copies, cancels):
        await part(conn)
    await conn.close()
    for part in (session, listens, connections):
        await part()


asyncio.run(main())
