'use strict';

/* What becomes of a published message: refused, or in the queues whose subscriptions match. */

const assert = require('node:assert/strict');

const SPECIAL = require('./bodies');
const { done, refused } = require('./expect');

const NO_SUBSCRIPTION = '(10650)topic has no subscription, please create a subscription before publishing message';
const NO_MATCH = '(10730)no bindingKey or filterTag matches the routingKey or msgTag';
const x = { msgBody: 'x' };

exports.nobody_has_subscribed = async (world) => {
  const topicName = await world.topic();
  await refused(6030, NO_SUBSCRIPTION, world.client.publishMessage({ topicName, ...x }));
  await refused(6030, NO_SUBSCRIPTION, world.client.batchPublishMessage({ topicName, msgBody: ['x'] }));
};

exports.no_subscription_matches = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  await world.subscribe(topicName, await world.queue(), { filterTag: ['red'] });
  await refused(6030, NO_MATCH, client.publishMessage({ topicName, ...x }));
  await refused(6030, NO_MATCH, client.publishMessage({ topicName, ...x, msgTag: ['blue', 'Red'] }));
  const routed = await world.topic({ filterType: 2 });
  await world.subscribe(routed, await world.queue(), { bindingKey: ['a.*'] });
  await refused(6030, NO_MATCH, client.publishMessage({ topicName: routed, ...x, routingKey: 'a' }));
  const lacking = client.publishMessage({ topicName: routed, ...x });
  await refused(4000, '(10700)parameters lack of routingKey', lacking);
};

exports.bodies_and_tags_to_publish_are_limited = async (world) => {
  const { client } = world;
  const topicName = await world.topic({ maxMsgSize: 1024 });
  await world.subscribe(topicName, await world.queue());
  for (const [options, code, message] of [
    [{ msgBody: '' }, 4000, "(10120)message body can't be empty"],
    [{ msgBody: 'x'.repeat(1025) }, 4400, '(10230)exceed maximum message size'],
    [{ ...x, msgTag: Array(6).fill('tag') }, 4000, '(10720)too many msgTag'],
  ]) {
    await refused(code, message, client.publishMessage({ topicName, ...options }));
  }
  for (const count of [0, 17]) {
    const call = client.batchPublishMessage({ topicName, msgBody: Array(count).fill('x') });
    const answer = await refused(4000, undefined, call);
    assert.match(answer.message, /^\((10370|10390)\)/);
  }
};

exports.a_published_message_comes_to_the_queue = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  const queueName = await world.queue();
  await world.subscribe(topicName, queueName);
  const sent = await done(client.publishMessage({ topicName, msgBody: 'hello' }));
  assert.match(sent.msgId, /^\d+$/);
  const message = await done(client.receiveMessage({ queueName, pollingWaitSeconds: 9 }));
  assert.deepEqual([message.msgBody, message.dequeueCount], ['hello', 1]);
};

exports.every_character_survives_publishing = async (world) => {
  const topicName = await world.topic();
  const queueName = await world.queue();
  await world.subscribe(topicName, queueName);
  for (const msgBody of SPECIAL) {
    await done(world.client.publishMessage({ topicName, msgBody }));
  }
  await world.allDelivered(topicName);
  assert.deepEqual(await world.bodiesIn(queueName), [...SPECIAL].sort());
};

exports.a_full_batch_is_published = async (world) => {
  const topicName = await world.topic();
  const queueName = await world.queue();
  await world.subscribe(topicName, queueName);
  const msgBody = Array.from({ length: 16 }, (_, index) => `number ${index}`);
  const { msgList } = await done(world.client.batchPublishMessage({ topicName, msgBody }));
  assert.equal(new Set(msgList.map((one) => one.msgId)).size, 16);
  await world.allDelivered(topicName);
  assert.deepEqual(await world.bodiesIn(queueName), msgBody.sort());
};

exports.tags_choose = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  const [everything, red, both] = [await world.queue(), await world.queue(), await world.queue()];
  await world.subscribe(topicName, everything);
  await world.subscribe(topicName, red, { filterTag: ['red'] });
  await world.subscribe(topicName, both, { filterTag: ['red', 'blue'] });
  // Several tags are the case that a newer version of this SDK signs wrongly.
  for (const [msgBody, msgTag] of [
    ['none', []],
    ['tagged red', ['red']],
    ['tagged both', ['blue', 'red', 'green']],
  ]) {
    await done(client.publishMessage({ topicName, msgBody, msgTag }));
  }
  await done(client.batchPublishMessage({ topicName, msgBody: ['batch 1', 'batch 2'], msgTag: ['blue'] }));
  await world.allDelivered(topicName);
  const batch = ['batch 1', 'batch 2'];
  assert.deepEqual(await world.bodiesIn(everything), [...batch, 'none', 'tagged both', 'tagged red']);
  assert.deepEqual(await world.bodiesIn(red), ['tagged both', 'tagged red']);
  assert.deepEqual(await world.bodiesIn(both), [...batch, 'tagged both', 'tagged red']);
};

exports.routing_keys_choose = async (world) => {
  const { client } = world;
  const topicName = await world.topic({ filterType: 2 });
  const [exact, star, hash] = [await world.queue(), await world.queue(), await world.queue()];
  await world.subscribe(topicName, exact, { bindingKey: ['system.common'] });
  await world.subscribe(topicName, star, { bindingKey: ['*.common', 'a.*.c'] });
  await world.subscribe(topicName, hash, { bindingKey: ['#.common', 'a.#'] });
  for (const routingKey of ['system.common', 'app.common', 'common', 'a', 'a.b.c']) {
    await done(client.publishMessage({ topicName, msgBody: routingKey, routingKey }));
  }
  await done(client.batchPublishMessage({ topicName, msgBody: ['1', '2'], routingKey: 'x.y.common' }));
  await world.allDelivered(topicName);
  assert.deepEqual(await world.bodiesIn(exact), ['system.common']);
  assert.deepEqual(await world.bodiesIn(star), ['a.b.c', 'app.common', 'system.common']);
  const all = ['1', '2', 'a', 'a.b.c', 'app.common', 'common', 'system.common'];
  assert.deepEqual(await world.bodiesIn(hash), all);
};
