// The console as Node's drivers find it.
//
//     main.js PORT

const assert = require('node:assert');
const { Client } = require('pg');
const postgres = require('postgres');

const where = { host: '127.0.0.1', port: Number(process.argv[2]), user: 'pgsteward', database: 'pgsteward' };

function check(driver, pools, version) {
  assert.strictEqual(pools.database, 'postgres', driver);
  assert.strictEqual(pools.sv_idle, 1, driver);
  assert.match(version, /^pgsteward /, driver);
  console.log(driver, 'ok');
}

async function withNodePostgres() {
  const client = new Client(where);
  await client.connect();
  const pools = await client.query({ name: 'pools', text: 'SHOW POOLS', values: [] });
  const version = await client.query('SHOW VERSION');
  await assert.rejects(client.query('SELECT * FROM pg_class'), { code: '42601' });
  await client.end();
  check('pg', pools.rows[0], version.rows[0].version);
}

async function withPostgresJs() {
  const sql = postgres({ ...where, max: 1, fetch_types: false });
  const [pools] = await sql`SHOW POOLS`;
  const [version] = await sql`SHOW VERSION`;
  await sql.end();
  check('postgres', pools, version.version);
}

withNodePostgres().then(withPostgresJs).catch((error) => {
  console.error(error);
  process.exit(1);
});
