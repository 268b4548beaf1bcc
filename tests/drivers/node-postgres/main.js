// node-postgres: text and binary, named queries, pg-cursor, pg-query-stream, pool, pipelining, cancel, notifications.
'use strict';

const { Client, Pool, Query } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');
const { step, show, fails, later, main, TYPES } = require('../common/steps.js');

async function connect(settings) {
  const client = new Client(settings);
  client.on('error', () => {});
  await client.connect();
  return client;
}

const rows = async (client, text, values) => (await client.query({ text, values, rowMode: 'array' })).rows;

async function queries(client) {
  step('parameters');
  show(...await rows(client, 'select $1::int + 1, $2::text, $3::bytea, $4::float8, $5::text, $6::jsonb, $7::int[]',
    [41, 'Grüße 🐘', Buffer.from([0, 255]), 0.1, null, { a: [1, null] }, [1, null, 3]]));
  step('many types');
  const result = await client.query(TYPES);
  for (const field of result.fields) show(field.name, field.dataTypeID, field.dataTypeSize, field.dataTypeModifier, field.format, result.rows[0][field.name]);
  step('many types as parameters of an extended query, binary results');
  const binary = await client.query({ text: 'select $1::int, $2::int8, $3::float8, $4::bool, $5::text, $6::timestamptz', values: [1, '2', 3.5, true, 'ü', '2024-02-29 12:00Z'], binary: true });
  show(Object.values(binary.rows[0]), binary.fields.map((field) => field.format));
  step('several statements in one query');
  const several = await client.query('select 1 as a; create temp table t0 (n int); insert into t0 values (1), (2); select * from t0; drop table t0');
  for (const one of several) show(one.command, one.rowCount, one.rows);
  show((await client.query('')).command, (await client.query('-- nothing')).rowCount);
  step('named queries, reused, and refused with another text');
  for (let n = 0; n < 10; n++) show((await client.query({ name: 'double', text: 'select $1::int * 2 as d', values: [n] })).rows[0].d);
  await fails(client.query({ name: 'double', text: 'select $1::int * 3 as d', values: [1] }));
  step('a hundred queries queued at once');
  show((await Promise.all(Array.from({ length: 100 }, (_, n) => client.query('select $1::int as n', [n])))).reduce((sum, r) => sum + r.rows[0].n, 0));
}

async function changes(client) {
  step('tables, command tags');
  for (const text of ['create table item (id int primary key, name text not null unique, data jsonb)', "insert into item select n, 'item ' || n from generate_series(1, 100) n",
    "update item set name = name || '!' where id <= 10", 'delete from item where id > 90', 'select * from item where id > 1000', 'explain (costs off) select 1 where false']) {
    const result = await client.query(text);
    show(result.command, result.rowCount, result.oid, result.rows);
  }
  show((await client.query('insert into item values ($1, $2, $3) returning *', [200, 'r', { k: 1 }])).rows);
}

async function errors(client) {
  step('errors outside a transaction, simple and extended');
  for (const text of ['select 1/0', 'selec 1', 'select * from nowhere', "insert into item values (1, 'x')", 'insert into item (id) values (5)', "select 'x'::int"]) {
    await fails(client.query(text));
    await fails(client.query({ text, values: [], queryMode: 'extended' }));
  }
  await fails(client.query('select 1/$1::int', [0]));
  await fails(client.query('select $1::int', ['x']));
  await fails(client.query('select $1::int, $2::int', [1]));
  await fails(client.query({ name: 'never', text: 'selec 1' }));
  await fails(client.query({ name: 'divides', text: 'select 1/$1::int as d', values: [0] }));
  show((await client.query({ name: 'divides', text: 'select 1/$1::int as d', values: [1] })).rows);
  step('errors in a transaction, savepoints');
  await client.query('begin');
  await client.query("insert into item values (4000, 'kept')");
  await client.query('savepoint a');
  await fails(client.query("insert into item values ($1, 'again')", [4000]));
  await fails(client.query('select 1'));
  await fails(client.query({ name: 'in aborted', text: 'select 2' }));
  await client.query('rollback to a');
  show((await client.query({ name: 'in aborted', text: 'select 2 as two' })).rows);
  await client.query('commit');
  await client.query('begin');
  await fails(client.query('select 1/0'));
  show((await client.query('commit')).command, (await client.query('select count(*) from item where id = 4000')).rows);
  step('an error in the middle of several statements');
  await fails(client.query("insert into item values (4001, 'a'); select 1/0; insert into item values (4002, 'b')"));
  show(...await rows(client, 'select count(*) from item where id > 4000'));
  step('notices');
  const seen = (notice) => show(notice.severity, notice.code, notice.message, notice.routine);
  client.on('notice', seen);
  await client.query("do $$ begin raise notice 'hello %', 'ü'; raise warning 'careful'; end $$");
  await client.query('drop table if exists nowhere');
  client.off('notice', seen);
}

async function transactions(client) {
  step('isolation levels');
  for (const level of ['read committed', 'repeatable read', 'serializable read only deferrable']) {
    await client.query(`begin isolation level ${level}`);
    show(...await rows(client, "select current_setting('transaction_isolation'), current_setting('transaction_read_only')"));
    await client.query('rollback');
  }
  step('two connections: uncommitted is unseen, committed is seen; 40001');
  const other = await connect();
  const count = async () => (await rows(other, 'select count(*) from item where id = 5000'))[0];
  await client.query('begin');
  await client.query("insert into item values (5000, 'mine')");
  show(await count());
  await client.query('commit');
  show(await count());
  await client.query('begin isolation level repeatable read');
  await client.query('select 1 from item limit 1');
  await other.query("update item set name = 'theirs' where id = 5000");
  await fails(client.query("update item set name = 'mine again' where id = 5000"));
  await client.query('rollback');
  step('one waits for the other');
  await client.query('begin');
  await client.query("update item set name = 'first' where id = 5000");
  const waiting = other.query("update item set name = name || ', second' where id = 5000 returning name");
  await later(100);
  await client.query('commit');
  show((await waiting).rows);
  await other.end();
}

async function big(client) {
  step('50000 rows; 5 MB there and back');
  const many = await rows(client, "select n, 'row ' || n, n * 0.5 from generate_series(1, 50000) n");
  show(many.length, many[0], many[49999], many.reduce((sum, row) => sum + row[0], 0));
  const text = '0123456789äöüßé'.repeat(250000);
  show((await rows(client, 'select $1::text', [text]))[0][0] === text, text.length);
  show(...await rows(client, "select repeat('x', 5000000)"));
}

async function cursors(client) {
  step('pg-cursor: read in pieces, closed half-way, read to the end');
  const cursor = client.query(new Cursor("select n, 'x' || n as t from generate_series(1, $1::int) n", [100]));
  show(await cursor.read(2), (await cursor.read(50)).length);
  await cursor.close();
  const whole = client.query(new Cursor('select n from generate_series(1, 30) n', [], { rowMode: 'array' }));
  const counts = [];
  for (let some = await whole.read(12); some.length; some = await whole.read(12)) counts.push(some.length);
  show(counts);
  await whole.close();
  step('queries queued behind a cursor; errors in a cursor');
  const behind = client.query(new Cursor('select n from generate_series(1, 10) n'));
  const queued = client.query('select 1 as queued');
  show((await behind.read(3)).length);
  await behind.close();
  show((await queued).rows);
  const wrong = client.query(new Cursor('select 10 / (15 - n) as d from generate_series(1, 20) n'));
  show((await wrong.read(3)).length);
  await fails(async () => { for (;;) { const some = await wrong.read(5); show(some.length); } });
  const unknown = client.query(new Cursor('select * from nowhere'));
  await fails(unknown.read(1));
  show((await client.query('select 3 as after')).rows);
  step('a cursor in a transaction, another query in between is queued');
  await client.query('begin');
  const inside = client.query(new Cursor('select n from generate_series(1, 5) n'));
  show(await inside.read(2));
  await inside.close();
  await client.query('commit');
  step('pg-query-stream: all rows, and destroyed half-way');
  let sum = 0;
  for await (const row of client.query(new QueryStream('select n from generate_series(1, $1::int) n', [5000], { batchSize: 300 }))) sum += row.n;
  show(sum);
  const stream = client.query(new QueryStream("select repeat('x', 1000) from generate_series(1, 10000)", [], { batchSize: 50 }));
  for await (const row of stream) { show(Object.values(row)[0].length); break; }
  show((await client.query("select 'still in step' as s")).rows);
  await fails(async () => { for await (const row of client.query(new QueryStream('select 10 / (150 - n) as d from generate_series(1, 200) n', [], { batchSize: 100 }))) sum += row.d; });
  step('DECLARE, FETCH, MOVE');
  await client.query('begin');
  await client.query('declare c scroll cursor for select n from generate_series(1, 20) n');
  for (const text of ['fetch 2 from c', 'move 5 in c', 'fetch backward 1 from c', 'close c']) {
    const result = await client.query(text);
    show(result.command, result.rowCount, result.rows);
  }
  await client.query('commit');
}

async function pipelining(client) {
  step('pipelining: many groups on the way, an error among them');
  const piped = await connect({ pipeline: true });
  const results = await Promise.allSettled(Array.from({ length: 150 }, (_, n) => piped.query('select 100 / ($1::int - 75) as q', [n])));
  show(results.filter((r) => r.status === 'fulfilled').length, results[75].reason && results[75].reason.code, results[80].value.rows);
  const mixed = await Promise.allSettled(['begin', 'insert into item values (6000, $$piped$$)', 'select 1/0', 'select 1', 'rollback', 'select count(*) from item where id = 6000'].map((text) => piped.query(text)));
  show(mixed.map((r) => (r.value ? r.value.command : r.reason.code)));
  const named = await Promise.all(Array.from({ length: 40 }, (_, n) => piped.query({ name: `n${n % 4}`, text: `select $1::int + ${n % 4} as s`, values: [n] })));
  show(named.reduce((sum, r) => sum + r.rows[0].s, 0));
  await piped.end();
}

async function cancels(client) {
  step('cancel by a second connection; query_timeout; statement_timeout');
  const query = new Query('select pg_sleep(30)');
  const ended = new Promise((resolve, reject) => { query.on('error', reject); query.on('end', resolve); });
  client.query(query);
  setTimeout(() => new Client().cancel(client, query), 300);
  await fails(ended);
  show((await client.query("select 'goes on' as s")).rows);
  const impatient = await connect({ statement_timeout: 200 });
  await fails(impatient.query('select pg_sleep(30)'));
  show((await impatient.query('show statement_timeout')).rows);
  await impatient.end();
}

async function session() {
  step('startup settings');
  const client = await connect({ application_name: 'node ü', options: '-c work_mem=5MB -c search_path=public,pg_catalog', lock_timeout: 1234, idle_in_transaction_session_timeout: 60000 });
  show(...await rows(client, "select current_setting('work_mem'), current_setting('search_path'), current_setting('lock_timeout'), current_setting('application_name')"));
  step('SET lasts, RESET; SET in a transaction');
  await client.query("set time zone 'Asia/Tokyo'; set work_mem = '7MB'");
  show(...await rows(client, "select current_setting('work_mem'), '2024-02-29 12:00Z'::timestamptz::text"));
  await client.query('reset all');
  show(...await rows(client, "select current_setting('work_mem'), current_setting('timezone'), set_config('app.tenant', 't1', false)"));
  show(...await rows(client, "select current_setting('app.tenant')"));
  step('temporary tables, functions, sequences');
  await client.query('create temp table mine as select generate_series(1, 5) n; create temp sequence s');
  await client.query("create or replace function pg_temp.f(int) returns int language sql as 'select $1 * 2'; select pg_temp.f(2); drop function if exists pg_temp.f(int)");
  show(...await rows(client, "select sum(n), (select nextval('s')), (select lastval()) from mine"));
  step('advisory locks');
  await client.query('select pg_advisory_lock(4711)');
  const other = await connect();
  show(...await rows(other, 'select pg_try_advisory_lock(4711)'));
  await client.query('select pg_advisory_unlock_all()');
  show(...await rows(other, 'select pg_try_advisory_lock(4711)'));
  await other.end();
  step('LISTEN and NOTIFY');
  const heard = [];
  client.on('notification', (message) => heard.push([message.channel, message.payload]));
  await client.query('listen news');
  await client.query("notify news, 'one'");
  await client.query("select pg_notify('news', $1)", ['two ü']);
  await client.query('select 1');
  show(heard);
  step('DEALLOCATE under a named query');
  await client.query({ name: 'q', text: 'select 1 as one' });
  await client.query('deallocate all');
  await fails(client.query({ name: 'q', text: 'select 1 as one' }));
  await client.end();
}

async function connections() {
  step('20 connections; a pool of three');
  for (let n = 0; n < 20; n++) {
    const client = await connect();
    if ((await rows(client, 'select $1::int', [n]))[0][0] !== n) show('wrong', n);
    await client.end();
  }
  const pool = new Pool({ max: 3 });
  show((await Promise.all(Array.from({ length: 60 }, (_, n) => pool.query('select $1::int as n', [n])))).reduce((sum, r) => sum + r.rows[0].n, 0));
  await pool.end();
  step('destroyed without Terminate in a transaction: rolled back');
  const client = await connect();
  await client.query('begin');
  await client.query("insert into item values (9000, 'gone'); select pg_advisory_xact_lock(12)");
  client.connection.stream.destroy();
  await fails(client.query('select 1'));
  const after = await connect();
  await after.query('select pg_advisory_lock(12)');
  show(...await rows(after, 'select count(*) from item where id = 9000'));
  await after.end();
  step('a database that is not there');
  await fails(connect({ database: 'no such' }));
}

let client;
main(
  async () => { client = await connect(); },
  ...[queries, changes, errors, transactions, big, cursors, pipelining, cancels].map((part) => () => part(client)),
  () => client.end(),
  session,
  connections,
);
