// node-postgres with named queries: see common/crowd.js.
'use strict';

const { Client } = require('pg');
const { main } = require('../common/steps.js');
const { crowd } = require('../common/crowd.js');

async function connect() {
  const client = new Client();
  await client.connect();
  return {
    rows: async (name, text, values) => (await client.query({ name, text, values, rowMode: 'array' })).rows,
    execute: (text) => client.query(text),
    close: () => client.end(),
  };
}

main(() => crowd(connect));
