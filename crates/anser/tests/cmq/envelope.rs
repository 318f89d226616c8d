//! What every answer holds, and mistakes that every action can be asked with: C6–C15.

use super::{
    answer::{NO_MESSAGE, NO_QUEUE, missing, out_of_range, wrong_type},
    caller::numbered,
    world::World,
};

/// Every action with parameters that are right in form.
const ACTIONS: &[(&str, &[(&str, &str)])] = &[
    ("CreateQueue", &[("queueName", "q")]),
    ("ListQueue", &[]),
    ("GetQueueAttributes", &[("queueName", "q")]),
    ("SetQueueAttributes", &[("queueName", "q")]),
    ("DeleteQueue", &[("queueName", "q")]),
    ("ClearQueue", &[("queueName", "q")]),
    (
        "RewindQueue",
        &[("queueName", "q"), ("startConsumeTime", "1")],
    ),
    ("SendMessage", &[("queueName", "q"), ("msgBody", "x")]),
    (
        "BatchSendMessage",
        &[("queueName", "q"), ("msgBody.1", "x")],
    ),
    ("ReceiveMessage", &[("queueName", "q")]),
    (
        "BatchReceiveMessage",
        &[("queueName", "q"), ("numOfMsg", "1")],
    ),
    (
        "DeleteMessage",
        &[("queueName", "q"), ("receiptHandle", "1")],
    ),
    (
        "BatchDeleteMessage",
        &[("queueName", "q"), ("receiptHandle.1", "1")],
    ),
    (
        "ListDeadLetterSourceQueues",
        &[("deadLetterQueueName", "q")],
    ),
    ("UnbindDeadLetterQueue", &[("queueName", "q")]),
    ("CreateTopic", &[TOPIC]),
    ("SetTopicAttributes", &[TOPIC]),
    ("GetTopicAttributes", &[TOPIC]),
    ("ListTopic", &[]),
    ("DeleteTopic", &[TOPIC]),
    ("PublishMessage", &[TOPIC, ("msgBody", "x")]),
    ("BatchPublishMessage", &[TOPIC, ("msgBody.1", "x")]),
    (
        "Subscribe",
        &[
            TOPIC,
            SUBSCRIPTION,
            ("protocol", "queue"),
            ("endpoint", "q"),
        ],
    ),
    ("SetSubscriptionAttributes", &[TOPIC, SUBSCRIPTION]),
    ("GetSubscriptionAttributes", &[TOPIC, SUBSCRIPTION]),
    ("ClearSubscriptionFilterTags", &[TOPIC, SUBSCRIPTION]),
    ("ListSubscriptionByTopic", &[TOPIC]),
    ("Unsubscribe", &[TOPIC, SUBSCRIPTION]),
    ("QueryQueueRoute", &[("queueName", "q")]),
    ("QueryTopicRoute", &[TOPIC]),
];

const TOPIC: (&str, &str) = ("topicName", "t");
const SUBSCRIPTION: (&str, &str) = ("subscriptionName", "s");

/// The integers that actions take.
const INTEGERS: &[(&str, &str)] = &[
    ("CreateQueue", "maxMsgHeapNum"),
    ("CreateQueue", "pollingWaitSeconds"),
    ("CreateQueue", "visibilityTimeout"),
    ("CreateQueue", "maxMsgSize"),
    ("CreateQueue", "msgRetentionSeconds"),
    ("CreateQueue", "rewindSeconds"),
    ("SetQueueAttributes", "visibilityTimeout"),
    ("ListQueue", "offset"),
    ("ListQueue", "limit"),
    ("ListDeadLetterSourceQueues", "offset"),
    ("ListDeadLetterSourceQueues", "limit"),
    ("RewindQueue", "startConsumeTime"),
    ("SendMessage", "delaySeconds"),
    ("BatchSendMessage", "delaySeconds"),
    ("ReceiveMessage", "pollingWaitSeconds"),
    ("BatchReceiveMessage", "numOfMsg"),
    ("BatchReceiveMessage", "pollingWaitSeconds"),
    ("CreateTopic", "maxMsgSize"),
    ("CreateTopic", "filterType"),
    ("CreateTopic", "msgRetentionSeconds"),
    ("SetTopicAttributes", "maxMsgSize"),
    ("SetTopicAttributes", "msgRetentionSeconds"),
    ("ListTopic", "offset"),
    ("ListTopic", "limit"),
    ("ListSubscriptionByTopic", "offset"),
    ("ListSubscriptionByTopic", "limit"),
];

#[test]
fn c006_every_answer_holds_code_message_and_request_id() {
    // `Answer::new` checks the types; here is every action, refused.
    let world = World::shared();
    let mut caller = world.caller();
    for (action, parameters) in ACTIONS {
        let mut parameters = parameters.to_vec();
        parameters.push(("limit", "x"));
        let names = ["queueName", "deadLetterQueueName", "topicName"];
        parameters.retain(|(name, _)| !names.contains(name));
        assert_eq!(caller.call(action, &parameters).code(), 4000, "{action}");
    }
}

#[test]
fn c007_every_success_has_a_request_id_of_its_own() {
    let world = World::new();
    let mut caller = world.caller();
    let mut seen = Vec::new();
    let mut keep = |answer: super::answer::Answer| {
        seen.push(answer.text("requestId").to_owned());
        answer
    };
    let q = ("queueName", "q");
    let rewind = ("rewindSeconds", "60");
    keep(caller.call("CreateQueue", &[q, rewind])).done();
    keep(caller.call("ListQueue", &[])).done();
    keep(caller.call("GetQueueAttributes", &[q])).done();
    keep(caller.call("SetQueueAttributes", &[q])).done();
    keep(caller.call("SendMessage", &[q, ("msgBody", "x")])).done();
    keep(caller.batch_send("q", &["y"])).done();
    let one = keep(caller.receive("q")).done();
    keep(caller.delete("q", one.text("receiptHandle"))).done();
    let one = keep(caller.batch_receive("q", "1")).done();
    let handle = &one.texts("msgInfoList", "receiptHandle")[0];
    keep(caller.batch_delete("q", &[handle])).done();
    let now = world.now().to_string();
    keep(caller.call("RewindQueue", &[q, ("startConsumeTime", &now)])).done();
    let name = ("deadLetterQueueName", "q");
    keep(caller.call("ListDeadLetterSourceQueues", &[name])).done();
    keep(caller.call("UnbindDeadLetterQueue", &[q])).done();
    keep(caller.call("QueryQueueRoute", &[q])).done();
    keep(caller.call("CreateTopic", &[TOPIC])).done();
    keep(caller.call("SetTopicAttributes", &[TOPIC])).done();
    keep(caller.call("GetTopicAttributes", &[TOPIC])).done();
    keep(caller.call("ListTopic", &[])).done();
    keep(caller.call("QueryTopicRoute", &[TOPIC])).done();
    keep(caller.subscribe("t", "s", "q", &[])).done();
    let s = [TOPIC, SUBSCRIPTION];
    keep(caller.call("SetSubscriptionAttributes", &s)).done();
    keep(caller.call("GetSubscriptionAttributes", &s)).done();
    keep(caller.call("ClearSubscriptionFilterTags", &s)).done();
    keep(caller.call("ListSubscriptionByTopic", &[TOPIC])).done();
    keep(caller.publish_with("t", "x", &[])).done();
    keep(caller.batch_publish("t", &["y"], &[])).done();
    keep(caller.call("Unsubscribe", &s)).done();
    keep(caller.call("DeleteTopic", &[TOPIC])).done();
    keep(caller.call("ClearQueue", &[q])).done();
    keep(caller.call("DeleteQueue", &[q])).done();
    assert_eq!(seen.len(), ACTIONS.len());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), ACTIONS.len(), "no two requests share a number");
}

#[test]
fn c008_an_error_says_its_module_code_and_the_text_of_the_table() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c008", &[]);
    caller.receive("c008").refused(NO_MESSAGE);
    caller.receive("c008-none").refused(NO_QUEUE);
}

#[test]
fn c009_a_success_has_code_0_and_no_message() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c009", &[]);
    let answer = caller.call("SendMessage", &[("queueName", "c009"), ("msgBody", "x")]);
    assert_eq!((answer.code(), answer.message()), (0, ""));
    assert_eq!(answer["codeDesc"], "Success");
}

#[test]
fn c010_a_request_without_an_action_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    let refusal = (4000, "(10280)action is not existed");
    let mut request = caller.request("ListQueue", &[]);
    request.remove("Action");
    caller.ask(&request).refused(refusal);
    caller.call("", &[]).refused(refusal);
}

#[test]
fn c011_an_unknown_action_is_named() {
    let world = World::shared();
    let mut caller = world.caller();
    for action in ["CreateMulticast", "sendmessages", "SendMessage2"] {
        let text = format!("(10430)action name {action} is not existed");
        caller.call(action, &[]).refused((4000, text));
    }
}

#[test]
fn c012_the_letter_case_of_an_action_does_not_matter() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c012", &[]);
    for action in ["sendmessage", "SENDMESSAGE", "SendMEssAge"] {
        let parameters = [("queueName", "c012"), ("msgBody", "x")];
        caller.call(action, &parameters).done();
    }
    for (action, _) in ACTIONS {
        let upper = caller.call(&action.to_uppercase(), &[("limit", "x")]);
        assert!(!upper.message().starts_with("(10430)"), "{action}");
    }
}

#[test]
fn c013_a_missing_parameter_is_named() {
    let world = World::shared();
    let mut caller = world.caller();
    for (action, parameters) in ACTIONS {
        for (name, _) in *parameters {
            let others = parameters.iter().filter(|(given, _)| given != name);
            let others: Vec<_> = others.copied().collect();
            let plain = name.trim_end_matches(".1");
            caller.call(action, &others).refused(missing(plain));
        }
    }
    for name in ["SecretId", "Timestamp", "Nonce"] {
        let mut request = caller.request("ListQueue", &[]);
        request.remove(name);
        caller.ask(&request).refused(missing(name));
    }
    let request = caller.request("ListQueue", &[]);
    let unsigned = request.bytes_of(&super::caller::encode(&request.parameters));
    caller.connection.write(&unsigned);
    caller.finish().refused(missing("Signature"));
}

#[test]
fn c014_an_integer_that_is_none_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    for (action, name) in INTEGERS {
        for value in ["x", "1.5", "+1", " 1", "1e3", "0x1", "--1", "１"] {
            caller
                .call(action, &with(action, name, value))
                .refused(wrong_type(name));
        }
    }
    for name in ["Timestamp", "Nonce"] {
        caller
            .call("ListQueue", &[(name, "x")])
            .refused(wrong_type(name));
    }
}

#[test]
fn c015_an_integer_out_of_range_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    let huge = "99999999999999999999999999";
    for (action, name) in INTEGERS {
        let (text, takes_any) = match *name {
            "delaySeconds" => ("(10692)delay seconds is out of range".to_owned(), false),
            "startConsumeTime" => {
                let text = "(10680)invalid rewind time, you can get the vaild range of that via \
                            GetQueueAttributes";
                (text.to_owned(), false)
            }
            // A page begins where it likes, and a wait that is too long is cut.
            "offset" | "limit" => (out_of_range(name).1, true),
            "pollingWaitSeconds" => (out_of_range(name).1, *action != "CreateQueue"),
            _ => (out_of_range(name).1, false),
        };
        caller
            .call(action, &with(action, name, "-1"))
            .refused((4000, &text));
        if !takes_any {
            caller
                .call(action, &with(action, name, huge))
                .refused((4000, &text));
        }
    }
    caller
        .call("ListQueue", &[("limit", "0")])
        .refused(out_of_range("limit"));
    let long = "x".repeat(257);
    caller
        .call("ListQueue", &[("searchWord", &long)])
        .refused(out_of_range("searchWord"));
    let handles = vec!["1"; 17];
    let handles = numbered("receiptHandle", &handles);
    let mut parameters = vec![("queueName", "c015")];
    parameters.extend(super::caller::borrowed(&handles));
    let text = "(10370)receiptHandle parameter batch size is out of range";
    caller
        .call("BatchDeleteMessage", &parameters)
        .refused((4000, text));
}

/// The right parameters of an action, but for one. The queue does not exist.
fn with<'a>(action: &str, name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let (_, usual) = ACTIONS.iter().find(|(given, _)| *given == action).unwrap();
    let others = usual.iter().filter(|(given, _)| *given != name);
    let mut parameters: Vec<(&str, &str)> = others.copied().collect();
    parameters.push((name, value));
    parameters
}
