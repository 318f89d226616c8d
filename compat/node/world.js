'use strict';

/* One case's view of the server: clients, and queues, topics and receivers of its own. */

const { CMQ } = require('cmq-sdk');

const { NO_MESSAGE, done, eventually, refused } = require('./expect');
const { Receiver } = require('./receiver');

const REGION = 'gz';
let number = 0;

class World {
  /** The mode is a signature method and whether the SDK asks the public (https) or the private (http) hosts. */
  constructor(key, label, mode) {
    const colon = key.indexOf(':');
    this.secretId = key.slice(0, colon);
    this.secretKey = key.slice(colon + 1);
    this.label = label;
    this.mode = mode;
    this.queues = [];
    this.topics = [];
    this.receivers = [];
    this.client = this.connect();
  }

  connect(changes = {}) {
    return CMQ.NEW({
      path: '/v2/index.php',
      signatureMethod: this.mode.signatureMethod,
      extranet: this.mode.extranet,
      secretId: this.secretId,
      secretKey: this.secretKey,
      region: REGION,
      ...changes,
    });
  }

  /** A name that nobody has used. */
  name(hint) {
    number += 1;
    return `compat-${this.label}-${hint}-${Date.now()}-${number}`;
  }

  queueName(hint = 'q') {
    this.queues.push(this.name(hint));
    return this.queues[this.queues.length - 1];
  }

  topicName(hint = 't') {
    this.topics.push(this.name(hint));
    return this.topics[this.topics.length - 1];
  }

  /** The name of a new queue with these attributes. */
  async queue(attributes = {}, hint = undefined) {
    const queueName = this.queueName(hint);
    await done(this.client.createQueue({ queueName, ...attributes }));
    return queueName;
  }

  /** The name of a new topic with these attributes. */
  async topic(attributes = {}, hint = undefined) {
    const topicName = this.topicName(hint);
    await done(this.client.createTopic({ topicName, ...attributes }));
    return topicName;
  }

  /** A new HTTP endpoint; see Receiver. */
  async receiver(...statuses) {
    this.receivers.push(await Receiver.start(...statuses));
    return this.receivers[this.receivers.length - 1];
  }

  /** The name of a new subscription of a receiver, or of the queue with this name. */
  async subscribe(topicName, target, attributes = {}) {
    const subscriptionName = this.name('s');
    const where =
      target instanceof Receiver
        ? { protocol: 'http', endpoint: target.url() }
        : { protocol: 'queue', endpoint: target };
    await done(this.client.subscribe({ topicName, subscriptionName, ...where, ...attributes }));
    return subscriptionName;
  }

  /** Waits until no subscription of the topic has anything to come. */
  async allDelivered(topicName) {
    const count = async () => (await done(this.client.getTopicAttributes({ topicName }))).msgCount;
    await eventually('the topic is empty', async () => (await count()) === 0);
  }

  /** Takes everything out of the queue: the bodies in alphabetical order. */
  async bodiesIn(queueName) {
    const found = [];
    for (;;) {
      const answer = await this.client.batchReceiveMessage({ queueName, numOfMsg: 16 });
      if (answer.code === 7000) {
        return found.sort();
      }
      const received = (await done(answer)).msgInfoList;
      found.push(...received.map((message) => message.msgBody));
      const receiptHandle = received.map((message) => message.receiptHandle);
      await done(this.client.batchDeleteMessage({ queueName, receiptHandle }));
    }
  }

  async nothingIn(queueName) {
    await refused(7000, NO_MESSAGE, this.client.receiveMessage({ queueName }));
  }

  async closeReceivers() {
    await Promise.all(this.receivers.splice(0).map((receiver) => receiver.close()));
  }

  async close() {
    const gone = async (call) => {
      const answer = await call;
      return answer.code === 4440 ? answer : done(answer);
    };
    for (const topicName of this.topics) {
      const { subscriptionList = [] } = await gone(
        this.client.listSubscriptionByTopic({ topicName, limit: 100 }),
      );
      for (const { subscriptionName } of subscriptionList) {
        await done(this.client.unsubscribe({ topicName, subscriptionName }));
      }
      await gone(this.client.deleteTopic({ topicName }));
    }
    for (const queueName of this.queues) {
      await gone(this.client.deleteQueue({ queueName }));
    }
  }
}

module.exports = { REGION, World };
