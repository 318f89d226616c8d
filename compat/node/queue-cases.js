'use strict';

/* What the queue functions of the SDK must do against our server, a function per promise. */

const assert = require('node:assert/strict');

const SPECIAL = require('./bodies');
const { NO_MESSAGE, done, once, refused } = require('./expect');

const NO_QUEUE = '(10100)queue is not existed, or deleted';
const BAD_HANDLE = '(10260)receipt handle is invalid';
const FAILED = '(10030)authentication failed';
const seconds = () => Math.floor(Date.now() / 1000);

// Control plane

exports.a_queue_is_created_with_its_attributes = async (world) => {
  const wanted = {
    pollingWaitSeconds: 3,
    visibilityTimeout: 45,
    maxMsgSize: 2048,
    msgRetentionSeconds: 7200,
    rewindSeconds: 3600,
    maxMsgHeapNum: 2000000,
  };
  const queueName = world.queueName();
  const created = await done(world.client.createQueue({ queueName, ...wanted }));
  assert.match(created.queueId, /^queue-/);
  const found = await done(world.client.getQueueAttributes({ queueName }));
  for (const [name, value] of Object.entries(wanted)) {
    assert.equal(found[name], value, name);
  }
  assert.equal(found.activeMsgNum, 0);
  assert.equal(found.inactiveMsgNum, 0);
  assert.ok(Math.abs(found.createTime - seconds()) < 60);
};

exports.a_queue_has_the_documented_defaults = async (world) => {
  const found = await done(world.client.getQueueAttributes({ queueName: await world.queue() }));
  const wanted = {
    pollingWaitSeconds: 0,
    visibilityTimeout: 30,
    maxMsgSize: 65536,
    msgRetentionSeconds: 345600,
    rewindSeconds: 0,
    maxMsgHeapNum: 100000000,
  };
  for (const [name, value] of Object.entries(wanted)) {
    assert.equal(found[name], value, name);
  }
};

exports.attributes_that_are_given_are_changed_and_others_kept = async (world) => {
  const queueName = await world.queue({ pollingWaitSeconds: 1 });
  await done(world.client.setQueueAttributes({ queueName, visibilityTimeout: 100 }));
  const found = await done(world.client.getQueueAttributes({ queueName }));
  assert.deepEqual([found.visibilityTimeout, found.pollingWaitSeconds], [100, 1]);
  await refused(
    4000,
    '(10350)parameter visibilityTimeout value or length is out of range',
    world.client.setQueueAttributes({ queueName, visibilityTimeout: 43201 }),
  );
};

exports.a_queue_name_is_taken = async (world) => {
  const queueName = await world.queue();
  const answer = await refused(4460, undefined, world.client.createQueue({ queueName }));
  assert.match(answer.message, /^\(10210\)queue is already existed/);
};

exports.queues_are_listed = async (world) => {
  const searchWord = `list${process.hrtime.bigint()}`;
  const names = [];
  for (let count = 0; count < 3; count += 1) {
    names.push(await world.queue({}, searchWord));
  }
  const found = [];
  for (const offset of [0, 2]) {
    const page = await done(world.client.listQueue({ searchWord, offset, limit: 2 }));
    assert.equal(page.totalCount, 3);
    found.push(...page.queueList.map((entry) => entry.queueName));
  }
  assert.deepEqual(found.sort(), names.sort());
  const none = await done(world.client.listQueue({ searchWord: 'nothing-has-this-name' }));
  assert.deepEqual([none.totalCount, none.queueList], [0, []]);
};

exports.a_deleted_queue_is_gone = async (world) => {
  const queueName = await world.queue();
  await done(world.client.deleteQueue({ queueName }));
  const { client } = world;
  for (const call of [
    client.deleteQueue({ queueName }),
    client.getQueueAttributes({ queueName }),
    client.setQueueAttributes({ queueName }),
    client.rewindQueue({ queueName, startConsumeTime: seconds() }),
    client.sendMessage({ queueName, msgBody: 'x' }),
    client.batchSendMessage({ queueName, msgBody: ['x'] }),
    client.receiveMessage({ queueName }),
    client.batchReceiveMessage({ queueName, numOfMsg: 16 }),
    client.deleteMessage({ queueName, receiptHandle: '1' }),
    client.batchDeleteMessage({ queueName, receiptHandle: ['1'] }),
  ]) {
    await refused(4440, NO_QUEUE, call);
  }
};

// Data plane

exports.a_message_is_sent_received_and_deleted = async (world) => {
  const { client } = world;
  const queueName = await world.queue({ visibilityTimeout: 40 });
  const sent = await done(client.sendMessage({ queueName, msgBody: 'hello' }));
  const message = await done(client.receiveMessage({ queueName, pollingWaitSeconds: 1 }));
  assert.deepEqual([message.msgBody, message.msgId, message.dequeueCount], ['hello', sent.msgId, 1]);
  assert.ok(Math.abs(message.enqueueTime - seconds()) < 60);
  assert.ok(Math.abs(message.nextVisibleTime - message.firstDequeueTime - 40) <= 2);
  await world.nothingIn(queueName);
  const { receiptHandle } = message;
  await done(client.deleteMessage({ queueName, receiptHandle }));
  await refused(4430, BAD_HANDLE, client.deleteMessage({ queueName, receiptHandle }));
};

exports.every_character_survives = async (world) => {
  const queueName = await world.queue();
  for (const msgBody of SPECIAL) {
    await done(world.client.sendMessage({ queueName, msgBody }));
  }
  assert.deepEqual(await world.bodiesIn(queueName), [...SPECIAL].sort());
};

exports.a_full_batch_goes_and_comes = async (world) => {
  const { client } = world;
  const queueName = await world.queue();
  // More than ten, so that the index 10 is signed before the index 2.
  const msgBody = Array.from({ length: 16 }, (_, index) => `number ${index}`);
  const sent = await done(client.batchSendMessage({ queueName, msgBody }));
  const received = await done(client.batchReceiveMessage({ queueName, numOfMsg: 16, pollingWaitSeconds: 1 }));
  const pairs = received.msgInfoList.map((message) => [message.msgId, message.msgBody]);
  assert.deepEqual(pairs, sent.msgList.map((one, index) => [one.msgId, msgBody[index]]));
  const receiptHandle = received.msgInfoList.map((message) => message.receiptHandle);
  await done(client.batchDeleteMessage({ queueName, receiptHandle }));
  await refused(7000, NO_MESSAGE, client.batchReceiveMessage({ queueName, numOfMsg: 16 }));
};

exports.a_batch_of_none_or_too_many_is_refused = async (world) => {
  const { client } = world;
  const queueName = await world.queue();
  for (const count of [0, 17]) {
    for (const call of [
      client.batchSendMessage({ queueName, msgBody: Array(count).fill('x') }),
      client.batchDeleteMessage({ queueName, receiptHandle: Array(count).fill('1') }),
    ]) {
      const answer = await refused(4000, undefined, call);
      assert.match(answer.message, /^\((10370|10390)\)/);
    }
  }
};

exports.a_batch_delete_names_what_failed = async (world) => {
  const { client } = world;
  const queueName = await world.queue();
  await done(client.batchSendMessage({ queueName, msgBody: ['a', 'b'] }));
  const { msgInfoList } = await done(client.batchReceiveMessage({ queueName, numOfMsg: 16 }));
  const receiptHandle = msgInfoList.map((message) => message.receiptHandle);
  await done(client.deleteMessage({ queueName, receiptHandle: receiptHandle[0] }));
  const partly = client.batchDeleteMessage({ queueName, receiptHandle });
  const { errorList } = await refused(6010, '(10150)delete message partially failed', partly);
  assert.deepEqual(errorList.map((entry) => [entry.code, entry.receiptHandle]), [[4430, receiptHandle[0]]]);
  const none = client.batchDeleteMessage({ queueName, receiptHandle });
  await refused(6020, '(10290)batch delete message failed', none);
};

exports.bodies_are_limited = async (world) => {
  const { client } = world;
  const queueName = await world.queue({ maxMsgSize: 1024 });
  await refused(4000, "(10120)message body can't be empty", client.sendMessage({ queueName, msgBody: '' }));
  const large = { queueName, msgBody: 'x'.repeat(1025) };
  await refused(4400, '(10230)exceed maximum message size', client.sendMessage(large));
  await done(client.sendMessage({ queueName, msgBody: 'x'.repeat(1024) }));
};

exports.a_delayed_message_waits = once(async (world) => {
  const { client } = world;
  const queueName = await world.queue();
  const begun = Date.now();
  await done(client.sendMessage({ queueName, msgBody: 'later', delaySeconds: 1 }));
  await done(client.batchSendMessage({ queueName, msgBody: ['later'], delaySeconds: 1 }));
  await world.nothingIn(queueName);
  for (let count = 0; count < 2; count += 1) {
    await done(client.receiveMessage({ queueName, pollingWaitSeconds: 5 }));
    assert.ok(Date.now() - begun >= 1000);
  }
});

exports.a_long_poll_waits_and_ends = once(async (world) => {
  const queueName = await world.queue();
  const begun = Date.now();
  // The SDK gives up one second after the server should have answered.
  const poll = world.client.receiveMessage({ queueName, pollingWaitSeconds: 2 });
  await refused(7000, NO_MESSAGE, poll);
  assert.ok(Date.now() - begun >= 1900);
});

exports.a_rewind_brings_deleted_messages_back = async (world) => {
  const { client } = world;
  const queueName = await world.queue({ rewindSeconds: 600 });
  await done(client.sendMessage({ queueName, msgBody: 'again' }));
  const message = await done(client.receiveMessage({ queueName, pollingWaitSeconds: 1 }));
  await done(client.deleteMessage({ queueName, receiptHandle: message.receiptHandle }));
  await world.nothingIn(queueName);
  const startConsumeTime = message.enqueueTime;
  await done(client.rewindQueue({ queueName, startConsumeTime }));
  assert.deepEqual(await world.bodiesIn(queueName), ['again']);
  const refusal = client.rewindQueue({ queueName: await world.queue(), startConsumeTime });
  await refused(6050, '(10670)your queue cannot be rewinded', refusal);
};

// Keys and envelope

exports.a_wrong_or_unknown_key_is_refused = async (world) => {
  const wrong = world.connect({ secretKey: 'not-the-secret' });
  await refused(4100, FAILED, wrong.listQueue({}));
  await refused(4100, FAILED, wrong.listTopic({}));
  const nobody = world.connect({ secretId: 'COMPAT-ID-NOBODY' });
  await refused(4100, '(10270)secret id is not existed', nobody.listQueue({}));
};

exports.options_are_good_for_one_call = async (world) => {
  // The SDK writes the signature into the caller's object and signs it along with the rest the next time.
  const options = { queueName: await world.queue() };
  await done(world.client.getQueueAttributes(options));
  await refused(4100, FAILED, world.client.getQueueAttributes(options));
  await done(world.client.getQueueAttributes({ queueName: options.queueName }));
};

exports.an_undefined_option_is_sent_as_a_word = async (world) => {
  const options = { queueName: world.queueName(), maxMsgSize: undefined };
  await refused(4000, '(10360)parameter maxMsgSize error type', world.client.createQueue(options));
};

exports.the_clients_own_request_id_comes_back_as_a_number = async (world) => {
  const answer = await done(world.client.listQueue({ clientRequestId: 4711 }));
  assert.equal(answer.clientRequestId, 4711);
};
