//! How parameters may be written: arrays, blanks, numbers of clients, and bodies of any text. C16–C23,
//! C25.

use super::{
    answer::Answer,
    caller::{Caller, counts},
    world::World,
};

fn send_indices(caller: &mut Caller, queue: &str, indices: &[&str]) -> Answer {
    let names: Vec<String> = indices
        .iter()
        .map(|index| format!("msgBody.{index}"))
        .collect();
    let mut parameters = vec![("queueName", queue)];
    parameters.extend(names.iter().map(|name| (name.as_str(), name.as_str())));
    caller.call("BatchSendMessage", &parameters)
}

#[test]
fn c016_arrays_begin_at_0_or_at_1() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c016", &[]);
    for indices in [["0", "1"], ["1", "2"]] {
        let sent = send_indices(&mut caller, "c016", &indices).done();
        assert_eq!(sent.list("msgList").len(), 2);
        let received = caller.batch_receive("c016", "2").done();
        let handles = received.texts("msgInfoList", "receiptHandle");
        let parameters = [
            ("queueName".to_owned(), "c016".to_owned()),
            (format!("receiptHandle.{}", indices[0]), handles[0].clone()),
            (format!("receiptHandle.{}", indices[1]), handles[1].clone()),
        ];
        let parameters = super::caller::borrowed(&parameters);
        caller.call("BatchDeleteMessage", &parameters).done();
    }
    assert_eq!(caller.counts("c016"), counts(0, 0, 0));
}

#[test]
fn c017_a_gap_in_an_array_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c017", &[]);
    let refusal = (4000, "(10380)msgBody parameter is not consequent");
    for indices in [&["1", "3"][..], &["0", "2"], &["2"], &["7", "8"]] {
        send_indices(&mut caller, "c017", indices).refused(refusal);
    }
    let parameters = [("queueName", "c017"), ("receiptHandle.2", "1")];
    let refusal = (4000, "(10380)receiptHandle parameter is not consequent");
    caller
        .call("BatchDeleteMessage", &parameters)
        .refused(refusal);
    let wrong = [("queueName", "c017"), ("msgBody.x", "1")];
    let refusal = (4000, "(10310)error: parameter msgBody.x key format error");
    caller.call("BatchSendMessage", &wrong).refused(refusal);
    let refusal = (
        4000,
        "(10330)parameter queueName.1 is NOT a repeatable parameter",
    );
    caller
        .call("GetQueueAttributes", &[("queueName.1", "c017")])
        .refused(refusal);
    assert_eq!(caller.counts("c017"), counts(0, 0, 0));
}

#[test]
fn c018_a_batch_has_at_most_16_members() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c018", &[]);
    let before = caller.picture("c018");
    let refusal = (4000, "(10370)msgBody parameter batch size is out of range");
    caller.batch_send("c018", &["x"; 17]).refused(refusal);
    let refusal = (
        4000,
        "(10370)receiptHandle parameter batch size is out of range",
    );
    caller.batch_delete("c018", &["1"; 17]).refused(refusal);
    assert_eq!(caller.picture("c018"), before);
    let sent = caller.batch_send("c018", &["x"; 16]).done();
    assert_eq!(sent.list("msgList").len(), 16);
}

#[test]
fn c019_array_members_are_taken_in_the_order_of_their_numbers() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c019", &[]);
    // As they travel they are in another order, and sorted as text in yet another.
    let indices = [
        "3", "12", "1", "10", "2", "11", "4", "9", "5", "8", "6", "7",
    ];
    let sent = send_indices(&mut caller, "c019", &indices).done();
    let received = caller.batch_receive("c019", "16").done();
    let wanted: Vec<String> = (1..=12).map(|index| format!("msgBody.{index}")).collect();
    assert_eq!(received.texts("msgInfoList", "msgBody"), wanted);
    assert_eq!(
        sent.texts("msgList", "msgId"),
        received.texts("msgInfoList", "msgId")
    );
}

#[test]
fn c020_unknown_parameters_are_ignored() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c020", &[]);
    let more = [
        ("RequestClient", "SDK_Python_1.3"),
        ("UserpollingWaitSeconds", "10"),
        ("appId", "1250000000"),
        ("Region", "gz"),
        ("Unknown.1", "x"),
    ];
    for (action, own) in [
        ("SendMessage", ("msgBody", "x")),
        ("ReceiveMessage", ("pollingWaitSeconds", "0")),
        ("GetQueueAttributes", ("zebra", "x")),
        ("SetQueueAttributes", ("delaySeconds", "x")),
    ] {
        let mut parameters = vec![("queueName", "c020"), own];
        parameters.extend(more);
        caller.call(action, &parameters).done();
    }
    // But for one place, where a body could have been cut: behind it in the signed order.
    let parameters = [("queueName", "c020"), ("msgBody", "x"), ("zebra", "x")];
    let refusal = (
        4000,
        "(10320)no such parameter zebra: it may not stand here beside a message body or an endpoint \
        (docs/dialects/cmq.md, Ambiguity, rule 3)",
    );
    caller.call("SendMessage", &parameters).refused(refusal);
}

#[test]
fn c021_an_empty_value_of_an_optional_parameter_is_an_absent_one() {
    let world = World::shared();
    let mut caller = world.caller();
    let empty = [
        ("maxMsgHeapNum", ""),
        ("pollingWaitSeconds", ""),
        ("visibilityTimeout", ""),
        ("maxMsgSize", ""),
        ("msgRetentionSeconds", ""),
        ("rewindSeconds", ""),
        ("deadLetterPolicy", ""),
    ];
    caller.create("c021", &empty);
    assert_eq!(caller.attributes("c021")["visibilityTimeout"], 30);
    caller.set("c021", &[("visibilityTimeout", "7")]).done();
    caller.set("c021", &empty).done();
    assert_eq!(caller.attributes("c021")["visibilityTimeout"], 7);
    let parameters = [
        ("queueName", "c021"),
        ("msgBody", "x"),
        ("delaySeconds", ""),
    ];
    caller.call("SendMessage", &parameters).done();
    let parameters = [("queueName", "c021"), ("pollingWaitSeconds", "")];
    caller.call("ReceiveMessage", &parameters).done();
    let parameters = [("searchWord", ""), ("offset", ""), ("limit", "")];
    let listed = caller.call("ListQueue", &parameters).done();
    assert!(listed.number("totalCount") >= 1);
}

#[test]
fn c022_a_blank_after_a_name_is_signed_and_not_read() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c022-a", &[]);
    caller.create("c022-b", &[]);
    let parameters = [("searchWord ", "c022"), ("offset ", "1"), ("limit ", "5")];
    for method in ["POST", "GET"] {
        let mut request = caller.request("ListQueue", &parameters);
        request.method = method;
        let listed = caller.ask(&request).done();
        assert_eq!(listed["totalCount"], 2);
        assert_eq!(listed.texts("queueList", "queueName"), ["c022-b"]);
    }
}

#[test]
fn c023_a_clients_own_number_is_repeated_as_a_number() {
    let world = World::shared();
    let mut caller = world.caller();
    let most = u64::MAX.to_string();
    for number in ["0", "42", &most] {
        let answer = caller
            .call("ListQueue", &[("clientRequestId", number)])
            .done();
        assert_eq!(answer.number("clientRequestId").to_string(), number);
        let parameters = [("queueName", "c023-none"), ("clientRequestId", number)];
        let refused = caller.call("ReceiveMessage", &parameters);
        assert_eq!(refused.number("clientRequestId").to_string(), number);
    }
    let answer = caller
        .call("ListQueue", &[("clientRequestId", "abc")])
        .done();
    assert!(!answer["clientRequestId"].is_number());
}

#[test]
fn c025_bodies_come_back_byte_for_byte() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c025", &[]);
    let all: String = (0..0x250).filter_map(char::from_u32).collect();
    let bodies = [
        "a&b=c+d%e f%20g",
        "msgBody=x&queueName=y&Signature=z",
        "line\r\nline\n\ttab\u{0}nul\u{7f}",
        "中文内容,句子。",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "\u{feff}bom \u{2028} \u{d7ff}\u{e000}\u{10ffff}",
        r#"{"json":"\"quoted\" \\ / \u0041"}"#,
        "@starts with an at sign",
        " blanks around ",
        "<script>alert(1)</script>",
        &all,
    ];
    for method in ["POST", "GET"] {
        for body in bodies {
            let mut request =
                caller.request("SendMessage", &[("queueName", "c025"), ("msgBody", body)]);
            request.method = method;
            caller.ask(&request).done();
            let received = caller.receive("c025").done();
            assert_eq!(received.text("msgBody").as_bytes(), body.as_bytes());
        }
        let sent = caller.batch_send("c025", &bodies[..]).done();
        assert_eq!(sent.list("msgList").len(), bodies.len());
        let received = caller.batch_receive("c025", "16").done();
        assert_eq!(received.texts("msgInfoList", "msgBody"), bodies);
    }
}

#[test]
fn a_plus_and_an_escape_both_mean_a_blank() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("plus", &[]);
    let request = caller.request(
        "SendMessage",
        &[("queueName", "plus"), ("msgBody", "a b c")],
    );
    let form = request.form().replace("a%20b%20c", "a+b%20c");
    let bytes = request.bytes_of(&form);
    caller.connection.write(&bytes);
    caller.finish().done();
    assert_eq!(caller.receive("plus").done()["msgBody"], "a b c");
}
