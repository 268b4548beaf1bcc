"""psycopg 3, asyncio API: tasks beside each other, COPY, server-side cursors, notifies, cancel by task cancellation."""

import asyncio

import psycopg

from steps import TYPES, fails, show, step


async def connect(**settings):
    return await psycopg.AsyncConnection.connect(**settings)


async def one(conn, query, *parameters):
    return await (await conn.execute(query, parameters or None)).fetchone()


async def queries(conn):
    step("parameters, many types")
    show(*await one(conn, "select %s::int + 1, %s::text, %b::bytea", 41, "Grüße 🐘", b"\0\xff"))
    cur = await conn.execute(TYPES, binary=True)
    show(*await cur.fetchone())
    step("the same statement ten times")
    show([(await one(conn, "select %s::int * 2", n))[0] for n in range(10)])
    step("errors and recovery in transactions")
    await conn.execute("create table item (id int primary key, name text)")
    await conn.commit()
    async with conn.transaction():
        await conn.execute("insert into item values (1, 'kept')")
        with fails(psycopg.Error):
            async with conn.transaction():
                await conn.execute("insert into item values (2, 'lost')")
                await conn.execute("insert into item values (1, 'again')")
    with fails(psycopg.Error):
        await conn.execute("selec 1")
    with fails(psycopg.Error):
        await conn.execute("select 1")
    await conn.rollback()
    show(*await one(conn, "select count(*) from item"))
    await conn.rollback()
    step("executemany")
    async with conn.cursor() as cur:
        await cur.executemany("insert into item values (%s, %s)", [(n, f"item {n}") for n in range(10, 500)])
        show(cur.rowcount)
        with fails(psycopg.Error):
            await cur.executemany("insert into item values (%s, 'x')", [(600,), (10,), (601,)])
    await conn.rollback()


async def cursors(conn):
    step("a server-side cursor")
    async with conn.cursor("named") as cur:
        await cur.execute("select n from generate_series(1, %s) n", (300,))
        show(await cur.fetchmany(3), sum([row[0] async for row in cur]))
    await conn.commit()
    step("rows streamed in chunks")
    async with conn.cursor() as cur:
        show(sum([row[0] async for row in cur.stream("select n from generate_series(1, 1000) n")]))
    await conn.commit()
    step("50000 rows")
    cur = await conn.execute("select n, 'row ' || n from generate_series(1, 50000) n")
    show(sum([row[0] async for row in cur]))
    await conn.commit()


async def copies(conn):
    step("COPY in and out")
    async with conn.cursor() as cur:
        async with cur.copy("copy item from stdin") as copy:
            for n in range(10000, 12000):
                await copy.write_row((n, f"ü {n}"))
        show(cur.rowcount)
        async with cur.copy("copy (select * from item where id >= 10000 order by id) to stdout") as copy:
            show(b"".join([bytes(block) async for block in copy]))
    step("COPY in that fails half-way")
    with fails(psycopg.Error, ValueError):
        async with conn.cursor() as cur, cur.copy("copy item from stdin") as copy:
            await copy.write_row((20000, "x"))
            raise ValueError("changed my mind")
    await conn.rollback()
    with fails(psycopg.Error):
        async with conn.cursor() as cur, cur.copy("copy item from stdin") as copy:
            for n in range(20000, 40000):
                await copy.write(f"{n if n % 10000 else 'bad'}\tx\n")
    await conn.rollback()
    show(*await one(conn, "select count(*) from item"))
    await conn.rollback()


async def cancels(conn):
    step("cancelled by hand")
    task = asyncio.create_task(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.3)
    await conn.cancel_safe(timeout=10)
    with fails(psycopg.Error):
        await task
    await conn.rollback()
    step("cancelled by a time-out of the task")
    with fails(asyncio.TimeoutError, psycopg.Error):
        await asyncio.wait_for(conn.execute("select pg_sleep(30)"), 0.3)
    await conn.rollback()
    show(*await one(conn, "select 'goes on'"))
    await conn.rollback()


async def beside(conn):
    step("three connections, tasks beside each other")
    others = [await connect(autocommit=True) for _ in range(2)]
    await conn.set_autocommit(True)

    async def count(connection, number):
        return [(await one(connection, "select %s::int + %s::int", number * 1000, n))[0] for n in range(20)]

    results = await asyncio.gather(*(count(c, n) for n, c in enumerate([conn, *others])))
    show([sum(result) for result in results])
    step("one waits for the other's lock")
    order = []
    async with conn.transaction():
        await conn.execute("update item set name = 'first' where id = 1")
        waiting = asyncio.create_task(others[0].execute("update item set name = name || ', second' where id = 1"))
        await asyncio.sleep(0.2)
        order.append(waiting.done())
    await waiting
    show(order, *await one(conn, "select name from item where id = 1"))
    step("a deadlock: 40P01 for one, the other commits")
    await conn.execute("set deadlock_timeout = '100ms'")
    await others[0].execute("set deadlock_timeout = '10s'")
    await conn.execute("insert into item values (10, 'a'), (11, 'b')")
    show(await deadlock(conn, others[0]))
    step("notifications from another connection")
    await conn.execute("listen news")
    await others[0].execute("notify news, 'one'")
    await conn.execute("notify news, 'two'")
    async for notice in conn.notifies(timeout=10, stop_after=2):
        show(notice.channel, notice.payload)
    for other in others:
        await other.close()


async def deadlock(first, second):
    async def lock(connection, mine, theirs, arrived, wait):
        try:
            async with connection.transaction():
                await connection.execute("update item set name = 'd' where id = %s", (mine,))
                arrived.set()
                await wait.wait()
                await connection.execute("update item set name = 'd' where id = %s", (theirs,))
            return "committed"
        except psycopg.Error as error:
            return error.sqlstate

    one_there, two_there = asyncio.Event(), asyncio.Event()
    return await asyncio.gather(lock(first, 10, 11, one_there, two_there), lock(second, 11, 10, two_there, one_there))


async def connections():
    step("20 connections beside and after each other")

    async def once(number):
        async with slots, await connect(autocommit=True) as conn:
            return (await one(conn, "select %s::int", number))[0]

    slots = asyncio.Semaphore(3)
    show(await asyncio.gather(*(once(n) for n in range(20))))


async def main():
    async with await connect() as conn:
        for part in (queries, cursors, copies, cancels, beside):
            await part(conn)
    await connections()


asyncio.run(main())
