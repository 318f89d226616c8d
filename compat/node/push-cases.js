'use strict';

/* What an HTTP endpoint gets to see of published messages, and what its answers lead to. */

const assert = require('node:assert/strict');

const SPECIAL = require('./bodies');
const { done, once } = require('./expect');

const AGENT = 'Qcloud Notification Service Agent';
const TEXT = 'h\u00e9llo \u{1f600}';

function checkHeaders(push, msgId, tags) {
  assert.equal(push.method, 'POST');
  assert.deepEqual(push.repeated, []);
  assert.equal(push.headers['content-type'], 'text/plain');
  assert.equal(push.headers['user-agent'], AGENT);
  assert.equal(push.headers['x-cmq-message-id'], msgId);
  assert.ok(push.headers['x-cmq-request-id']);
  assert.equal(push.headers['x-cmq-message-tag'], tags);
}

exports.a_push_in_json = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  const receiver = await world.receiver();
  const subscriptionName = await world.subscribe(topicName, receiver);
  const { msgId } = await done(client.publishMessage({ topicName, msgBody: TEXT }));
  const [push] = await receiver.pushes(1);
  checkHeaders(push, msgId, undefined);
  assert.equal(push.path, '/push');
  const { publishTime, ...body } = JSON.parse(push.body);
  assert.ok(Number.isInteger(publishTime) && Math.abs(publishTime - Date.now() / 1000) < 60);
  const { topicOwner } = await done(client.getSubscriptionAttributes({ topicName, subscriptionName }));
  const wanted = { TopicOwner: Number(topicOwner), topicName, subscriptionName, msgId, msgBody: TEXT };
  assert.deepEqual(body, wanted);
  await world.allDelivered(topicName);
  assert.equal((await receiver.pushes(1)).length, 1);
};

exports.a_push_of_the_bare_body = async (world) => {
  const topicName = await world.topic();
  const receiver = await world.receiver();
  await world.subscribe(topicName, receiver, { notifyContentFormat: 'SIMPLIFIED' });
  const msgTag = ['red', 'blue'];
  const { msgId } = await done(world.client.publishMessage({ topicName, msgBody: TEXT, msgTag }));
  const [push] = await receiver.pushes(1);
  checkHeaders(push, msgId, 'red, blue');
  assert.equal(push.body, TEXT);
};

exports.every_character_survives_pushing = async (world) => {
  const topicName = await world.topic();
  const [json, bare] = [await world.receiver(), await world.receiver()];
  await world.subscribe(topicName, json);
  await world.subscribe(topicName, bare, { notifyContentFormat: 'SIMPLIFIED' });
  const { msgList } = await done(world.client.batchPublishMessage({ topicName, msgBody: SPECIAL }));
  const wanted = Object.fromEntries(msgList.map(({ msgId }, index) => [msgId, SPECIAL[index]]));
  const bodies = async (receiver, read) => {
    const pushes = await receiver.pushes(SPECIAL.length);
    return Object.fromEntries(pushes.map((push) => [push.headers['x-cmq-message-id'], read(push.body)]));
  };
  assert.deepEqual(await bodies(json, (body) => JSON.parse(body).msgBody), wanted);
  assert.deepEqual(await bodies(bare, (body) => body), wanted);
};

exports.a_routed_message_is_pushed = async (world) => {
  const topicName = await world.topic({ filterType: 2 });
  const receiver = await world.receiver();
  const endpoint = receiver.url('/a/b%20c?x=1&y=%26');
  await world.subscribe(topicName, receiver, { endpoint, bindingKey: ['news.#'] });
  await done(world.client.publishMessage({ topicName, msgBody: 'x', routingKey: 'news.today' }));
  const [push] = await receiver.pushes(1);
  assert.deepEqual([push.path, JSON.parse(push.body).msgBody], ['/a/b%20c?x=1&y=%26', 'x']);
};

exports.a_failure_is_pushed_again = once(async (world) => {
  const topicName = await world.topic();
  const receiver = await world.receiver(500);
  await world.subscribe(topicName, receiver);
  const { msgId } = await done(world.client.publishMessage({ topicName, msgBody: 'again' }));
  const [first, second] = await receiver.pushes(2);
  assert.ok(second.when - first.when >= 900, `after ${second.when - first.when} ms`);
  checkHeaders(first, msgId, undefined);
  checkHeaders(second, msgId, undefined);
  assert.notEqual(first.headers['x-cmq-request-id'], second.headers['x-cmq-request-id']);
  assert.equal(first.body, second.body);
  await world.allDelivered(topicName);
  assert.equal((await receiver.pushes(2)).length, 2);
});
