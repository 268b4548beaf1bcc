// What the Node scripts share: numbered steps, values and errors printed the same way each time.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');

let number = 0;

function step(title) {
  number += 1;
  console.log(`[${number}] ${title}`);
}

function show(...values) {
  console.log(' ', ...values.map(shown));
}

function shown(value) {
  if (Buffer.isBuffer(value)) value = value.length > 300 ? digest(value) : `<${value.toString('hex')}>`;
  if (value instanceof Date) value = `Date ${isNaN(value) ? 'invalid' : value.toISOString()}`;
  if (typeof value === 'bigint') value = `${value}n`;
  const text = JSON.stringify(value, (_, inner) => (typeof inner === 'string' && inner.length > 300 ? digest(Buffer.from(inner)) : inner));
  return text === undefined || (typeof value === 'number' && !isFinite(value)) ? String(value) : text;
}

function digest(buffer) {
  return `${buffer.length} bytes: ${crypto.createHash('md5').update(buffer).digest('hex')}`;
}

// Runs what must fail and prints all that the server told.
async function fails(action) {
  try {
    await (typeof action === 'function' ? action() : action);
    console.log('  does not fail');
  } catch (error) {
    console.log('  fails:', told(error));
  }
}

function told(error) {
  if (!/^[0-9A-Z]{5}$/.test(error.code || '')) return error.code || error.message;
  const names = ['severity', 'code', 'message', 'detail', 'hint', 'position', 'where', 'schema', 'schema_name', 'table', 'table_name',
    'column', 'column_name', 'constraint', 'constraint_name', 'routine'];
  return names.filter((name) => error[name] !== undefined).map((name) => `${name}=${JSON.stringify(error[name])}`).join(' ');
}

const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Runs the parts one after the other; an error that no step expected ends the script with code 1.
async function main(...parts) {
  try {
    for (const part of parts) await part();
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
}

const TYPES = fs.readFileSync(path.join(__dirname, 'types.sql'), 'utf8');

module.exports = { step, show, fails, told, later, main, digest, TYPES };
