//! Where clients of the TCP protocol find queues and topics: C176.

use serde_json::json;

use super::{
    answer::{Answer, NO_QUEUE, NO_TOPIC},
    caller::Caller,
    world::World,
};

/// Asks as the client does, which is by GET.
fn route(caller: &mut Caller, action: &str, name: (&str, &str)) -> Answer {
    let mut request = caller.request(action, &[name]);
    request.method = "GET";
    caller.ask(&request)
}

#[test]
fn c176_a_route_is_the_address_of_the_server() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c176", &[]);
    caller.create_topic("c176", &[]);
    // As the client names it.
    let address = caller.host().to_owned();
    for (action, name) in [
        ("QueryQueueRoute", ("queueName", "c176")),
        ("QueryTopicRoute", ("topicName", "c176")),
    ] {
        let by_get = route(&mut caller, action, name).done();
        let by_post = caller.call(action, &[name]).done();
        for answer in [by_get, by_post] {
            assert_eq!(answer["addr"], json!([address]));
            assert_eq!(answer.fields().len(), 1);
        }
        let mut request = caller.request(action, &[name]);
        request.host = "queues.example".into();
        let answer = caller.ask(&request).done();
        assert_eq!(answer["addr"], json!(["queues.example:80"]));
    }
}

#[test]
fn c176_what_is_not_there_has_no_route() {
    let world = World::shared();
    let mut caller = world.caller();
    // A topic is no queue, and a queue no topic.
    caller.create("c176-queue", &[]);
    caller.create_topic("c176-topic", &[]);
    for name in ["c176-none", "c176-topic"] {
        route(&mut caller, "QueryQueueRoute", ("queueName", name)).refused(NO_QUEUE);
    }
    for name in ["c176-none", "c176-queue"] {
        route(&mut caller, "QueryTopicRoute", ("topicName", name)).refused(NO_TOPIC);
    }
}

#[test]
fn c176_addresses_that_were_set_come_before_the_servers_own() {
    let addresses = ["a.example:12000", "b.example:12000"];
    let world = World::adjusted(
        |_| {},
        |cmq| cmq.advertised_tcp = addresses.map(str::to_owned).to_vec(),
    );
    let mut caller = world.caller();
    caller.create("q", &[]);
    caller.create_topic("t", &[]);
    let answer = route(&mut caller, "QueryQueueRoute", ("queueName", "q")).done();
    assert_eq!(answer["addr"], json!(addresses));
    let answer = route(&mut caller, "QueryTopicRoute", ("topicName", "t")).done();
    assert_eq!(answer["addr"], json!(addresses));
}
