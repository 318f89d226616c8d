'use strict';

/*
 * Finds the cases in the files of cases, runs each against a server, and counts.
 *
 *     CMQ_ALIAS=http://HOST:PORT node --require ./alias.js suite.js --key ID:SECRET [--label NAME] [--only PART]
 *
 * A case is an exported function, named after what it shows; its only argument is a World. The last line and the
 * file `result` in the working directory say how many passed.
 */

const fs = require('node:fs');
const { parseArgs } = require('node:util');

const { World } = require('./world');

const FILES = [
  require('./alias-cases'),
  require('./queue-cases'),
  require('./topic-cases'),
  require('./publish-cases'),
  require('./push-cases'),
];
const MODES = [
  { signatureMethod: 'HmacSHA1', extranet: true },
  { signatureMethod: 'HmacSHA256', extranet: true },
  { signatureMethod: 'HmacSHA1', extranet: false },
  { signatureMethod: 'HmacSHA256', extranet: false },
];

async function main() {
  const { values: options } = parseArgs({
    options: {
      key: { type: 'string' },
      label: { type: 'string', default: 'node' },
      only: { type: 'string', default: '' },
    },
  });
  let passed = 0;
  const failures = [];
  for (const [name, run] of FILES.flatMap((file) => Object.entries(file))) {
    if (!name.includes(options.only)) {
      continue;
    }
    // The data plane must be right in every mode; one mode is enough for what waits for long.
    for (const mode of run.once ? MODES.slice(0, 1) : MODES) {
      const hosts = mode.extranet ? 'public' : 'private';
      const title = `${options.label} ${name} [${hosts} ${mode.signatureMethod}]`;
      const world = new World(options.key, options.label, mode);
      try {
        await run(world);
        await world.close();
        passed += 1;
      } catch (error) {
        failures.push(title);
        console.log(`FAILED ${title}\n${error.stack}\n`);
      } finally {
        await world.closeReceivers();
      }
    }
  }
  for (const title of failures) {
    console.log(`failed: ${title}`);
  }
  const line = `${passed} passed, ${failures.length} failed`;
  console.log(`${options.label}: ${line}`);
  fs.writeFileSync('result', `${line}\n`);
  process.exitCode = failures.length > 0 || passed === 0 ? 1 : 0;
}

main();
