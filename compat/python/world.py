"""One case's view of the server: accounts, and queues, topics and receivers of its own."""

import itertools
import logging
import time

from cmq.account import Account
from cmq.cmq_exception import CMQServerException
from cmq.queue import QueueMeta
from cmq.subscription import SubscriptionMeta
from cmq.topic import TopicMeta
from receiver import Receiver

_numbers = itertools.count(1)


class World:
    """Has a method and a signature algorithm, and removes what a case made through it."""

    def __init__(self, endpoint, key, label, method, algorithm):
        self.endpoint = endpoint
        self.secret_id, _, self.secret_key = key.partition(":")
        self.label = label
        self.method = method
        self.algorithm = algorithm
        self._made = []
        self._topics = []
        self._receivers = []
        self.account = self.connect()

    def connect(self, secret_id=None, secret_key=None, endpoint=None):
        """A new account object, so a new connection."""
        account = Account(
            endpoint or self.endpoint, secret_id or self.secret_id, secret_key or self.secret_key
        )
        account.set_log_level(logging.CRITICAL)
        account.set_sign(self.algorithm)
        account.get_client().set_method(self.method)
        return account

    def _unused(self, hint):
        return "compat-%s-%s-%d-%d" % (self.label, hint, time.time_ns() // 1000, next(_numbers))

    def name(self, hint="q"):
        """A queue name that nobody has used."""
        self._made.append(self._unused(hint))
        return self._made[-1]

    def topic_name(self, hint="t"):
        """A topic name that nobody has used."""
        self._topics.append(self._unused(hint))
        return self._topics[-1]

    def queue(self, hint="q", **attributes):
        """A new queue with these attributes."""
        queue = self.account.get_queue(self.name(hint))
        queue.create(_filled(QueueMeta(), attributes))
        return queue

    def topic(self, hint="t", **attributes):
        """A new topic with these attributes."""
        topic = self.account.get_topic(self.topic_name(hint))
        topic.create(_filled(TopicMeta(), attributes))
        return topic

    def receiver(self, *statuses, listening=True):
        """A new HTTP endpoint; see Receiver."""
        self._receivers.append(Receiver(*statuses, listening=listening))
        return self._receivers[-1]

    def subscribe(self, topic, target, name=None, **attributes):
        """A new subscription to a receiver, or to a queue, which takes no format but SIMPLIFIED."""
        meta = SubscriptionMeta()
        if isinstance(target, Receiver):
            meta.Protocal, meta.Endpoint = "http", target.url()
        else:
            meta.Protocal, meta.Endpoint = "queue", target.queue_name
            meta.NotifyContentFormat = "SIMPLIFIED"
        subscription = self.account.get_subscription(topic.topicName, name or self._unused("s"))
        subscription.create(_filled(meta, attributes))
        return subscription

    def close_receivers(self):
        while self._receivers:
            self._receivers.pop().close()

    def close(self):
        account = self.connect()
        for name in self._topics:
            _ignore_missing(_remove_topic, account, name)
        # A dead-letter queue cannot go before its sources, which were made after it.
        for name in reversed(self._made):
            _ignore_missing(account.get_queue(name).delete)


def _filled(meta, attributes):
    for attribute, value in attributes.items():
        assert hasattr(meta, attribute), attribute
        setattr(meta, attribute, value)
    return meta


def _remove_topic(account, name):
    topic = account.get_topic(name)
    _, listed, _ = topic.list_subscription(limit=100)
    for entry in listed:
        account.get_subscription(name, entry["subscriptionName"]).delete()
    topic.delete()


def _ignore_missing(call, *arguments):
    try:
        call(*arguments)
    except CMQServerException as error:
        if error.code != 4440:
            raise
