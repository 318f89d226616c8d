"""What becomes of a published message: refused, or in the queues whose subscriptions match."""

from bodies import SPECIAL
from cmq.cmq_exception import CMQServerException
from cmq.topic import Message
from expect import equal, eventually, nothing_in, once, refused, refused_code

NO_SUBSCRIPTION = "(10650)topic has no subscription, please create a subscription before publishing message"
NO_MATCH = "(10730)no bindingKey or filterTag matches the routingKey or msgTag"
TOO_LARGE = "(10230)exceed maximum message size"


def all_delivered(topic):
    """Waits until no subscription has anything to come."""
    eventually("the topic is empty", lambda: topic.get_attributes().msgCount == 0)


def bodies_in(queue):
    """Takes everything out of the queue: the bodies in alphabetical order."""
    found = []
    while True:
        try:
            received = queue.batch_receive_message(16, 0)
        except CMQServerException as error:
            equal((error.code, error.message), (7000, "(10200)no message"))
            return sorted(found)
        found += [message.msgBody for message in received]
        queue.batch_delete_message([message.receiptHandle for message in received])


# Refusals


def case_nobody_has_subscribed(world):
    topic = world.topic()
    refused(6030, NO_SUBSCRIPTION, topic.publish_message, Message("x"))
    refused(6030, NO_SUBSCRIPTION, topic.batch_publish_message, [Message("x")])
    subscription = world.subscribe(topic, world.queue())
    topic.publish_message(Message("x"))
    subscription.delete()
    refused(6030, NO_SUBSCRIPTION, topic.publish_message, Message("x"))


def case_no_tag_matches(world):
    topic, queue = world.topic(), world.queue()
    world.subscribe(topic, queue, FilterTag=["red"])
    refused(6030, NO_MATCH, topic.publish_message, Message("x"))
    refused(6030, NO_MATCH, topic.publish_message, Message("x", ["blue", "Red", "re"]))
    refused(6030, NO_MATCH, topic.batch_publish_message, [Message("x")], ["blue"])
    equal(topic.get_attributes().msgCount, 0)
    nothing_in(queue)


def case_no_binding_key_matches(world):
    topic, queue = world.topic(filterType=2), world.queue()
    world.subscribe(topic, queue, bindingKey=["a.*"])
    for key in ("a", "b.a", "A.b", "a.b.c"):
        refused(6030, NO_MATCH, topic.publish_message, Message("x"), key)
        refused(6030, NO_MATCH, topic.batch_publish_message, [Message("x")], [], key)
    nothing_in(queue)


def case_a_routing_key_is_required_and_limited(world):
    topic = world.topic(filterType=2)
    world.subscribe(topic, world.queue(), bindingKey=["#"])
    refused(4000, "(10700)parameters lack of routingKey", topic.publish_message, Message("x"))
    refused(4000, "(10700)parameters lack of routingKey", topic.batch_publish_message, [Message("x")])
    many = ".".join("abcdefghijklmnopq")
    refused(4000, "(10691)too many delimeters", topic.publish_message, Message("x"), many)
    topic.publish_message(Message("x"), many[:-2])
    equal(refused_code(4000, topic.publish_message, Message("x"), "x" * 65).message[:7], "(10350)")
    topic.publish_message(Message("x"), "x" * 64)


def case_five_tags_of_sixteen_characters_are_the_most_of_a_message(world):
    topic = world.topic()
    world.subscribe(topic, world.queue())
    fits = ["%016d" % number for number in range(5)]
    topic.publish_message(Message("x", fits))
    refused(4000, "(10720)too many msgTag", topic.publish_message, Message("x", fits + ["sixth"]))
    refused(4000, "(10720)too many msgTag", topic.batch_publish_message, [Message("x")], fits + ["sixth"])
    equal(refused_code(4000, topic.publish_message, Message("x", ["x" * 17])).message[:7], "(10350)")


def case_bodies_to_publish_are_limited(world):
    topic, queue = world.topic(maxMsgSize=1024), world.queue()
    world.subscribe(topic, queue)
    refused(4000, "(10120)message body can't be empty", topic.publish_message, Message(""))
    refused(4400, TOO_LARGE, topic.publish_message, Message("x" * 1025))
    # A character of three bytes counts as three.
    refused(4400, TOO_LARGE, topic.publish_message, Message("\u4e16" * 342))
    refused(4400, TOO_LARGE, topic.batch_publish_message, [Message("fits"), Message("x" * 1025)])
    topic.publish_message(Message("x" * 1024))
    all_delivered(topic)
    equal(bodies_in(queue), ["x" * 1024])


def case_a_batch_to_publish_has_one_to_sixteen_bodies(world):
    topic, queue = world.topic(), world.queue()
    world.subscribe(topic, queue)
    for count in (0, 17):
        error = refused_code(4000, topic.batch_publish_message, [Message("x")] * count)
        assert error.message[:7] in ("(10370)", "(10390)"), error.message
    nothing_in(queue)


def case_a_batch_to_publish_has_a_megabyte_at_most(world):
    if world.method == "GET":
        return
    topic, queue = world.topic(maxMsgSize=1048576), world.queue(maxMsgSize=1048576)
    world.subscribe(topic, queue)
    half = "x" * 524288
    topic.batch_publish_message([Message(half), Message(half)])
    error = refused_code(4470, topic.batch_publish_message, [Message(half), Message(half + "x")])
    equal(error.message, "(10300)total message size exceed 1MB")
    all_delivered(topic)
    equal(bodies_in(queue), [half, half])


def case_encoded_bodies_cannot_be_published(world):
    """As with queues, the SDK signs another text than it sends."""
    topic = world.topic()
    world.subscribe(topic, world.queue())
    topic.set_encoding(True)
    refused(4100, "(10030)authentication failed", topic.publish_message, Message(b"x"))
    refused(4100, "(10030)authentication failed", topic.batch_publish_message, [Message(b"x")])


# Delivery


def case_a_published_message_comes_to_the_queue(world):
    topic, queue = world.topic(), world.queue()
    subscription = world.subscribe(topic, queue)
    sent = topic.publish_message(Message("hello"))
    assert sent.msgId.isdigit(), sent.msgId
    assert "msgId" in str(sent)
    message = queue.receive_message(10)
    equal((message.msgBody, message.dequeueCount), ("hello", 1))
    queue.delete_message(message.receiptHandle)
    all_delivered(topic)
    equal(subscription.get_attributes().inactiveMsgNum, 0)
    nothing_in(queue)


def case_every_character_survives_publishing(world):
    topic, queue = world.topic(), world.queue()
    world.subscribe(topic, queue)
    for body in SPECIAL:
        topic.publish_message(Message(body))
    all_delivered(topic)
    equal(bodies_in(queue), sorted(SPECIAL))


def case_a_full_batch_is_published(world):
    topic, queue = world.topic(), world.queue()
    world.subscribe(topic, queue)
    bodies = ["number %02d" % number for number in range(16)]
    sent = topic.batch_publish_message([Message(body) for body in bodies])
    equal(len({one.msgId for one in sent}), 16)
    all_delivered(topic)
    equal(bodies_in(queue), bodies)


def case_every_subscription_gets_a_message(world):
    topic = world.topic()
    queues = [world.queue() for _ in range(3)]
    for queue in queues:
        world.subscribe(topic, queue)
    topic.publish_message(Message("for all"))
    for queue in queues:
        equal(queue.receive_message(10).msgBody, "for all")


def case_a_queue_may_be_subscribed_twice(world):
    topic, queue = world.topic(), world.queue()
    for name in ("one", "two"):
        world.subscribe(topic, queue, name)
    topic.publish_message(Message("x"))
    all_delivered(topic)
    equal(bodies_in(queue), ["x", "x"])


def case_tags_choose(world):
    topic = world.topic()
    everything, red, both = world.queue(), world.queue(), world.queue()
    world.subscribe(topic, everything)
    world.subscribe(topic, red, FilterTag=["red"])
    world.subscribe(topic, both, FilterTag=["red", "blue"])
    topic.publish_message(Message("none"))
    topic.publish_message(Message("red"), "")
    topic.publish_message(Message("tagged red", ["red"]))
    topic.publish_message(Message("tagged blue", ["blue"]))
    topic.publish_message(Message("tagged both", ["blue", "red", "green"]))
    topic.batch_publish_message([Message("batch 1"), Message("batch 2")], ["blue"])
    all_delivered(topic)
    batch = ["batch 1", "batch 2"]
    equal(bodies_in(everything), batch + ["none", "red", "tagged blue", "tagged both", "tagged red"])
    equal(bodies_in(red), ["tagged both", "tagged red"])
    equal(bodies_in(both), batch + ["tagged blue", "tagged both", "tagged red"])


def case_tags_that_changed_choose(world):
    topic, everything, queue = world.topic(), world.queue(), world.queue()
    world.subscribe(topic, everything)
    subscription = world.subscribe(topic, queue, FilterTag=["red"])
    topic.publish_message(Message("1 blue", ["blue"]))
    meta = subscription.get_attributes()
    meta.FilterTag = ["blue"]
    subscription.set_attributes(meta)
    topic.publish_message(Message("2 blue", ["blue"]))
    topic.publish_message(Message("3 red", ["red"]))
    subscription.clearFilterTags()
    topic.publish_message(Message("4 red", ["red"]))
    topic.publish_message(Message("5 none"))
    all_delivered(topic)
    equal(bodies_in(queue), ["2 blue", "4 red", "5 none"])
    equal(len(bodies_in(everything)), 5)


# Which routing keys a binding key matches, of those that are published below.
BINDINGS = {
    "1.*.0": ["1.any.0"],
    "1.#.0": ["1.0", "1.2.3.0", "1.2.3.4.4.2.2.0", "1.any.0"],
    "*.*.*": ["1.any.0", "a.b.c", "usa.news.x"],
    "usa.#": ["usa", "usa.news.x"],
    "a": ["a"],
    "a*": [],
    "#": ["1.0", "1.2.3.0", "1.2.3.4.4.2.2.0", "1.any.0", "A", "a", "a.b", "a.b.c", "usa", "usa.news.x"],
}


def case_routing_keys_choose(world):
    topic = world.topic(filterType=2)
    queues = {key: world.queue() for key in BINDINGS}
    for key, queue in queues.items():
        world.subscribe(topic, queue, bindingKey=[key])
    for key in BINDINGS["#"]:
        topic.publish_message(Message(key), key)
    all_delivered(topic)
    for key, queue in queues.items():
        equal((key, bodies_in(queue)), (key, BINDINGS[key]))


def case_a_batch_shares_its_routing_key(world):
    topic, queue = world.topic(filterType=2), world.queue()
    world.subscribe(topic, queue, bindingKey=["a.b"])
    topic.batch_publish_message([Message("1"), Message("2")], routingKey="a.b")
    all_delivered(topic)
    equal(bodies_in(queue), ["1", "2"])


def case_several_matches_are_one_delivery(world):
    topic, queue = world.topic(filterType=2), world.queue()
    world.subscribe(topic, queue, bindingKey=["a.*", "*.b", "#"])
    topic.publish_message(Message("x"), "a.b")
    tagged, other = world.topic(), world.queue()
    world.subscribe(tagged, other, FilterTag=["red", "blue"])
    tagged.publish_message(Message("x", ["red", "blue"]))
    for topic, queue in ((topic, queue), (tagged, other)):
        all_delivered(topic)
        equal(bodies_in(queue), ["x"])


def case_the_other_kind_of_filter_is_ignored(world):
    tagged, queue = world.topic(), world.queue()
    world.subscribe(tagged, queue, bindingKey=["a"])
    tagged.publish_message(Message("x"), "b")
    equal(queue.receive_message(10).msgBody, "x")
    routed, queue = world.topic(filterType=2), world.queue()
    world.subscribe(routed, queue, bindingKey=["a"], FilterTag=["red"])
    routed.publish_message(Message("x", ["blue"]), "a")
    equal(queue.receive_message(10).msgBody, "x")


def case_a_subscription_gets_what_comes_after_it_and_before_its_end(world):
    topic, first, second = world.topic(), world.queue(), world.queue()
    world.subscribe(topic, first)
    topic.publish_message(Message("1"))
    subscription = world.subscribe(topic, second)
    topic.publish_message(Message("2"))
    all_delivered(topic)
    subscription.delete()
    topic.publish_message(Message("3"))
    all_delivered(topic)
    equal(bodies_in(first), ["1", "2", "3"])
    equal(bodies_in(second), ["2"])


@once
def case_a_message_too_large_for_the_queue_waits_until_it_fits(world):
    topic, queue = world.topic(), world.queue(maxMsgSize=1024)
    subscription = world.subscribe(topic, queue)
    topic.publish_message(Message("x" * 1025))
    nothing_in(queue, 1)
    equal(subscription.get_attributes().inactiveMsgNum, 1)
    meta = queue.get_attributes()
    meta.maxMsgSize = 2048
    queue.set_attributes(meta)
    equal(queue.receive_message(10).msgBody, "x" * 1025)
    all_delivered(topic)
