//! Sending, receiving and deleting.

use anser_broker::id::MessageId;

use super::*;
use crate::testing::message;

#[test]
fn sends_become_one_operation() {
    let world = world();
    let nul = "a\0b\r\n\u{1F600}&=+%";
    world.ask(&with(
        &SEND[..2],
        &[("msgBody", nul), ("delaySeconds", "5")],
    ));
    let Some(AnyOperation::SendMessages(send)) = world.fake.last() else {
        panic!("no send");
    };
    assert_eq!(send.queue, QueueName::new("orders").unwrap());
    assert_eq!(send.bodies, [nul]);
    assert_eq!(send.delay, Some(Millis(5_000)));
    let batch = [("Action", "BatchSendMessage"), ("queueName", "q")];
    let bodies = [("msgBody.0", "a"), ("msgBody.1", "b")];
    let answer = world.ask(&with(&batch, &bodies));
    assert_eq!(answer["msgList"], json!([{"msgId": "1"}, {"msgId": "2"}]));
    let half = "x".repeat(600_000);
    let large = [("msgBody.0", half.as_str()), ("msgBody.1", &half)];
    assert_eq!(world.codes(&with(&batch, &large)), (4470, 10300));
    for delay in ["-1", "6048001", "99999999999999999999"] {
        let codes = world.codes(&with(SEND, &[("delaySeconds", delay)]));
        assert_eq!(codes, (4000, 10692), "{delay}");
    }
    assert_eq!(
        world.codes(&with(&SEND[..2], &[("msgBody", "")])),
        (4000, 10120)
    );
}

#[test]
fn receives_show_messages_as_clients_want_them() {
    let world = world();
    world
        .fake
        .found
        .lock()
        .unwrap()
        .push(message(5, "h\u{e9}\n".as_bytes()));
    let receive = [("Action", "ReceiveMessage"), ("queueName", "q")];
    let answer = world.ask(&with(&receive, &[("pollingWaitSeconds", "30000")]));
    let Some(AnyOperation::ReceiveMessages(operation)) = world.fake.last() else {
        panic!("no receive");
    };
    assert_eq!((operation.max, operation.wait), (1, Some(Millis(30_000))));
    assert_eq!(answer["msgId"], "5");
    assert_eq!(answer["msgBody"], "h\u{e9}\n");
    assert_eq!(answer["enqueueTime"], NOW - 6);
    assert_eq!(answer["firstDequeueTime"], NOW - 2);
    assert_eq!(answer["nextVisibleTime"], NOW + 30);
    assert_eq!(answer["dequeueCount"], 2);
    let handle = answer["receiptHandle"].as_str().unwrap();
    let receipt = world.cmq.cipher.open_text(handle.as_bytes()).unwrap();
    assert_eq!(receipt, MessageId::from_number(1005).unwrap());
    let batch = [
        ("Action", "BatchReceiveMessage"),
        ("queueName", "q"),
        ("numOfMsg", "16"),
    ];
    let answer = world.ask(&batch);
    assert_eq!(answer["msgInfoList"][0]["msgId"], "5");
    assert_eq!(answer["msgInfoList"].as_array().unwrap().len(), 1);
    let codes = world.codes(&with(&receive, &[("pollingWaitSeconds", "-1")]));
    assert_eq!(codes, (4000, 10350));
}

#[test]
fn an_empty_receive_is_no_message() {
    let world = world();
    for receive in [
        &[("Action", "ReceiveMessage"), ("queueName", "q")][..],
        &[
            ("Action", "BatchReceiveMessage"),
            ("queueName", "q"),
            ("numOfMsg", "1"),
        ],
    ] {
        let answer = world.ask(&with(receive, &[("pollingWaitSeconds", "0")]));
        assert_eq!(answer["code"], 7000);
        assert_eq!(answer["message"], "(10200)no message");
    }
    // A wait ends when the server does.
    world.stop.send_replace(Some(Stopping::now()));
    let receive = [
        ("Action", "ReceiveMessage"),
        ("queueName", "q"),
        ("pollingWaitSeconds", "9"),
    ];
    assert_eq!(world.codes(&receive), (7000, 10200));
    assert_eq!(world.fake.waiting(), 0);
}

#[test]
fn handles_are_checked_before_the_core_is_asked() {
    let world = world();
    let delete = [("Action", "DeleteMessage"), ("queueName", "q")];
    for bad in ["", "x", "-1", "01", "9223372036854775808", "123 "] {
        let codes = world.codes(&with(&delete, &[("receiptHandle", bad)]));
        assert_eq!(codes, (4000, 10470), "{bad:?}");
    }
    assert!(world.fake.last().is_none());
    let answered = |results| AnyOutput::DeleteMessages(op::MessagesDeleted { results });
    *world.fake.answer.lock().unwrap() = Some(answered(vec![Err(Error::ReceiptInvalid)]));
    let codes = world.codes(&with(&delete, &[("receiptHandle", "123")]));
    assert_eq!(codes, (4430, 10260));
}

#[test]
fn a_batch_delete_lists_exactly_the_failures() {
    let world = world();
    let delete = [("Action", "BatchDeleteMessage"), ("queueName", "q")];
    let answered = |results| AnyOutput::DeleteMessages(op::MessagesDeleted { results });
    let three = [
        ("receiptHandle.1", "11"),
        ("receiptHandle.2", "bad"),
        ("receiptHandle.3", "33"),
    ];
    let invalid = Err(Error::ReceiptInvalid);
    *world.fake.answer.lock().unwrap() = Some(answered(vec![Ok(()), invalid]));
    let answer = world.ask(&with(&delete, &three));
    assert_eq!(codes(&answer), (6010, 10150));
    let expected = json!([
        {"code": 4000, "message": "(10470)receiptHandle error", "receiptHandle": "bad"},
        {"code": 4430, "message": "(10260)receipt handle is invalid", "receiptHandle": "33"},
    ]);
    assert_eq!(answer["errorList"], expected);
    *world.fake.answer.lock().unwrap() = Some(answered(vec![invalid, invalid]));
    assert_eq!(world.codes(&with(&delete, &three)), (6020, 10290));
    *world.fake.answer.lock().unwrap() = Some(answered(vec![Ok(())]));
    let answer = world.ask(&with(&delete, &three[..1]));
    assert_eq!(codes(&answer), (0, 0));
    assert!(answer.get("errorList").is_none());
    assert_eq!(world.codes(&with(&delete, &three[1..2])), (4000, 10380));
    let bad = [("receiptHandle.1", "bad")];
    assert_eq!(world.codes(&with(&delete, &bad)), (6020, 10290));
}

#[test]
fn messages_for_which_there_is_no_memory_go_back() {
    let settings = Settings {
        answers_bytes: 2 << 20,
        ..SETTINGS
    };
    let world = world_set(Config::new([9; 32]), Keys::of([key()]), &settings);
    let receive = [("Action", "ReceiveMessage"), ("queueName", "q")];
    // As it came it is small enough, in JSON it is six times as large.
    let control = vec![1; 512 << 10];
    for body in [vec![b'x'; 3 << 20], control] {
        *world.fake.found.lock().unwrap() = vec![message(1, &body)];
        assert_eq!(world.codes(&receive), (4420, 10250));
        let Some(AnyOperation::ReturnMessages(given)) = world.fake.last() else {
            panic!("the message was not given back");
        };
        assert_eq!(given.receipts, [message(1, b"").receipt]);
    }
    *world.fake.found.lock().unwrap() = vec![message(1, &[b'x'; 256 << 10])];
    assert_eq!(world.codes(&receive), (0, 0), "nothing is held any more");
}
