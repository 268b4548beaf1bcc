// postgres.js as it is by default, prepared: see common/crowd.js.
'use strict';

const postgres = require('postgres');
const { main } = require('../common/steps.js');
const { crowd } = require('../common/crowd.js');

async function connect() {
  const client = postgres({ max: 1, fetch_types: false });
  return {
    rows: async (name, text, values) => [...await client.unsafe(text, values, { prepare: true }).values()],
    execute: (text) => client.unsafe(text).simple(),
    close: () => client.end(),
  };
}

main(() => crowd(connect));
