'use strict';

/* What the cases say about answers: they are equal, refused, or come true in a while. */

const assert = require('node:assert/strict');

const NO_MESSAGE = '(10200)no message';
const POLL_MS = 20;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Marks a case that takes seconds: it runs in one mode only. */
function once(run) {
  run.once = true;
  return run;
}

/** The answer of a call that succeeded. */
async function done(call) {
  const answer = await call;
  assert.deepEqual([answer.code, answer.message], [0, '']);
  assert.match(answer.requestId, /^\d+$/);
  return answer;
}

/** The answer of a call that was refused with this code and message; without a message, with any. */
async function refused(code, message, call) {
  const answer = await call;
  assert.equal(answer.code, code, JSON.stringify(answer));
  if (message !== undefined) {
    assert.equal(answer.message, message);
  }
  assert.match(answer.requestId, /^\d+$/);
  return answer;
}

/** Asks again and again until the condition holds, and gives back what it then said. */
async function eventually(what, condition, seconds = 10) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await condition();
    if (found) {
      return found;
    }
    assert.ok(Date.now() < end, `not within ${seconds} s: ${what}`);
    await pause(POLL_MS);
  }
}

module.exports = { NO_MESSAGE, done, eventually, once, pause, refused };
