'use strict';

/* What the topic and subscription functions of the SDK must do against our server, a function per promise. */

const assert = require('node:assert/strict');

const { done, refused } = require('./expect');

const NO_TOPIC = '(10600)topic is not existed, or deleted';
const NO_SUBSCRIPTION = '(10560)subscription is not existed';
const SIMPLIFIED = 'notifyContentFormat of protocol queue must be SIMPLIFIED';
const DECAY = 'EXPONENTIAL_DECAY_RETRY';
const NOWHERE = { protocol: 'http', endpoint: 'http://127.0.0.1:1/' };

// Topics

exports.a_topic_is_created_with_its_attributes = async (world) => {
  const topicName = world.topicName();
  const created = await done(world.client.createTopic({ topicName, maxMsgSize: 2048, filterType: 2 }));
  assert.match(created.topicId, /^topic-/);
  const found = await done(world.client.getTopicAttributes({ topicName }));
  assert.deepEqual([found.maxMsgSize, found.filterType], [2048, 2]);
  assert.deepEqual([found.msgRetentionSeconds, found.msgCount], [86400, 0]);
  assert.ok(Math.abs(found.createTime - Date.now() / 1000) < 60);
};

exports.a_topic_has_the_documented_defaults = async (world) => {
  const found = await done(world.client.getTopicAttributes({ topicName: await world.topic() }));
  assert.deepEqual([found.maxMsgSize, found.filterType], [65536, 1]);
};

exports.the_size_of_a_topic_is_changed = async (world) => {
  const topicName = await world.topic();
  await done(world.client.setTopicAttributes({ topicName, maxMsgSize: 131072 }));
  assert.equal((await done(world.client.getTopicAttributes({ topicName }))).maxMsgSize, 131072);
  const message = '(10350)parameter maxMsgSize value or length is out of range';
  await refused(4000, message, world.client.setTopicAttributes({ topicName, maxMsgSize: 1023 }));
};

exports.a_topic_name_is_taken = async (world) => {
  const topicName = await world.topic();
  await refused(4460, '(10550)topic is already existed', world.client.createTopic({ topicName }));
};

exports.topics_are_listed = async (world) => {
  const searchWord = `list${process.hrtime.bigint()}`;
  const names = [];
  for (let count = 0; count < 3; count += 1) {
    names.push(await world.topic({}, searchWord));
  }
  const found = [];
  for (const offset of [0, 2]) {
    const page = await done(world.client.listTopic({ searchWord, offset, limit: 2 }));
    assert.equal(page.totalCount, 3);
    found.push(...page.topicList.map((entry) => entry.topicName));
  }
  assert.deepEqual(found.sort(), names.sort());
  const none = await done(world.client.listTopic({ searchWord: 'nothing-has-this-name' }));
  assert.deepEqual([none.totalCount, none.topicList], [0, []]);
};

exports.a_topic_with_subscriptions_stays = async (world) => {
  const topicName = await world.topic();
  const subscriptionName = await world.subscribe(topicName, await world.queue());
  const message =
    '(10540)there exists subscriptions under this topic, please unsubscribe all of them before DeleteTopic';
  await refused(4000, message, world.client.deleteTopic({ topicName }));
  await done(world.client.unsubscribe({ topicName, subscriptionName }));
  await done(world.client.deleteTopic({ topicName }));
};

exports.a_deleted_topic_is_gone = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  await done(client.deleteTopic({ topicName }));
  const subscriptionName = 'sub';
  for (const call of [
    client.deleteTopic({ topicName }),
    client.getTopicAttributes({ topicName }),
    client.setTopicAttributes({ topicName, maxMsgSize: 2048 }),
    client.publishMessage({ topicName, msgBody: 'x' }),
    client.batchPublishMessage({ topicName, msgBody: ['x'] }),
    client.subscribe({ topicName, subscriptionName, ...NOWHERE }),
    client.listSubscriptionByTopic({ topicName }),
    client.getSubscriptionAttributes({ topicName, subscriptionName }),
    client.setSubscriptionAttributes({ topicName, subscriptionName, notifyStrategy: DECAY }),
    client.clearSubscriptionFilterTags({ topicName, subscriptionName }),
    client.unsubscribe({ topicName, subscriptionName }),
  ]) {
    await refused(4440, NO_TOPIC, call);
  }
};

// Subscriptions

exports.a_subscription_is_made_with_its_attributes = async (world) => {
  const topicName = await world.topic();
  const wanted = {
    subscriptionName: 'sub',
    protocol: 'http',
    endpoint: 'http://127.0.0.1:1/a?b=c&d=%20',
    notifyStrategy: 'BACKOFF_RETRY',
    notifyContentFormat: 'SIMPLIFIED',
    filterTag: ['red', 'blue'],
  };
  const made = await done(world.client.subscribe({ topicName, ...wanted }));
  assert.match(made.subscriptionId, /^subsc-/);
  const found = await done(world.client.getSubscriptionAttributes({ topicName, subscriptionName: 'sub' }));
  for (const [name, value] of Object.entries(wanted)) {
    assert.deepEqual(found[name], value, name);
  }
  assert.match(found.topicOwner, /^\d+$/);
  assert.deepEqual([found.bindingKey, found.msgCount], [[], 0]);
};

exports.a_subscription_has_the_documented_defaults = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  const queue = { protocol: 'queue', endpoint: await world.queue() };
  for (const [subscriptionName, where, format] of [
    ['to-http', NOWHERE, 'JSON'],
    ['to-queue', queue, 'SIMPLIFIED'],
  ]) {
    await done(client.subscribe({ topicName, subscriptionName, ...where }));
    const found = await done(client.getSubscriptionAttributes({ topicName, subscriptionName }));
    assert.deepEqual([found.notifyStrategy, found.notifyContentFormat], [DECAY, format]);
  }
};

exports.bad_subscriptions_are_refused = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  const good = { topicName, subscriptionName: 'sub', ...NOWHERE };
  const queue = { protocol: 'queue', endpoint: await world.queue() };
  for (const [changes, code, message] of [
    [{ protocol: 'pigeon' }, 4000, '(10510)undefined protocol'],
    [{ notifyStrategy: 'NEVER' }, 4000, '(10520)undefined notify retry stragety'],
    [{ notifyContentFormat: 'XML' }, 4000, '(10530)undefined notify content format'],
    [{ endpoint: 'ftp://127.0.0.1/' }, 4000, '(10500)endpoint format error'],
    [{ endpoint: 'http://127.0.0.1/a b' }, 4510, '(10570)url connot contain any blank characters'],
    [{ ...queue, notifyContentFormat: 'JSON' }, 4000, `(10640)${SIMPLIFIED}`],
    [{ ...queue, endpoint: world.name('none') }, 4440, '(10100)queue is not existed, or deleted'],
    [{ filterTag: Array(6).fill('tag') }, 4000, '(10490)number of filterTag exceed limit'],
  ]) {
    await refused(code, message, client.subscribe({ ...good, ...changes }));
  }
  await done(client.subscribe({ ...good }));
  await refused(4490, '(10470)subscribtion is already existed', client.subscribe({ ...good }));
  const routed = await world.topic({ filterType: 2 });
  await refused(4000, '(10710)parameters lack of bindingKey', client.subscribe({ ...good, topicName: routed }));
};

exports.attributes_of_a_subscription_are_changed = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  const names = { topicName, subscriptionName: 'sub' };
  await done(client.subscribe({ ...names, ...NOWHERE, filterTag: ['red', 'blue'] }));
  const now = async () => {
    const found = await done(client.getSubscriptionAttributes({ ...names }));
    return [found.notifyStrategy, found.notifyContentFormat, found.filterTag];
  };
  await done(client.setSubscriptionAttributes({ ...names, notifyStrategy: 'BACKOFF_RETRY' }));
  assert.deepEqual(await now(), ['BACKOFF_RETRY', 'JSON', ['red', 'blue']]);
  await done(client.setSubscriptionAttributes({ ...names, notifyContentFormat: 'SIMPLIFIED' }));
  await done(client.setSubscriptionAttributes({ ...names, filterTag: ['green'] }));
  assert.deepEqual(await now(), ['BACKOFF_RETRY', 'SIMPLIFIED', ['green']]);
  await done(client.clearSubscriptionFilterTags({ ...names }));
  assert.deepEqual(await now(), ['BACKOFF_RETRY', 'SIMPLIFIED', []]);
};

exports.binding_keys_are_replaced_and_never_cleared = async (world) => {
  const { client } = world;
  const names = { topicName: await world.topic({ filterType: 2 }), subscriptionName: 'sub' };
  await done(client.subscribe({ ...names, ...NOWHERE, bindingKey: ['a', 'b.#'] }));
  const keys = async () => (await done(client.getSubscriptionAttributes({ ...names }))).bindingKey;
  assert.deepEqual(await keys(), ['a', 'b.#']);
  await done(client.setSubscriptionAttributes({ ...names, bindingKey: ['*.c'] }));
  await done(client.clearSubscriptionFilterTags({ ...names }));
  assert.deepEqual(await keys(), ['*.c']);
};

exports.subscriptions_are_listed = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  const list = async (options) => done(client.listSubscriptionByTopic({ topicName, ...options }));
  const none = await list({});
  assert.deepEqual([none.totalCount, none.subscriptionList], [0, []]);
  const names = ['one', 'other', 'two'];
  for (const subscriptionName of names) {
    await done(client.subscribe({ topicName, subscriptionName, ...NOWHERE }));
  }
  const found = [];
  for (const offset of [0, 2]) {
    const page = await list({ offset, limit: 2 });
    assert.equal(page.totalCount, 3);
    found.push(...page.subscriptionList);
  }
  assert.deepEqual(found.map((entry) => entry.subscriptionName).sort(), names);
  for (const { subscriptionId, protocol, endpoint } of found) {
    assert.match(subscriptionId, /^subsc-/);
    assert.deepEqual({ protocol, endpoint }, NOWHERE);
  }
  const page = await list({ searchWord: 'ther' });
  assert.deepEqual(page.subscriptionList.map((entry) => entry.subscriptionName), ['other']);
};

exports.a_cancelled_subscription_is_gone = async (world) => {
  const { client } = world;
  const topicName = await world.topic();
  const subscriptionName = await world.subscribe(topicName, await world.queue());
  const names = { topicName, subscriptionName };
  await done(client.unsubscribe({ ...names }));
  for (const call of [
    client.unsubscribe({ ...names }),
    client.getSubscriptionAttributes({ ...names }),
    client.setSubscriptionAttributes({ ...names, notifyStrategy: DECAY }),
    client.clearSubscriptionFilterTags({ ...names }),
  ]) {
    await refused(4000, NO_SUBSCRIPTION, call);
  }
};
