"""What the topic functions of the SDK must do against our server, a function per promise."""

import json
import time

from cmq.subscription import SubscriptionMeta
from cmq.topic import Message, TopicMeta
from expect import equal, refused, refused_code

NO_TOPIC = "(10600)topic is not existed, or deleted"
DAY = 86400


def case_a_topic_is_created_with_its_attributes(world):
    before = time.time()
    topic = world.topic(maxMsgSize=2048, filterType=2)
    meta = topic.get_attributes()
    equal(meta.topicName, topic.topicName)
    equal((meta.maxMsgSize, meta.filterType), (2048, 2))
    equal((meta.msgRetentionSeconds, meta.msgCount), (DAY, 0))
    assert abs(meta.createTime - before) < 60 and abs(meta.lastModifyTime - before) < 60
    assert "maxMsgSize" in str(meta)


def case_a_topic_has_the_documented_defaults(world):
    client = world.account.get_client()
    name = world.topic_name()
    created = json.loads(client.request("CreateTopic", {"topicName": name}).data)
    equal((created["code"], created["message"]), (0, ""))
    assert created["topicId"].startswith("topic-"), created
    found = json.loads(client.request("GetTopicAttributes", {"topicName": name}).data)
    wanted = {"code": 0, "maxMsgSize": 65536, "filterType": 1, "msgRetentionSeconds": DAY, "msgCount": 0}
    equal({field: found[field] for field in wanted}, wanted)


def case_the_size_of_a_topic_is_changed_and_nothing_else(world):
    topic = world.topic()
    meta = TopicMeta()
    meta.maxMsgSize = 1048576
    topic.set_attributes(meta)
    found = topic.get_attributes()
    equal((found.maxMsgSize, found.filterType), (1048576, 1))
    parameters = {"topicName": topic.topicName, "maxMsgSize": 1024, "filterType": 2}
    world.account.get_client().request("SetTopicAttributes", parameters)
    equal(topic.get_attributes().filterType, 1)


def case_topic_attributes_out_of_range_are_refused(world):
    topic = world.topic()
    meta = TopicMeta()
    for size in (1023, 1048577):
        meta.maxMsgSize = size
        message = "(10350)parameter maxMsgSize value or length is out of range"
        refused(4000, message, topic.set_attributes, meta)
        refused(4000, message, world.account.get_topic(world.topic_name()).create, meta)
    equal(topic.get_attributes().maxMsgSize, 65536)
    meta = TopicMeta()
    for kind in (0, 3):
        meta.filterType = kind
        message = "(10350)parameter filterType value or length is out of range"
        refused(4000, message, world.account.get_topic(world.topic_name()).create, meta)


def case_a_topic_name_is_taken_whatever_its_case(world):
    topic = world.topic()
    for name in (topic.topicName, topic.topicName.upper()):
        refused(4460, "(10550)topic is already existed", world.account.get_topic(name).create, TopicMeta())


def case_a_queue_may_have_the_name_of_a_topic(world):
    queue = world.queue()
    world.account.get_topic(queue.queue_name).create(TopicMeta())
    world.account.get_topic(queue.queue_name).delete()
    queue.get_attributes()


def case_bad_topic_names_are_refused(world):
    for name in ("1digit", "-dash", "a b", "a/b", "../x", "\u4e3b\u9898", "x" * 65, "a.b", "a\nb"):
        error = refused_code(4000, world.account.get_topic(name).create, TopicMeta())
        assert error.message[:7] in ("(10590)", "(10350)"), (name, error.message)


def case_a_topic_that_is_not_there(world):
    topic = world.account.get_topic(world.topic_name("none"))
    subscription = world.account.get_subscription(topic.topicName, "any")
    meta = SubscriptionMeta()
    meta.Protocal, meta.Endpoint = "http", "http://127.0.0.1:1/"
    for call in (
        topic.get_attributes,
        lambda: topic.set_attributes(TopicMeta()),
        topic.delete,
        topic.list_subscription,
        lambda: topic.publish_message(Message("x")),
        lambda: topic.batch_publish_message([Message("x")]),
        lambda: subscription.create(meta),
        subscription.get_attributes,
        lambda: subscription.set_attributes(meta),
        subscription.clearFilterTags,
        subscription.delete,
    ):
        refused(4440, NO_TOPIC, call)


def case_a_topic_with_subscriptions_stays(world):
    topic = world.topic()
    subscription = world.subscribe(topic, world.queue())
    refused(
        4000,
        "(10540)there exists subscriptions under this topic,"
        " please unsubscribe all of them before DeleteTopic",
        topic.delete,
    )
    subscription.get_attributes()
    subscription.delete()
    topic.delete()
    refused(4440, NO_TOPIC, topic.get_attributes)


def case_topics_are_listed_page_by_page(world):
    hint = "list%d" % time.time_ns()
    names = [world.topic(hint).topicName for _ in range(5)]
    found, offset, pages = [], "", 0
    while pages < 10:
        total, listed, offset = world.account.list_topic(hint, 2, offset)
        equal(total, 5)
        found += [entry["topicName"] for entry in listed]
        assert all(entry["topicId"] for entry in listed)
        pages += 1
        if offset == "":
            break
    equal(pages, 3)
    equal(sorted(found), sorted(names))


def case_a_search_finds_parts_of_topic_names(world):
    hint = "find%d" % time.time_ns()
    topic = world.topic(hint)
    total, listed, offset = world.account.list_topic(hint)
    equal((total, offset), (1, ""))
    equal(listed[0]["topicName"], topic.topicName)
    equal(world.account.list_topic("nothing-has-this-name"), (0, [], ""))
    total, listed, _ = world.account.list_topic()
    assert total >= 1 and 1 <= len(listed) <= 20
