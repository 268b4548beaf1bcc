"""Migrators as Alembic, Prisma Migrate, Rails and golang-migrate run them: several start at once, session advisory locks
let one in after the other, and each migration is done exactly once."""

import threading

import psycopg

from steps import show, show_rows, step

MIGRATORS = 3

MIGRATIONS = [
    ("001_init", "create table shop_user (id serial primary key, email text not null unique);"
                 "create type colour as enum ('red', 'green')"),
    ("002_orders", "create table shop_order (id serial primary key, user_id int references shop_user, c colour);"
                   "create index shop_order_user on shop_order (user_id); insert into shop_user (email) values ('a@b')"),
    ("003_fill", "do $$ begin insert into shop_order (user_id, c) select id, 'red' from shop_user; end $$;"
                 "alter table shop_order add column at timestamptz not null default '2024-01-01Z'"),
    ("004_late", "alter table shop_user alter column email type varchar(200); comment on table shop_user is 'Käufer'"),
]


def at_once(migrate):
    """Runs so many at once; shows what each has done, in the order of the migrations."""
    done = []

    def work():
        for name in migrate():
            done.append(name)

    threads = [threading.Thread(target=work) for _ in range(MIGRATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    show(done)
    with psycopg.connect(autocommit=True) as conn:
        show_rows(conn.execute("select table_name, column_name, data_type from information_schema.columns "
                               "where table_schema = 'public' order by 1, ordinal_position").fetchall())
        show(*conn.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone())
        conn.execute("drop schema public cascade; create schema public")


def alembic():
    """One transaction for all, a lock for the transaction, one row that names the version."""
    with psycopg.connect() as conn:
        conn.execute("select pg_catalog.version()").fetchone()
        conn.execute("show standard_conforming_strings").fetchone()
        conn.rollback()
        conn.execute("select pg_advisory_xact_lock(%s)", (4711,))
        conn.execute("create table if not exists alembic_version (version_num varchar(32) not null primary key)")
        row = conn.execute("select version_num from alembic_version").fetchone()
        for name, text in MIGRATIONS:
            if row is None or name > row[0]:
                conn.execute(text, prepare=False)
                if row is None:
                    conn.execute("insert into alembic_version values (%s)", (name,))
                else:
                    conn.execute("update alembic_version set version_num = %s where version_num = %s", (name, row[0]))
                row = (name,)
                yield name


def prisma():
    """A session lock that nobody gives back, and one simple query for each file."""
    with psycopg.connect(autocommit=True) as conn:
        conn.execute("set statement_timeout = '20s'")
        conn.execute("select pg_advisory_lock(72707369)")
        conn.execute("""create table if not exists "_prisma_migrations" ("id" varchar(36) primary key not null,
            "finished_at" timestamptz, "migration_name" varchar(255) not null, "applied_steps_count" integer not null default 0)""")
        for name, text in MIGRATIONS:
            if conn.execute('select 1 from "_prisma_migrations" where migration_name = %s', (name,)).fetchone():
                continue
            conn.execute('insert into "_prisma_migrations" (id, migration_name) values (%s, %s)', (name, name))
            with psycopg.ClientCursor(conn) as raw:
                raw.execute(text)
            conn.execute('update "_prisma_migrations" set finished_at = now(), applied_steps_count = 1 where id = %s', (name,))
            yield name


def rails():
    """A session lock that is tried for, transactions for each migration, and the lock given back."""
    with psycopg.connect(autocommit=True) as conn:
        conn.execute("set standard_conforming_strings = on")
        conn.execute("set session timezone to 'UTC'")
        while not conn.execute("select pg_try_advisory_lock(%s::bigint)", (2053462845,)).fetchone()[0]:
            conn.execute("select pg_sleep(0.01)")
        try:
            conn.execute("create table if not exists schema_migrations (version varchar not null primary key)")
            done = {version for version, in conn.execute("select version from schema_migrations")}
            for name, text in MIGRATIONS:
                if name not in done:
                    with conn.transaction():
                        conn.execute(text, prepare=False)
                        conn.execute("insert into schema_migrations values (%s)", (name,))
                    yield name
        finally:
            show(*conn.execute("select pg_advisory_unlock(%s::bigint)", (2053462845,)).fetchone())


def golang():
    """A session lock for each migration, by the extended protocol, with an error in between."""
    with psycopg.connect(autocommit=True, prepare_threshold=0) as conn:
        for name, text in MIGRATIONS:
            conn.execute("select pg_advisory_lock(%s)", (815,))
            conn.execute("create table if not exists migrations_done (name text primary key)")
            try:
                conn.execute("insert into migrations_done values (%s)", (name,))
                with psycopg.ClientCursor(conn) as raw:
                    raw.execute(text)
                yield name
            except psycopg.errors.UniqueViolation:
                pass
            conn.execute("select pg_advisory_unlock(%s)", (815,))


for migrate in (alembic, prisma, rails, golang):
    step(migrate.__doc__.splitlines()[0])
    at_once(migrate)
