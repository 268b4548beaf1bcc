#!/usr/bin/env bash
# pg_dump and pg_restore: plain, custom and directory formats, two jobs at once, and the copy is the same again.
set -u
cd "$(mktemp -d)" || exit 1
trap 'rm -rf "$PWD"' EXIT
exec 2>&1
psql -XqAtc "select" || exit 1
number=0
step() { number=$((number + 1)); echo "[$number] $*"; }
sum() { grep -vE '^(\\(un)?restrict |-- (Dumped|Started|Completed))' | md5sum; }
run() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
tables() { run -c "select count(*), md5(string_agg(b::text, '' order by id)) from shop.big b" -c "select * from shop.small order by 1" -c "select nextval('shop.big_id_seq')"; }
wipe() { run -c "drop schema if exists shop cascade" -c "select lo_unlink(oid) from pg_largeobject_metadata" >/dev/null 2>&1; }

step "a schema with most kinds of object"
run <<'SQL'
create schema shop;
create type shop.colour as enum ('red', 'grün');
create domain shop.positive as int check (value > 0);
create table shop.big (id serial primary key, t text, b bytea, j jsonb, n numeric(20,4), at timestamptz default '2024-01-01Z', c shop.colour);
insert into shop.big (t, b, j, n, c) select 'Zeile ' || n || E'\t\\' || chr(8364), decode(md5(n::text), 'hex'), jsonb_build_object('n', n), n / 7.0, case n % 2 when 0 then 'red' else 'grün' end::shop.colour from generate_series(1, 10000) n;
create table shop.small (id int references shop.big, v text[], p shop.positive, g int generated always as (id * 2) stored);
insert into shop.small values (1, '{a,NULL,"b c"}', 5), (2, null, 7);
create index on shop.big (lower(t)) where n > 5;
create view shop.v as select id, t from shop.big where id < 10;
create materialized view shop.m as select count(*) from shop.big;
create function shop.f(int) returns int language plpgsql as $$ begin return $1 + 1; end $$;
create function shop.t() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger tr before insert on shop.big for each row execute function shop.t();
create table shop.part (id int, v text) partition by range (id);
create table shop.part1 partition of shop.part for values from (0) to (10);
insert into shop.part values (1, 'x');
comment on table shop.big is 'grösste';
select lo_from_bytea(4711, '\x0102');
SQL

step "plain dump"
pg_dump | sum
step "plain dump as INSERTs"
pg_dump --inserts --rows-per-insert=100 -t shop.small -t shop.part | sum
pg_dump --column-inserts -t 'shop.s*' | sum
step "schema only, data only"
pg_dump -s | sum
pg_dump -a | sum
step "one table, clean, create"
pg_dump -t shop.big --clean --if-exists --create | sed "s/$PGDATABASE/DB/g" | sum
step "custom format, listed"
pg_dump -Fc -f dump.custom && pg_restore -l dump.custom | grep -vE '^;' | sed -E 's/^[0-9]+; [0-9]+ [0-9]+ //' | sort | md5sum
step "directory format, two jobs"
pg_dump -Fd -j 2 -f dump.dir && ls dump.dir | wc -l
step "tar format"
pg_dump -Ft | pg_restore -f - | sum

step "plain dump restored"
pg_dump --clean --if-exists -f dump.sql && run -f dump.sql >/dev/null && tables
step "custom dump restored"
wipe
pg_restore -d "$PGDATABASE" dump.custom && tables
step "custom dump restored in one transaction"
wipe
pg_restore -1 -d "$PGDATABASE" dump.custom && tables
step "directory dump restored by four jobs"
wipe
pg_restore -d "$PGDATABASE" --clean --if-exists -j 4 dump.dir && tables
step "errors while restoring"
pg_restore -d "$PGDATABASE" -s -n shop dump.custom 2>&1 | grep -E 'error:|ignored' | sed 's/; [0-9]* [0-9]*/;/' | sort | uniq -c | md5sum
pg_restore -d "$PGDATABASE" -e -s -n shop dump.custom 2>&1 | tail -1
step "the copy dumps the same again"
wipe
pg_restore -d "$PGDATABASE" --clean --if-exists dump.custom && pg_dump | sum
step "nothing of its settings is left for the next client"
for _ in 1 2 3; do run -c "show search_path" -c "show row_security" -c "show synchronize_seqscans"; done | sort | uniq -c
