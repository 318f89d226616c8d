"""What an HTTP endpoint gets to see of published messages, and what its answers lead to."""

import json
import time

from bodies import SPECIAL
from cmq.topic import Message
from expect import equal, once
from publish_cases import all_delivered
from receiver import header


def case_a_push_in_json(world):
    topic, receiver = world.topic(), world.receiver()
    subscription = world.subscribe(topic, receiver)
    sent = topic.publish_message(Message("h\u00e9llo \U0001f600"))
    # Nothing asks for a confirmation before the first message.
    push = receiver.pushes(1)[0]
    equal((push.method, push.path), ("POST", "/push"))
    equal(header(push, "content-type"), "text/plain")
    equal(header(push, "user-agent"), "Qcloud Notification Service Agent")
    equal(header(push, "host"), receiver.url("").partition("//")[2])
    equal(header(push, "content-length"), str(len(push.body)))
    equal(header(push, "x-cmq-message-id"), sent.msgId)
    assert header(push, "x-cmq-request-id")
    equal(header(push, "x-cmq-message-tag"), None)
    body = json.loads(push.body)
    assert isinstance(body["publishTime"], int) and abs(body.pop("publishTime") - time.time()) < 60
    wanted = {
        "TopicOwner": int(subscription.get_attributes().TopicOwner),
        "topicName": topic.topicName,
        "subscriptionName": subscription.subscriptionName,
        "msgId": sent.msgId,
        "msgBody": "h\u00e9llo \U0001f600",
    }
    equal(body, wanted)
    all_delivered(topic)
    equal(len(receiver.pushes(1)), 1)


def case_a_push_of_the_bare_body(world):
    topic, receiver = world.topic(), world.receiver()
    world.subscribe(topic, receiver, NotifyContentFormat="SIMPLIFIED")
    sent = topic.publish_message(Message("h\u00e9llo \U0001f600"))
    push = receiver.pushes(1)[0]
    equal(push.body, "h\u00e9llo \U0001f600".encode())
    equal((push.method, header(push, "content-type")), ("POST", "text/plain"))
    equal(header(push, "user-agent"), "Qcloud Notification Service Agent")
    equal(header(push, "x-cmq-message-id"), sent.msgId)
    assert header(push, "x-cmq-request-id")


def case_every_character_survives_pushing(world):
    topic, receiver, bare = world.topic(), world.receiver(), world.receiver()
    world.subscribe(topic, receiver)
    world.subscribe(topic, bare, NotifyContentFormat="SIMPLIFIED")
    ids = {topic.publish_message(Message(body)).msgId: body for body in SPECIAL}
    pushes = receiver.pushes(len(SPECIAL))
    equal({header(push, "x-cmq-message-id"): json.loads(push.body)["msgBody"] for push in pushes}, ids)
    pushes = bare.pushes(len(SPECIAL))
    equal({header(push, "x-cmq-message-id"): push.body.decode() for push in pushes}, ids)


def case_tags_are_in_a_header(world):
    topic, receiver = world.topic(), world.receiver()
    world.subscribe(topic, receiver, FilterTag=["red", "blue"])
    one = topic.publish_message(Message("x", ["blue"])).msgId
    two = topic.publish_message(Message("x", ["red", "green"])).msgId
    pushes = receiver.pushes(2)
    found = {header(push, "x-cmq-message-id"): header(push, "x-cmq-message-tag") for push in pushes}
    equal(found, {one: "blue", two: "red, green"})


def case_a_routed_message_is_pushed(world):
    topic, receiver = world.topic(filterType=2), world.receiver()
    world.subscribe(topic, receiver, bindingKey=["news.#"])
    topic.publish_message(Message("x"), "news.today")
    push = receiver.pushes(1)[0]
    equal(json.loads(push.body)["msgBody"], "x")
    equal(header(push, "x-cmq-message-tag"), None)


def case_the_endpoint_keeps_its_path_and_query(world):
    topic, receiver = world.topic(), world.receiver()
    path = "/a/b%20c//d.php?x=1&y=%26+z&x=2"
    world.subscribe(topic, receiver, Endpoint=receiver.url(path))
    topic.publish_message(Message("x"))
    equal(receiver.pushes(1)[0].path, path)


def case_a_batch_is_pushed_one_by_one(world):
    topic, receiver = world.topic(), world.receiver()
    world.subscribe(topic, receiver)
    bodies = ["number %d" % number for number in range(16)]
    sent = topic.batch_publish_message([Message(body) for body in bodies], ["red"])
    pushes = receiver.pushes(16)
    found = {header(push, "x-cmq-message-id"): json.loads(push.body) for push in pushes}
    wanted = {one.msgId: body for one, body in zip(sent, bodies)}
    equal({number: body["msgBody"] for number, body in found.items()}, wanted)
    assert all(body["msgId"] == number for number, body in found.items())
    equal({header(push, "x-cmq-message-tag") for push in pushes}, {"red"})
    equal(len({header(push, "x-cmq-request-id") for push in pushes}), 16)


def case_a_format_that_changed_is_used(world):
    topic, receiver = world.topic(), world.receiver()
    subscription = world.subscribe(topic, receiver)
    meta = subscription.get_attributes()
    meta.NotifyContentFormat = "SIMPLIFIED"
    subscription.set_attributes(meta)
    topic.publish_message(Message("bare"))
    equal(receiver.pushes(1)[0].body, b"bare")


def case_every_success_ends_the_delivery(world):
    topic, receiver = world.topic(), world.receiver(201, 202, 204, 299)
    world.subscribe(topic, receiver)
    for number in range(4):
        topic.publish_message(Message(str(number)))
        all_delivered(topic)
    equal(len(receiver.pushes(4)), 4)


@once
def case_a_failure_is_pushed_again_after_one_and_two_seconds(world):
    topic, receiver = world.topic(), world.receiver(500, 404)
    world.subscribe(topic, receiver)
    sent = topic.publish_message(Message("again", ["red"]))
    first, second, third = receiver.pushes(3)
    assert 0.9 <= second.when - first.when < 8, second.when - first.when
    assert 1.8 <= third.when - second.when < 8, third.when - second.when
    for push in (first, second, third):
        equal(header(push, "x-cmq-message-id"), sent.msgId)
        equal(header(push, "x-cmq-message-tag"), "red")
        equal(push.body, first.body)
    equal(len({header(push, "x-cmq-request-id") for push in (first, second, third)}), 3)
    all_delivered(topic)
    equal(len(receiver.pushes(3)), 3)


@once
def case_a_redirection_is_a_failure(world):
    topic, receiver = world.topic(), world.receiver(302)
    world.subscribe(topic, receiver)
    topic.publish_message(Message("x"))
    equal([push.path for push in receiver.pushes(2)], ["/push", "/push"])
    all_delivered(topic)


@once
def case_what_piled_up_comes_when_the_endpoint_is_back(world):
    topic, receiver = world.topic(), world.receiver(listening=False)
    subscription = world.subscribe(topic, receiver)
    wanted = sorted(topic.publish_message(Message(str(number))).msgId for number in range(5))
    equal(topic.get_attributes().msgCount, 5)
    equal(subscription.get_attributes().inactiveMsgNum, 5)
    receiver.listen()
    pushes = receiver.pushes(5)
    equal(sorted(header(push, "x-cmq-message-id") for push in pushes), wanted)
    all_delivered(topic)
    equal(subscription.get_attributes().inactiveMsgNum, 0)


def case_a_dead_endpoint_delays_nobody_else(world):
    topic, receiver, dead = world.topic(), world.receiver(), world.receiver(listening=False)
    stuck = world.subscribe(topic, dead)
    world.subscribe(topic, receiver)
    for number in range(3):
        topic.publish_message(Message(str(number)))
        receiver.pushes(number + 1, seconds=5)
    equal(stuck.get_attributes().inactiveMsgNum, 3)
    equal(topic.get_attributes().msgCount, 3)


@once
def case_what_waits_goes_with_its_subscription(world):
    topic, dead = world.topic(), world.receiver(listening=False)
    subscription = world.subscribe(topic, dead)
    topic.publish_message(Message("dropped"))
    subscription.delete()
    all_delivered(topic)
    dead.listen()
    # Retries of another subscription tell that the time of those that must not come has passed.
    clock = world.receiver(500, 500)
    world.subscribe(topic, clock)
    topic.publish_message(Message("x"))
    clock.pushes(3)
    equal(dead.pushes(0), [])
