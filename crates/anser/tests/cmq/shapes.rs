//! The types of every answer's members, as the strictest clients read them.

use serde_json::{Map, Value, json};

use super::{answer::Answer, world::World};

/// A value with types in the place of values; a list stands for its first member.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("truth"),
        Value::Number(number) if number.is_u64() => json!("number"),
        Value::Number(_) => json!("odd number"),
        Value::String(_) => json!("text"),
        Value::Array(list) => Value::Array(list.iter().take(1).map(shape).collect()),
        Value::Object(members) => {
            let members = members.iter();
            Value::Object(
                members
                    .map(|(name, value)| (name.clone(), shape(value)))
                    .collect(),
            )
        }
    }
}

fn fields(answer: &Answer) -> Value {
    shape(&Value::Object(answer.fields()))
}

fn message() -> Value {
    json!({
        "msgId": "text",
        "receiptHandle": "text",
        "msgBody": "text",
        "enqueueTime": "number",
        "firstDequeueTime": "number",
        "nextVisibleTime": "number",
        "dequeueCount": "number",
    })
}

fn attributes() -> Map<String, Value> {
    let mut attributes = Map::new();
    attributes.insert("queueId".into(), json!("text"));
    for name in [
        "maxMsgHeapNum",
        "pollingWaitSeconds",
        "visibilityTimeout",
        "maxMsgSize",
        "msgRetentionSeconds",
        "rewindSeconds",
    ] {
        attributes.insert(name.into(), json!("number"));
    }
    attributes
}

fn description() -> Map<String, Value> {
    let mut description = attributes();
    for name in [
        "createTime",
        "lastModifyTime",
        "activeMsgNum",
        "inactiveMsgNum",
        "delayMsgNum",
        "rewindMsgNum",
        "rewindmsgNum",
        "minMsgTime",
        "createUin",
        "Bps",
        "qps",
    ] {
        description.insert(name.into(), json!("number"));
    }
    description.insert("queueName".into(), json!("text"));
    description.insert("tags".into(), json!([]));
    description
}

#[test]
fn answers_about_messages_have_the_types_that_clients_read() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("shapes", &[]);
    let q = ("queueName", "shapes");
    let sent = caller.call("SendMessage", &[q, ("msgBody", "x")]).done();
    assert_eq!(fields(&sent), json!({"msgId": "text"}));
    let sent = caller.batch_send("shapes", &["y", "z"]).done();
    assert_eq!(fields(&sent), json!({"msgList": [{"msgId": "text"}]}));
    let received = caller.receive("shapes").done();
    assert_eq!(fields(&received), message());
    let batch = caller.batch_receive("shapes", "16").done();
    assert_eq!(fields(&batch), json!({"msgInfoList": [message()]}));
    let deleted = caller
        .delete("shapes", received.text("receiptHandle"))
        .done();
    assert_eq!(fields(&deleted), json!({}));
    let handles = batch.texts("msgInfoList", "receiptHandle");
    let deleted = caller.batch_delete("shapes", &[&handles[0]]).done();
    assert_eq!(fields(&deleted), json!({}));
    let failed = caller.batch_delete("shapes", &["1"]);
    let wanted =
        json!({"errorList": [{"code": "number", "message": "text", "receiptHandle": "text"}]});
    assert_eq!(fields(&failed), wanted);
}

#[test]
fn answers_about_queues_have_the_types_that_clients_read() {
    let world = World::shared();
    let mut caller = world.caller();
    let q = ("queueName", "shapes-queue");
    let created = caller.create("shapes-queue", &[("rewindSeconds", "60")]);
    assert_eq!(fields(&created), json!({"queueId": "text"}));
    let found = caller.attributes("shapes-queue");
    assert_eq!(fields(&found), Value::Object(description()));
    let set = caller
        .set("shapes-queue", &[("visibilityTimeout", "5")])
        .done();
    assert_eq!(fields(&set), Value::Object(attributes()));
    let listed = caller
        .call("ListQueue", &[("searchWord", "shapes-queue")])
        .done();
    let entry = json!({"queueId": "text", "queueName": "text"});
    assert_eq!(
        fields(&listed),
        json!({"totalCount": "number", "queueList": [entry]})
    );
    let listed = caller
        .call("ListQueue", &[("searchWord", "nothing-like-it")])
        .done();
    assert_eq!(
        fields(&listed),
        json!({"totalCount": "number", "queueList": []})
    );
    let name = ("deadLetterQueueName", "shapes-queue");
    let listed = caller.call("ListDeadLetterSourceQueues", &[name]).done();
    assert_eq!(
        fields(&listed),
        json!({"totalCount": "number", "queueList": []})
    );
    let unbound = caller.call("UnbindDeadLetterQueue", &[q]).done();
    assert_eq!(fields(&unbound), json!({"queueId": "text"}));
    let time = ("startConsumeTime", "1700000000");
    for (action, parameters) in [
        ("RewindQueue", &[q, time][..]),
        ("ClearQueue", &[q]),
        ("DeleteQueue", &[q]),
    ] {
        assert_eq!(
            fields(&caller.call(action, parameters).done()),
            json!({}),
            "{action}"
        );
    }
}
