#!/usr/bin/env python3
"""The console as Python's drivers find it: each reads it by its own protocol, in its own way of transactions.

    main.py PORT
"""

import asyncio
import decimal
import sys

import asyncpg
import psycopg
import psycopg2

PORT = int(sys.argv[1])
WHERE = {"host": "127.0.0.1", "port": PORT, "user": "pgsteward"}


def check(driver, pools, stats, version):
    """Rows as the driver has made them."""
    assert pools["database"] == "postgres" and pools["sv_idle"] == 1, (driver, pools)
    assert pools["load_balance_hosts"] is None, (driver, pools)
    assert stats["xact_count"] == decimal.Decimal(1), (driver, stats)
    assert version.startswith("pgsteward "), (driver, version)
    print(driver, "ok")


async def with_asyncpg():
    """Extended protocol, binary results, a pool that resets its connections."""
    async with asyncpg.create_pool(database="pgsteward", min_size=1, max_size=2, **WHERE) as pool:
        for _ in range(2):
            async with pool.acquire() as connection:
                pools = dict(await connection.fetchrow("SHOW POOLS"))
                stats = dict(await connection.fetchrow("SHOW STATS_TOTALS"))
                version = await connection.fetchval("SHOW VERSION")
                try:
                    await connection.fetch("SELECT * FROM pg_class")
                    raise AssertionError("the console has no catalog")
                except asyncpg.PostgresSyntaxError:
                    pass
    check("asyncpg", pools, stats, version)


def with_psycopg3():
    """Transactions by itself, prepared statements from the first use."""
    with psycopg.connect(dbname="pgbouncer", prepare_threshold=0, **WHERE) as connection:
        rows = {}
        for what in ("POOLS", "STATS_TOTALS", "VERSION"):
            cursor = connection.cursor(row_factory=psycopg.rows.dict_row, binary=what != "VERSION")
            rows[what] = cursor.execute(f"SHOW {what}").fetchone()
        connection.commit()
    check("psycopg", rows["POOLS"], rows["STATS_TOTALS"], rows["VERSION"]["version"])


def with_psycopg2():
    """Simple protocol, BEGIN in front."""
    connection = psycopg2.connect(dbname="pgsteward", **WHERE)
    with connection.cursor() as cursor:

        def row(what):
            cursor.execute(f"SHOW {what}")
            return dict(zip([column.name for column in cursor.description], cursor.fetchone()))

        check("psycopg2", row("POOLS"), row("STATS_TOTALS"), row("VERSION")["version"])
    connection.rollback()
    connection.close()


with_psycopg2()
with_psycopg3()
asyncio.run(with_asyncpg())
