"""Eight clients at once with prepared statements, over however few server connections there are."""

import asyncio

from steps import show, step

CLIENTS = 8
ROUNDS = 30
SELECT = "select * from crowd where id = $1"


async def crowd(connect):
    """`connect` gives a client with `rows(text, *values)` (prepared), `execute(text)` and `close()`; errors have `sqlstate`."""
    clients = [await connect() for _ in range(CLIENTS)]
    admin = await connect()

    async def all_clients(work):
        for result in await asyncio.gather(*(work(number, client) for number, client in enumerate(clients))):
            show(*result)

    step("rows of one's own")
    await admin.execute("create table crowd (id int primary key, owner int, n int, note text)")
    await all_clients(rounds)
    step("a column added")
    await all_clients(selected)
    await admin.execute("alter table crowd add extra int default 7")
    await all_clients(selected)
    step("a type changed")
    await admin.execute("alter table crowd alter n type bigint")
    await all_clients(selected)
    step("a table made anew")
    await admin.execute("drop table crowd")
    await admin.execute("create table crowd (note text, id int primary key)")
    await admin.execute("insert into crowd select 'anew ' || n, n * 1000 from generate_series(0, 7) n")
    await all_clients(selected)
    step("changed while it is read")
    await asyncio.gather(change(admin), all_clients(read))
    for client in [*clients, admin]:
        await client.close()


async def rounds(number, client):
    """Writes and reads rows that nobody else touches; gives sums that prove it."""
    sums = [0, 0, 0, 0]
    for turn in range(ROUNDS):
        row = number * 1000 + turn
        await client.rows("insert into crowd values ($1, $2, $3, $4) returning id", row, number, turn, f"note {row}")
        [(found, note)] = await client.rows("select n, note from crowd where id = $1", row)
        assert note == f"note {row}", (note, row)
        sums[0] += found
        [(changed,)] = await client.rows("update crowd set n = n + $1 where id = $2 returning n", 10, row)
        sums[1] += changed
        [(own,)] = await client.rows(f"select {number} + $1::int", turn)
        sums[2] += own
        await client.execute("begin")
        await client.rows("update crowd set note = $1 where id = $2 returning id", "changed", row)
        await client.execute("rollback" if turn % 3 == 0 else "commit")
        [(count,)] = await client.rows("select count(*) from crowd where owner = $1 and note = $2", number, "changed")
        sums[3] += count
    return number, *sums


async def selected(number, client):
    """Who remembers the columns hears that they have changed, unless the proxy sees that it asks for them anyway. The
    text as it was stays prepared as it was."""
    for _ in range(3):
        try:
            return [tuple(row) for row in await client.rows(f"{SELECT} -- {client.changes}", number * 1000)]
        except Exception as error:
            if getattr(error, "sqlstate", None) != "0A000":
                raise
            client.changes += 1
    return ("changed again and again",)


async def read(number, client):
    wrong = 0
    for _ in range(100):
        wrong += await client.rows("select id, note from crowd where id = $1", number * 1000) != [(number * 1000, f"anew {number}")]
    return number, wrong


async def change(admin):
    for _ in range(10):
        await admin.execute("alter table crowd add x int")
        await admin.execute("alter table crowd drop x")
