// postgres.js: Flush without Sync, unnamed and named statements, deep pipelines on one connection, begin and savepoint,
// cursors, COPY through streams, its retries on the error's routine, cancel, listen.
'use strict';

const { Readable } = require('stream');
const { pipeline } = require('stream/promises');
const postgres = require('postgres');
const { step, show, fails, later, main, TYPES } = require('../common/steps.js');

const notices = [];
const connect = (settings) => postgres({ max: 1, onnotice: (notice) => notices.push([notice.severity, notice.code, notice.message]), ...settings });
const plain = (rows) => rows.map((row) => ({ ...row }));

async function queries(sql) {
  step('parameters, tagged templates');
  show(...(await sql`select ${41}::int + 1, ${'Grüße 🐘'}::text, ${Buffer.from([0, 255])}::bytea, ${0.1}::float8, ${null}::text, ${sql.json({ a: [1, null] })}::jsonb, ${[1, 2]}::int[]`.values())[0]);
  step('many types: unsafe (simple) and prepared');
  for (const options of [undefined, { prepare: true }]) {
    const result = await sql.unsafe(TYPES, [], options);
    for (const column of result.columns) show(column.name, column.type, result[0][column.name]);
  }
  step('several statements in one simple query');
  const several = await sql.unsafe('select 1 as a; create temp table t0 (n int); insert into t0 values (1), (2); select * from t0; drop table t0').simple();
  for (const one of several) show(one.command, one.count, plain(one));
  step('unsafe with parameters: an unnamed statement each time');
  for (let n = 0; n < 5; n++) show((await sql.unsafe('select $1::int * 2 as d', [n]))[0].d);
  step('prepared by default: the same template ten times');
  for (let n = 0; n < 10; n++) if ((await sql`select ${n}::int * 3 as t`)[0].t !== n * 3) show('wrong', n);
  step('describe, raw, values, forEach, dynamic parts');
  const described = await sql`select ${1}::int as a, ${'x'}::text as b`.describe();
  show(described.types, described.columns.map((column) => [column.name, column.type]));
  show((await sql`select 1 as a, 'x' as b`.raw())[0]);
  await sql`select n from generate_series(1, 3) n`.forEach((row) => show(row.n));
  show(plain(await sql`select ${sql(['a', 'b'])} from (values (1, 2)) v(a, b) where a in ${sql([1, 2])}`));
  step('200 queries at once on one connection, prepared and unnamed mixed');
  const many = await Promise.all(Array.from({ length: 200 }, (_, n) => (n % 3 ? sql`select ${n}::int as n` : sql.unsafe('select $1::int as n', [n]))));
  show(many.reduce((sum, rows) => sum + rows[0].n, 0));
  step('200 queries at once, errors among them');
  const settled = await Promise.allSettled(Array.from({ length: 200 }, (_, n) => sql`select 100 / (${n}::int % 50 - 7) as q`));
  show(settled.filter((r) => r.status === 'fulfilled').length, [...new Set(settled.filter((r) => r.reason).map((r) => r.reason.code))]);
}

async function changes(sql) {
  step('tables, command tags, helpers');
  for (const text of ['create table item (id int primary key, name text not null unique, data jsonb)', "insert into item (id, name) select n, 'item ' || n from generate_series(1, 100) n",
    "update item set name = name || '!' where id <= 10", 'delete from item where id > 90', 'select * from item where id > 1000']) {
    const result = await sql.unsafe(text);
    show(result.command, result.count, result.length);
  }
  show(plain(await sql`insert into item ${sql([{ id: 200, name: 'r', data: { k: 1 } }, { id: 201, name: 's', data: null }])} returning *`));
  show((await sql`update item set ${sql({ name: 'new name' }, 'name')} where id = 200`).count);
}

async function errors(sql) {
  step('errors outside a transaction: simple, unnamed, prepared');
  for (const text of ['select 1/0', 'selec 1', 'select * from nowhere', "insert into item values (1, 'x')", 'insert into item (id) values (5)', "select 'x'::int"]) {
    await fails(sql.unsafe(text).simple());
    await fails(sql.unsafe(text, []));
    await fails(sql.unsafe(text, [], { prepare: true }));
  }
  await fails(sql`select 1/${0}::int`);
  await fails(sql`select ${'x'}::int`);
  await fails(sql`select ${undefined}::int`);
  show((await sql`select 'goes on' as s`)[0].s);
  step('an error whose types the driver then guesses again (transformAssignedExpr)');
  await fails(sql`insert into item (id, name, data) values (${300}, ${'x'}, ${5}::int)`);
  step('notices');
  notices.length = 0;
  await sql.unsafe("do $$ begin raise notice 'hello %', 'ü'; raise warning 'careful'; end $$");
  await sql`drop table if exists nowhere`;
  show(notices);
}

async function transactions(sql) {
  step('begin, savepoints');
  show(await sql.begin(async (tx) => {
    await tx`insert into item (id, name) values (4000, 'kept')`;
    await fails(tx.savepoint(async (inner) => {
      await inner`insert into item (id, name) values (4001, 'lost')`;
      await inner`insert into item (id, name) values (${4000}, 'again')`;
    }));
    await tx.savepoint('named', (inner) => inner`insert into item (id, name) values (4002, 'kept too')`);
    return 'committed';
  }));
  show(plain(await sql`select id, name from item where id >= 4000 order by id`));
  await fails(sql.begin(async (tx) => { await tx`insert into item (id, name) values (4003, 'lost')`; await tx`select 1/0`; }));
  await fails(sql.begin(async (tx) => { await tx`insert into item (id, name) values (4004, 'lost')`; throw new Error('changed my mind'); }));
  show((await sql`select count(*)::int from item where id >= 4000`)[0].count);
  step('a transaction as an array of queries, pipelined');
  show((await sql.begin((tx) => Array.from({ length: 30 }, (_, n) => tx`insert into item (id, name) values (${5000 + n}, ${`piped ${n}`}) returning id`))).length);
  await fails(sql.begin((tx) => [tx`insert into item (id, name) values (5100, 'lost')`, tx`select 1/0`, tx`insert into item (id, name) values (5101, 'lost')`]));
  show((await sql`select count(*)::int from item where id >= 5000`)[0].count);
  step('isolation levels, read only');
  for (const level of ['isolation level repeatable read', 'isolation level serializable read only deferrable', 'read only']) {
    await sql.begin(level, async (tx) => show(...(await tx`select current_setting('transaction_isolation'), current_setting('transaction_read_only')`.values())[0]));
  }
  await fails(sql.begin('read only', (tx) => tx`delete from item`));
  step('two connections: uncommitted is unseen, committed is seen; 40001');
  const other = connect();
  const count = async () => (await other`select count(*)::int from item where id = 6000`)[0].count;
  await sql.begin(async (tx) => { await tx`insert into item (id, name) values (6000, 'mine')`; show(await count()); });
  show(await count());
  await fails(sql.begin('isolation level repeatable read', async (tx) => {
    await tx`select 1 from item limit 1`;
    await other`update item set name = 'theirs' where id = 6000`;
    await tx`update item set name = 'mine again' where id = 6000`;
  }));
  step('100 commits, counted by the other connection');
  for (let n = 0; n < 100; n++) await sql.begin((tx) => tx`update item set data = ${sql.json({ n })} where id = 6000`);
  show(plain(await other`select data from item where id = 6000`));
  step('the result type changes under a prepared statement (retried by the driver)');
  await sql`create table shape (a int)`;
  await sql`insert into shape values (1)`;
  const read = () => sql`select * from shape`;
  show(plain(await read()));
  await other`alter table shape add b text default 'new'`;
  show(plain(await read()));
  await other.end();
}

async function big(sql) {
  step('50000 rows; 5 MB there and back');
  const rows = await sql`select n, 'row ' || n as t, n * 0.5 as h from generate_series(1, 50000) n`;
  show(rows.length, rows[0], rows[49999], rows.reduce((sum, row) => sum + row.n, 0));
  const text = '0123456789äöüßé'.repeat(250000);
  show((await sql`select ${text}::text as t`)[0].t === text, text.length);
  show((await sql`select repeat('x', 5000000) as t`)[0].t);
}

async function cursors(sql) {
  step('cursors: awaited in pieces, iterated, ended early, of one row');
  const sizes = [];
  await sql`select n from generate_series(1, 100) n`.cursor(30, (rows) => { sizes.push(rows.length); });
  show(sizes);
  let sum = 0;
  for await (const rows of sql`select n from generate_series(1, ${50}::int) n`.cursor(20)) sum += rows.reduce((s, row) => s + row.n, 0);
  show(sum);
  for await (const [row] of sql`select n from generate_series(1, 100) n`.cursor()) { sum += row.n; if (row.n === 10) break; }
  show(sum);
  await sql`select n from generate_series(1, 100) n`.cursor(10, (rows) => { sizes.push(rows[0].n); return rows[0].n > 20 ? sql.CLOSE : undefined; });
  show(sizes);
  step('a cursor that fails half-way; one in a transaction');
  await fails(sql`select 10 / (15 - n) as d from generate_series(1, 20) n`.cursor(5, (rows) => show(rows.length)));
  show(await sql.begin(async (tx) => { let all = 0; for await (const rows of tx`select n from generate_series(1, 25) n`.cursor(10)) all += rows.length; return all; }));
  show((await sql`select 'still in step' as s`)[0].s);
}

async function copies(sql) {
  step('COPY in: a stream, ended; then the CopyFail that comes too late');
  await pipeline(Readable.from(Array.from({ length: 2000 }, (_, n) => `${10000 + n}\tcöpy ${n}\n`)), await sql`copy item (id, name) from stdin`.writable());
  show((await sql`select count(*)::int from item where id >= 10000`)[0].count);
  step('COPY out: a stream');
  for (const form of ['text', 'csv', 'binary']) show(await copied(sql, `copy (select id, name from item where id < 10500 order by id) to stdout (format ${form})`));
  // The driver may leave its socket paused after a COPY larger than the stream's buffer, so not on the shared connection.
  const large = connect();
  show(await copied(large, 'copy (select id, name from item order by id) to stdout'));
  await large.end({ timeout: 0 });
  step('COPY in fails half-way: bad data, destroyed by the client');
  const failing = connect();
  // The driver never tells its stream that the COPY failed, so nothing waits for that stream's end.
  const bad = await failing`copy item (id, name) from stdin`.writable();
  bad.on('error', () => {});
  bad.end('20000\ta\nbad\tb\n20001\tc\n');
  show((await failing`select 'goes on' as s`)[0].s);
  const writable = await failing`copy item (id, name) from stdin`.writable();
  writable.on('error', () => {});
  writable.write('20000\tx\n');
  writable.destroy(new Error('changed my mind'));
  await later(50);
  show((await failing`select count(*)::int from item where id >= 20000`)[0].count);
  await failing.end({ timeout: 1 });
}

async function copied(sql, text) {
  const blocks = [];
  for await (const block of await sql.unsafe(text).readable()) blocks.push(block);
  return Buffer.concat(blocks);
}

async function cancels(sql) {
  step('cancel; a query queued behind it goes on');
  const query = sql`select pg_sleep(30)`;
  const behind = later(100).then(() => sql`select 'behind' as s`);
  setTimeout(() => query.cancel(), 300);
  await fails(query);
  show((await behind)[0].s);
  step('statement_timeout');
  await fails(sql.begin(async (tx) => { await tx`set local statement_timeout = 100`; await tx`select pg_sleep(30)`; }));
}

async function session() {
  step('startup settings');
  const sql = connect({ connection: { application_name: 'postgres.js', TimeZone: 'Asia/Tokyo', work_mem: '5MB', search_path: 'public, pg_catalog', statement_timeout: 20000 } });
  const settings = async () => show(...(await sql`select current_setting('timezone'), current_setting('work_mem'), current_setting('search_path'), current_setting('statement_timeout'), current_setting('application_name')`.values())[0]);
  await settings();
  show(sql.parameters.TimeZone, sql.parameters.server_encoding, sql.parameters.standard_conforming_strings);
  step('SET lasts and is reported, RESET ALL and DISCARD ALL return to the startup values');
  await sql`set time zone 'UTC'`;
  await sql`set work_mem = '9MB'`;
  show(sql.parameters.TimeZone);
  await settings();
  await sql`reset all`;
  await settings();
  await sql`create temp table mine as select generate_series(1, 5) n`;
  show((await sql`select sum(n)::int from mine`)[0].sum);
  await sql.unsafe('discard all').simple();
  await fails(sql`select sum(n) from mine`);
  await settings();
  step('advisory locks by two connections');
  const other = connect();
  await sql`select pg_advisory_lock(4711)`;
  show((await other`select pg_try_advisory_lock(4711) as got`)[0].got);
  await sql`select pg_advisory_unlock(4711)`;
  show((await other`select pg_try_advisory_lock(4711) as got`)[0].got);
  await other.end();
  await sql.end();
  step('without prepared statements');
  const unnamed = connect({ prepare: false });
  show((await Promise.all(Array.from({ length: 50 }, (_, n) => unnamed`select ${n}::int as n`))).reduce((sum, rows) => sum + rows[0].n, 0));
  await unnamed.end();
}

async function listens() {
  step('LISTEN (on a connection of its own) and NOTIFY');
  const sql = connect();
  const heard = [];
  const { unlisten } = await sql.listen('news', (payload) => heard.push(payload));
  await sql.notify('news', 'one');
  await sql.begin(async (tx) => { await tx`select pg_notify('news', ${'two ü'})`; });
  for (let n = 0; n < 100 && heard.length < 2; n++) await later(50);
  show(heard);
  await unlisten();
  await sql.end();
}

async function connections() {
  step('20 connections after each other; a pool of three; reserve');
  for (let n = 0; n < 20; n++) {
    const sql = connect();
    if ((await sql`select ${n}::int as n`)[0].n !== n) show('wrong', n);
    await sql.end();
  }
  const pool = connect({ max: 3 });
  show((await Promise.all(Array.from({ length: 90 }, (_, n) => pool`select ${n}::int as n`))).reduce((sum, rows) => sum + rows[0].n, 0));
  const reserved = await pool.reserve();
  show((await reserved`select 1 as one`)[0].one);
  reserved.release();
  await pool.end();
  step('ended at once in a transaction: rolled back');
  const sql = connect();
  const lost = sql.begin(async (tx) => {
    await tx`insert into item (id, name) values (9000, 'gone')`;
    await tx`select pg_advisory_xact_lock(12)`;
    await tx`select pg_sleep(0.5)`;
    return tx`select 1`;
  });
  await later(200);
  await Promise.all([fails(lost), sql.end({ timeout: 0 })]);
  const after = connect();
  await after`select pg_advisory_lock(12)`;
  show((await after`select count(*)::int from item where id = 9000`)[0].count);
  await after.end();
  step('a database that is not there');
  const nowhere = connect({ database: 'no such' });
  await fails(nowhere`select 1`);
  await nowhere.end();
}

const sql = connect();
main(
  ...[queries, changes, errors, transactions, big, cursors, copies, cancels].map((part) => () => part(sql)),
  () => sql.end(),
  session,
  listens,
  connections,
);
