"""What the subscription functions of the SDK must do against our server, a function per promise.

SubscriptionMeta keeps some answers under other names: the endpoint is `maxMsgHeapNum`, the number of
waiting messages `inactiveMsgNum`, and the times begin with a small letter.
"""

import json
import time

from cmq.subscription import SubscriptionMeta
from expect import equal, refused, refused_code

NO_SUBSCRIPTION = "(10560)subscription is not existed"
DECAY = "EXPONENTIAL_DECAY_RETRY"


def subscriber(world, topic, name="sub", **attributes):
    """A subscription that is not made yet, and what to make it with: an HTTP endpoint nobody pushes to."""
    meta = SubscriptionMeta()
    meta.Protocal, meta.Endpoint = "http", "http://127.0.0.1:1/"
    for attribute, value in attributes.items():
        assert hasattr(meta, attribute), attribute
        setattr(meta, attribute, value)
    return world.account.get_subscription(topic.topicName, name), meta


def changes(**attributes):
    """Attributes to set: the SDK sends the strategy and the format unless they are empty."""
    meta = SubscriptionMeta()
    meta.NotifyStrategy, meta.NotifyContentFormat = "", ""
    for attribute, value in attributes.items():
        setattr(meta, attribute, value)
    return meta


def case_an_http_subscription_is_made_with_its_attributes(world):
    topic = world.topic()
    before = time.time()
    subscription, meta = subscriber(
        world,
        topic,
        Endpoint="http://127.0.0.1:1/a/b?c=d&e=%20",
        NotifyStrategy="BACKOFF_RETRY",
        NotifyContentFormat="SIMPLIFIED",
        FilterTag=["red", "blue"],
    )
    subscription.create(meta)
    found = subscription.get_attributes()
    assert isinstance(found.TopicOwner, str) and found.TopicOwner.isdigit(), found.TopicOwner
    equal((found.Protocal, found.maxMsgHeapNum), ("http", meta.Endpoint))
    equal((found.NotifyStrategy, found.NotifyContentFormat), ("BACKOFF_RETRY", "SIMPLIFIED"))
    equal((found.FilterTag, found.bindingKey), (["red", "blue"], []))
    equal(found.inactiveMsgNum, 0)
    assert abs(found.createTime - before) < 60 and abs(found.lastModifyTime - before) < 60
    assert "notifyStrategy" in str(found)


def case_a_queue_subscription_is_made_with_its_attributes(world):
    topic, queue = world.topic(filterType=2), world.queue()
    subscription = world.subscribe(topic, queue, bindingKey=["a.*", "#.b"])
    found = subscription.get_attributes()
    equal((found.Protocal, found.maxMsgHeapNum), ("queue", queue.queue_name))
    equal((found.NotifyStrategy, found.NotifyContentFormat), (DECAY, "SIMPLIFIED"))
    equal((found.FilterTag, found.bindingKey), ([], ["a.*", "#.b"]))


def case_a_subscription_has_the_documented_defaults(world):
    topic, queue = world.topic(), world.queue()
    client = world.account.get_client()
    for protocol, endpoint, wanted in (
        ("http", "http://127.0.0.1:1/", "JSON"),
        ("queue", queue.queue_name, "SIMPLIFIED"),
    ):
        parameters = {"topicName": topic.topicName, "subscriptionName": "to-" + protocol}
        asked = dict(parameters, protocol=protocol, endpoint=endpoint)
        made = json.loads(client.request("Subscribe", asked).data)
        equal((made["code"], made["message"]), (0, ""))
        assert made["subscriptionId"].startswith("subsc-"), made
        found = json.loads(client.request("GetSubscriptionAttributes", parameters).data)
        equal((found["notifyStrategy"], found["notifyContentFormat"]), (DECAY, wanted))


def case_attributes_are_spelled_for_every_client(world):
    topic = world.topic()
    subscription, meta = subscriber(world, topic, FilterTag=["red"])
    subscription.create(meta)
    parameters = {"topicName": topic.topicName, "subscriptionName": "sub"}
    found = json.loads(world.account.get_client().request("GetSubscriptionAttributes", parameters).data)
    equal((found["protocol"], found["protocal"]), ("http", "http"))
    equal((found["filterTag"], found["filterTags"], found["bindingKey"]), (["red"], ["red"], []))
    equal((found["endpoint"], found["msgCount"]), (meta.Endpoint, 0))


def case_a_queue_takes_no_json(world):
    topic, queue = world.topic(), world.queue()
    message = "(10640)notifyContentFormat of protocol queue must be SIMPLIFIED"
    subscription, meta = subscriber(world, topic, Protocal="queue", Endpoint=queue.queue_name)
    refused(4000, message, subscription.create, meta)
    subscription = world.subscribe(topic, queue)
    refused(4000, message, subscription.set_attributes, changes(NotifyContentFormat="JSON"))
    equal(subscription.get_attributes().NotifyContentFormat, "SIMPLIFIED")


def case_a_subscription_name_is_taken_in_its_topic_only(world):
    topic, other = world.topic(), world.topic()
    subscription, meta = subscriber(world, topic)
    subscription.create(meta)
    refused(4490, "(10470)subscribtion is already existed", subscription.create, meta)
    subscription, meta = subscriber(world, other)
    subscription.create(meta)


def case_bad_subscription_names_are_refused(world):
    topic = world.topic()
    for name in ("1digit", "-dash", "a b", "a/b", "\u8ba2\u9605", "x" * 65, "a.b"):
        subscription, meta = subscriber(world, topic, name)
        error = refused_code(4000, subscription.create, meta)
        assert error.message[:7] in ("(10580)", "(10350)"), (name, error.message)
    equal(topic.list_subscription(), (0, [], ""))


def case_bad_endpoints_are_refused(world):
    topic = world.topic()
    for endpoint, code, module in (
        ("127.0.0.1:80/x", 4000, "(10500)"),
        ("ftp://127.0.0.1/x", 4000, "(10500)"),
        ("http://", 4000, "(10500)"),
        ("queue-name", 4000, "(10500)"),
        ("http://127.0.0.1/a b", 4510, "(10570)"),
        ("http://127.0.0.1/" + "x" * 500, 4000, None),
    ):
        subscription, meta = subscriber(world, topic, Endpoint=endpoint)
        error = refused_code(code, subscription.create, meta)
        assert module in (error.message[:7], None), (endpoint, error.message)
    subscription, meta = subscriber(world, topic, Protocal="queue", NotifyContentFormat="SIMPLIFIED")
    meta.Endpoint = world.name("none")
    refused(4440, "(10100)queue is not existed, or deleted", subscription.create, meta)
    equal(topic.list_subscription(), (0, [], ""))


def case_unknown_words_are_refused(world):
    topic = world.topic()
    for attribute, message in (
        ("Protocal", "(10510)undefined protocol"),
        ("NotifyStrategy", "(10520)undefined notify retry stragety"),
        ("NotifyContentFormat", "(10530)undefined notify content format"),
    ):
        subscription, meta = subscriber(world, topic, **{attribute: "smoke-signals"})
        refused(4000, message, subscription.create, meta)
    subscription, meta = subscriber(world, topic)
    subscription.create(meta)
    meta = changes(NotifyStrategy="NEVER")
    refused(4000, "(10520)undefined notify retry stragety", subscription.set_attributes, meta)
    meta = changes(NotifyContentFormat="XML")
    refused(4000, "(10530)undefined notify content format", subscription.set_attributes, meta)


def case_five_tags_of_sixteen_characters_are_the_most(world):
    topic = world.topic()
    fits = ["%016d" % number for number in range(5)]
    subscription, meta = subscriber(world, topic, FilterTag=fits)
    subscription.create(meta)
    equal(subscription.get_attributes().FilterTag, fits)
    for tags, module in ((fits + ["sixth"], "(10490)"), (["x" * 17], "(10350)")):
        other, meta = subscriber(world, topic, "other", FilterTag=tags)
        equal(refused_code(4000, other.create, meta).message[:7], module)
        error = refused_code(4000, subscription.set_attributes, changes(FilterTag=tags))
        equal(error.message[:7], module)
    equal(subscription.get_attributes().FilterTag, fits)


def case_binding_keys_are_required_and_limited(world):
    topic = world.topic(filterType=2)
    subscription, meta = subscriber(world, topic)
    refused(4000, "(10710)parameters lack of bindingKey", subscription.create, meta)
    fits = [".".join("abcdefghijklmnop"), "x" * 64, "#", "*.*", "a"]
    meta.bindingKey = fits
    subscription.create(meta)
    equal(subscription.get_attributes().bindingKey, fits)
    for keys, module in (
        (fits + ["sixth"], "(10680)"),
        ([".".join("abcdefghijklmnopq")], "(10691)"),
        (["x" * 65], "(10350)"),
    ):
        other, meta = subscriber(world, topic, "other", bindingKey=keys)
        equal(refused_code(4000, other.create, meta).message[:7], module)
        error = refused_code(4000, subscription.set_attributes, changes(bindingKey=keys))
        equal(error.message[:7], module)
    equal(subscription.get_attributes().bindingKey, fits)


def case_attributes_that_are_given_are_changed_and_others_kept(world):
    topic = world.topic()
    subscription, meta = subscriber(world, topic, FilterTag=["red", "blue"])
    subscription.create(meta)

    def now():
        found = subscription.get_attributes()
        return found.NotifyStrategy, found.NotifyContentFormat, found.FilterTag

    equal(now(), (DECAY, "JSON", ["red", "blue"]))
    subscription.set_attributes(changes(NotifyStrategy="BACKOFF_RETRY"))
    equal(now(), ("BACKOFF_RETRY", "JSON", ["red", "blue"]))
    subscription.set_attributes(changes(NotifyContentFormat="SIMPLIFIED"))
    equal(now(), ("BACKOFF_RETRY", "SIMPLIFIED", ["red", "blue"]))
    subscription.set_attributes(changes(FilterTag=["green"]))
    equal(now(), ("BACKOFF_RETRY", "SIMPLIFIED", ["green"]))


def case_binding_keys_are_replaced(world):
    topic = world.topic(filterType=2)
    subscription, meta = subscriber(world, topic, bindingKey=["a", "b"])
    subscription.create(meta)
    subscription.set_attributes(changes(bindingKey=["c"]))
    equal(subscription.get_attributes().bindingKey, ["c"])


def case_tags_are_cleared(world):
    topic = world.topic()
    subscription, meta = subscriber(world, topic, FilterTag=["red"])
    subscription.create(meta)
    subscription.clearFilterTags()
    equal(subscription.get_attributes().FilterTag, [])
    subscription.clearFilterTags()


def case_clearing_tags_keeps_binding_keys(world):
    topic = world.topic(filterType=2)
    subscription, meta = subscriber(world, topic, bindingKey=["a"])
    subscription.create(meta)
    subscription.clearFilterTags()
    equal(subscription.get_attributes().bindingKey, ["a"])


def case_subscriptions_are_listed_page_by_page(world):
    topic = world.topic()
    equal(topic.list_subscription(), (0, [], ""))
    names = ["one-%d" % number for number in range(4)] + ["other"]
    for name in names:
        subscription, meta = subscriber(world, topic, name)
        subscription.create(meta)
    found, offset, pages = [], "", 0
    while pages < 10:
        total, listed, offset = topic.list_subscription(limit=2, offset=offset)
        equal(total, 5)
        found += listed
        pages += 1
        if offset == "":
            break
    equal(pages, 3)
    equal(sorted(entry["subscriptionName"] for entry in found), names)
    assert all(entry["subscriptionId"] for entry in found)
    equal({(entry["protocol"], entry["endpoint"]) for entry in found}, {("http", "http://127.0.0.1:1/")})
    total, listed, _ = topic.list_subscription("ther")
    equal((total, [entry["subscriptionName"] for entry in listed]), (1, ["other"]))
    equal(topic.list_subscription("nothing"), (0, [], ""))


def case_a_subscription_that_is_not_there(world):
    topic = world.topic()
    subscription, meta = subscriber(world, topic)
    subscription.create(meta)
    subscription.delete()
    for call in (
        subscription.get_attributes,
        lambda: subscription.set_attributes(changes(FilterTag=["red"])),
        subscription.clearFilterTags,
        subscription.delete,
    ):
        refused(4000, NO_SUBSCRIPTION, call)
    equal(topic.list_subscription(), (0, [], ""))
