#!/usr/bin/env bash
# psql: meta commands, simple queries, \bind, \gdesc, COPY both ways, cursors by FETCH_COUNT, Ctrl-C, variables,
# reconnecting, LISTEN, errors with all their fields. Its notices and errors go to the same stream as its results.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$(mktemp -d)" || exit 1
trap 'rm -rf "$PWD"' EXIT
exec 2>&1
psql -XqAtc "select" || exit 1
number=0
step() { number=$((number + 1)); echo "[$number] $*"; }
run() { psql -Xq -v ON_ERROR_STOP=0 -v VERBOSITY=verbose -P pager=off "$@"; }

step "a table, comments, \\d"
run <<'SQL'
create table item (id int primary key, name text not null default 'Grüße', price numeric(10,2), tags text[], made timestamptz);
comment on table item is 'things 🐘';
create index item_name on item (lower(name));
create view cheap as select * from item where price < 10;
insert into item select n, 'item ' || n, n * 1.25, array['a', null, 'tag ' || n], '2024-01-01 00:00Z'::timestamptz + n * interval '1 day' from generate_series(1, 20) n;
\d item
\d+ cheap
\dt
\di
\dn
\df *nothing*
\l template0
SQL

step "command tags"
psql -X -c "update item set price = price where id < 4" -c "delete from item where id > 18" -c "select 1 where false" -c "begin" -c "rollback" -c "create table gone ()" -c "drop table gone"

step "several statements in one query"
psql -X -c "select 1 as a; select 2 as b, 'x' as c; update item set price = 1 where id = 1; select 3 as d"

step "several statements, an error in the middle rolls back"
run -c "insert into item values (100); insert into item values (100); insert into item values (101)"
run -Atc "select count(*) from item where id >= 100"

step "values of many types, aligned and expanded"
run -x -f "$here/../common/types.sql"

step "output formats"
run --csv -c "select id, name, tags from item where id < 4 order by id"
run -H -c "select null as n, 'a<b' as h"
run -At -P null=NULL -c "select null, ''"

step "errors in verbose form"
run <<'SQL'
select 1/0;
selec 1;
select * from nowhere;
insert into item (id) values (1);
insert into item (id, name) values (200, null);
select 'x'::int;
do $$ begin raise exception 'mine' using errcode = 'AB123', detail = 'details', hint = 'a hint', constraint = 'c', table = 't', schema = 's', column = 'col', datatype = 'dt'; end $$;
SQL

step "an aborted transaction and savepoints"
run <<'SQL'
begin;
select 1/0;
select 1;
commit;
begin;
savepoint a;
select 1/0;
rollback to a;
insert into item (id) values (300);
commit;
select name from item where id = 300;
SQL

step "ON_ERROR_ROLLBACK and AUTOCOMMIT off"
run <<'SQL'
\set ON_ERROR_ROLLBACK on
begin;
insert into item (id) values (301);
insert into item (id) values (301);
insert into item (id) values (302);
commit;
\set AUTOCOMMIT off
insert into item (id) values (303);
rollback;
select id from item where id > 300 order by id;
commit;
SQL

step "the status in the prompt's variables"
run <<'SQL'
select 1/0;
\echo :ERROR :SQLSTATE :ROW_COUNT :LAST_ERROR_MESSAGE
select * from item limit 3 \g /dev/null
\echo :ERROR :SQLSTATE :ROW_COUNT
\if :{?SERVER_VERSION_NUM} \echo known \endif
SQL

step "\\gset, \\gexec, \\gdesc, \\crosstabview"
run <<'SQL'
select 7 as seven, 'q''x' as quoted \gset
select :seven, :'quoted';
select 'select ' || n from generate_series(1, 3) n \gexec
select 1 as i, 'x' as t, null::numeric(5,1) as n, now() as at \gdesc
select v, h, count(*) from (values (1,'a'),(1,'b'),(2,'a')) x(v, h) group by 1, 2 \crosstabview
SQL

step "\\copy out and in, text, csv, binary"
run <<'SQL'
\copy item to 'out.txt'
\copy (select * from item order by id) to 'out.csv' with (format csv, header)
\copy item to 'out.bin' with (format binary)
create table again (like item);
\copy again from 'out.txt'
\copy again from 'out.csv' with (format csv, header)
\copy again from 'out.bin' with (format binary)
select count(*), count(distinct again.*) from again;
SQL
wc -lc out.txt out.csv; md5sum out.txt out.csv out.bin

step "COPY from the script itself, and one that fails half-way"
run <<'SQL'
copy item (id, name) from stdin;
400	four hundred
401	\N
402	never
\.
copy item (id, name) from stdin;
403	tab\there
404	ünï
\.
select id, name from item where id >= 400 order by id;
SQL

step "a large COPY both ways"
run -c "create table numbers (n int, t text)"
seq 1 50000 | sed 's/.*/&\tnumber &/' | psql -X -c "\\copy numbers from stdin"
run -c "copy numbers to stdout" | md5sum

step "copy to a program that stops reading"
run -c "copy (select repeat('x', 100) from generate_series(1, 200000)) to stdout" | head -c 1000 | wc -c

step "50000 rows, and by cursor (FETCH_COUNT)"
run -Atc "select n, t from numbers order by n" | md5sum
run -At -v FETCH_COUNT=1000 -c "select n, t from numbers order by n" | md5sum

step "one value of 5 MB"
run -Atc "select repeat('0123456789', 500000)" | md5sum

step "\\watch"
timeout -s INT 0.8 psql -XqAt <<'SQL' | head -2
select 'watched' \watch 0.2
SQL

step "Ctrl-C cancels"
timeout -s INT 0.7 psql -Xq -v VERBOSITY=verbose -c "select pg_sleep(30)"

step "settings that last, and RESET"
run -At <<'SQL'
show work_mem;
set work_mem = '7MB';
set time zone 'Asia/Tokyo';
select current_setting('work_mem'), '2024-02-29 12:00Z'::timestamptz;
reset all;
show work_mem;
begin;
set local work_mem = '9MB';
show work_mem;
rollback;
show work_mem;
SQL

step "startup settings"
PGOPTIONS='-c work_mem=5MB -c app.tenant=t\ 1' PGAPPNAME='psql test' PGTZ=America/New_York run -At <<'SQL'
show work_mem;
select current_setting('app.tenant'), current_setting('application_name'), '2024-02-29 12:00Z'::timestamptz;
SQL
PGOPTIONS='-c work_mem=nonsense' run -Atc "select 1" 2>&1 | sed 's/^.*FATAL:/FATAL:/'

step "PREPARE, EXECUTE, DEALLOCATE"
run -At <<'SQL'
prepare two (int, text) as select $1 + 1, $2 || '!';
execute two (1, 'a');
execute two (2, 'b');
select name, parameter_types from pg_prepared_statements;
deallocate two;
execute two (3, 'c');
discard all;
SQL

step "temporary tables"
run -At <<'SQL'
create temp table mine (n int) on commit preserve rows;
insert into mine values (1), (2);
select sum(n) from mine;
create or replace function pg_temp.f(int) returns int language sql as 'select $1 * 2'; select pg_temp.f(21); drop function pg_temp.f(int);
SQL
run -Atc "select count(*) from pg_class where relname = 'mine' and pg_table_is_visible(oid)"

step "LISTEN, NOTIFY"
run <<'SQL' | sed 's/PID [0-9]*/PID n/'
listen news;
notify news, 'first';
begin;
notify news, 'second';
notify news, 'second';
rollback;
select pg_notify('news', 'third');
select 1 as done;
SQL

step "advisory locks"
run -At <<'SQL'
select pg_advisory_lock(4711);
select pg_try_advisory_lock(4711);
select count(*) from pg_locks where locktype = 'advisory' and objid = 4711;
select pg_advisory_unlock_all();
SQL

step "cursors: WITH HOLD, SCROLL, MOVE"
run -At <<'SQL'
begin;
declare c scroll cursor with hold for select id from item order by id;
fetch 2 from c;
commit;
fetch 2 from c;
move forward 5 in c;
fetch backward 1 from c;
close c;
fetch 1 from c;
SQL

step "isolation levels"
run -At <<'SQL'
begin isolation level serializable read only deferrable;
show transaction_isolation;
insert into item (id) values (500);
rollback;
set session characteristics as transaction isolation level repeatable read;
begin;
show transaction_isolation;
commit;
SQL

step "notices"
run <<'SQL'
do $$ begin raise notice 'hello %', 'ü'; raise warning 'careful'; end $$;
drop table if exists nowhere;
set client_min_messages = error;
drop table if exists nowhere;
SQL

step "two-phase commit"
# Names of prepared transactions are the whole cluster's.
run -At -v gid="psql $PGDATABASE" <<'SQL'
begin; insert into item (id) values (600); prepare transaction :'gid';
select count(*) from pg_prepared_xacts where database = current_database();
commit prepared :'gid';
select id from item where id = 600;
rollback prepared 'never prepared';
SQL

step "\\c keeps going, 20 connections"
for n in $(seq 20); do echo '\c'; echo "select $n;"; done | run -At | grep -v '^You are' | tr '\n' ' '
echo

step "a database that is not there"
run -d "no such" -Atc "select 1" 2>&1 | sed 's/^.*FATAL:/FATAL:/'

step "large objects"
echo 'large object' > lo.txt
run -At <<'SQL'
\lo_import lo.txt
select encode(lo_get(:LASTOID), 'escape');
\lo_export :LASTOID lo.out
\lo_unlink :LASTOID
SQL
cat lo.out

step "a client killed in a transaction leaves nothing"
mkfifo input
psql -XqAt <input >/dev/null &
victim=$!
exec 9>input
echo "begin; insert into item (id) values (700); select pg_advisory_xact_lock(99);" >&9
for _ in $(seq 50); do
  [ "$(run -Atc "select count(*) from pg_locks where locktype = 'advisory' and objid = 99")" = 1 ] && break
  sleep 0.05
done
disown $victim
kill -9 $victim
exec 9>&-
run -Atc "select pg_advisory_lock(99)" -c "select count(*) from item where id = 700"
