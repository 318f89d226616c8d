'use strict';

/* That the redirection is in place: the server gets what the SDK meant for the vendor's hosts. */

const assert = require('node:assert/strict');
const https = require('node:https');

const { taken } = require('./alias');
const { done } = require('./expect');
const { REGION } = require('./world');

exports.the_server_stands_in_for_the_vendors_hosts = async ({ client, mode }) => {
  const scheme = mode.extranet ? 'https' : 'http';
  const domain = mode.extranet ? 'qcloud.com' : 'tencentyun.com';
  for (const [kind, ask] of [
    ['queue', () => client.listQueue({})],
    ['topic', () => client.listTopic({})],
  ]) {
    const origin = `${scheme}://cmq-${kind}-${REGION}.api.${domain}`;
    const before = taken.get(origin) || 0;
    await done(ask());
    assert.equal(taken.get(origin), before + 1);
  }
};

exports.nobody_else_is_asked = async () => {
  assert.throws(() => https.request(new URL('https://example.com/'), {}, () => {}), /lets nobody ask/);
};
