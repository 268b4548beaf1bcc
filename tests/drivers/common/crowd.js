// Eight clients at once with prepared statements, over however few server connections there are.
'use strict';

const { step, show } = require('./steps.js');

const CLIENTS = 8;
const ROUNDS = 30;
const range = (count) => Array.from({ length: count }, (_, n) => n);

// `connect` gives a client with `rows(name, text, values)` (prepared; arrays), `execute(text)` and `close()`.
async function crowd(connect) {
  const clients = await Promise.all(range(CLIENTS).map(connect));
  const admin = await connect();
  const all = async (work) => (await Promise.all(clients.map((client, number) => work(number, client)))).forEach((result) => show(result));
  step("rows of one's own");
  await admin.execute('create table crowd (id int primary key, owner int, n int, note text)');
  await all(rounds);
  step('a column added');
  await all(selected);
  await admin.execute('alter table crowd add extra int default 7');
  await all(selected);
  step('a type changed');
  await admin.execute('alter table crowd alter n type bigint');
  await all(selected);
  step('a table made anew');
  await admin.execute('drop table crowd');
  await admin.execute('create table crowd (note text, id int primary key)');
  await admin.execute("insert into crowd select 'anew ' || n, n * 1000 from generate_series(0, 7) n");
  await all(selected);
  step('changed while it is read');
  await Promise.all([change(admin), all(read)]);
  await Promise.all([...clients, admin].map((client) => client.close()));
}

// Writes and reads rows that nobody else touches; gives sums that prove it. The name "own" is another text for each client.
async function rounds(number, client) {
  const sums = [0, 0, 0, 0];
  for (const turn of range(ROUNDS)) {
    const row = number * 1000 + turn;
    await client.rows('insert', 'insert into crowd values ($1, $2, $3, $4) returning id', [row, number, turn, `note ${row}`]);
    const [[found, note]] = await client.rows('select', 'select n, note from crowd where id = $1', [row]);
    if (note !== `note ${row}`) throw new Error(`${row} has ${note}`);
    sums[0] += found;
    sums[1] += (await client.rows('update', 'update crowd set n = n + $1 where id = $2 returning n', [10, row]))[0][0];
    sums[2] += (await client.rows('own', `select ${number} + $1::int`, [turn]))[0][0];
    await client.execute('begin');
    await client.rows('note', 'update crowd set note = $1 where id = $2 returning id', ['changed', row]);
    await client.execute(turn % 3 === 0 ? 'rollback' : 'commit');
    sums[3] += (await client.rows('count', 'select count(*)::int from crowd where owner = $1 and note = $2', [number, 'changed']))[0][0];
  }
  return [number, ...sums];
}

// Who remembers the columns hears that they have changed, unless the proxy sees that it asks for them anyway. Under its
// name the statement stays as it was.
async function selected(number, client) {
  for (const _ of range(3)) {
    try {
      return await client.rows(`all ${client.changes || 0}`, 'select * from crowd where id = $1', [number * 1000]);
    } catch (error) {
      if (error.code !== '0A000') throw error;
      client.changes = (client.changes || 0) + 1;
    }
  }
  return 'changed again and again';
}

async function read(number, client) {
  let wrong = 0;
  for (const _ of range(100)) {
    const found = await client.rows('read', 'select id, note from crowd where id = $1', [number * 1000]);
    wrong += JSON.stringify(found) !== JSON.stringify([[number * 1000, `anew ${number}`]]);
  }
  return [number, wrong];
}

async function change(admin) {
  for (const _ of range(10)) {
    await admin.execute('alter table crowd add x int');
    await admin.execute('alter table crowd drop x');
  }
}

module.exports = { crowd };
