//! Histories of topics: bad ones that must be flagged with the right rule and no other, and good ones.

use anser_check::{Delivery, Invalid, Operation, Outcome, Push, Rule, Target};

use crate::story::{Story, VISIBILITY, delivery, labels, push};

/// Body 1 with the tag `red` comes to all who want it but the queue `t`.
fn red() -> Story {
    Story::of_topics()
        .publish(0, 1, &["red"])
        .push("all", 10, 1, &["red"])
        .push("red", 10, 1, &["red"])
}

/// In a queue a message has an id of its own.
fn carried(id: u64, count: u32) -> Delivery {
    Delivery {
        message: format!("c{id}"),
        ..delivery(id, count)
    }
}

fn received(story: Story, at: u64, id: u64) -> Story {
    let story = story.received("t", at, at + 5, vec![carried(id, 1)]);
    story.delete("t", at + 10, &format!("r{id}.1"))
}

#[test]
fn a_message_comes_to_all_who_want_it() {
    let statistics = received(red(), 20, 1).holds().statistics.topics;
    assert_eq!(
        (
            statistics.acknowledged,
            statistics.received,
            statistics.received_again,
            statistics.carried
        ),
        (1, 2, 0, 1)
    );
}

#[test]
fn a_message_may_be_pushed_twice() {
    let story = red().push("red", 5_000, 1, &["red"]);
    let statistics = received(story, 20, 1).holds().statistics.topics;
    assert_eq!((statistics.received, statistics.received_again), (2, 1));
}

#[test]
fn a_failed_push_is_made_good_by_a_later_one() {
    let story = Story::of_topics()
        .publish(0, 1, &["green"])
        .failed("all", 10, 1, &["green"]);
    story.push("all", 2_000, 1, &["green"]).holds();
}

#[test]
fn a_publish_without_answer_may_come_everywhere_or_nowhere() {
    let unknown = |story: Story, id| {
        let labels = labels(&["red"], None);
        story.published("tags", 0, &[id], labels, Outcome::Unknown)
    };
    let story = unknown(unknown(Story::of_topics(), 1), 2);
    let story = story
        .push("all", 10, 1, &["red"])
        .push("red", 10, 1, &["red"]);
    let statistics = received(story, 20, 1).holds().statistics.topics;
    assert_eq!((statistics.unknown, statistics.recovered), (2, 1));
}

#[test]
fn an_unwanted_message_is_refused() {
    let refused = Outcome::Refused(6030);
    let labels = labels(&[], Some("order"));
    Story::of_topics()
        .published("keys", 0, &[1], labels, refused)
        .holds();
}

#[test]
fn a_message_with_back_off_may_be_given_up() {
    let tags = &["ordered"];
    let mut story = Story::of_topics()
        .publish(0, 1, tags)
        .publish(10, 2, tags)
        .push("all", 20, 1, tags)
        .push("all", 20, 2, tags);
    for attempt in 1..=4 {
        story = story.failed("ordered", attempt * 20_000, 1, tags);
    }
    let story = story.push("ordered", 100_000, 2, tags);
    assert_eq!(story.holds().statistics.topics.given_up, 1);
}

#[test]
fn publishes_at_the_same_time_come_in_any_order() {
    let tags = &["ordered"];
    Story::of_topics()
        .publish(0, 1, tags)
        .publish(3, 2, tags)
        .push("all", 20, 1, tags)
        .push("all", 20, 2, tags)
        .push("ordered", 20, 2, tags)
        .push("ordered", 40, 1, tags)
        .holds();
}

#[test]
fn q13_a_message_never_comes_to_a_receiver() {
    let story = Story::of_topics()
        .publish(0, 1, &["red"])
        .push("all", 10, 1, &["red"]);
    received(story, 20, 1).breaks(Rule::FanOut);
}

#[test]
fn q13_a_message_is_never_taken_by_a_receiver() {
    let story = Story::of_topics()
        .publish(0, 1, &["green"])
        .failed("all", 10, 1, &["green"]);
    story
        .failed("all", 2_000, 1, &["green"])
        .breaks(Rule::FanOut);
}

#[test]
fn q13_a_push_without_answer_is_no_arrival() {
    let story = Story::of_topics().publish(0, 1, &[]);
    let status = None;
    let unanswered = Push {
        status,
        ..push("all", 1, &[])
    };
    story.pushed("tags", 10, unanswered).breaks(Rule::FanOut);
}

#[test]
fn q13_a_message_never_comes_to_a_queue() {
    red().breaks(Rule::FanOut);
}

#[test]
fn q13_a_publish_without_answer_comes_only_here() {
    let labels = labels(&["red"], None);
    let story = Story::of_topics().published("tags", 0, &[1], labels, Outcome::Unknown);
    let story = story.push("all", 10, 1, &["red"]);
    received(story, 20, 1).breaks(Rule::FanOut);
}

#[test]
fn q13_a_publish_without_answer_does_not_come_to_the_queue() {
    let labels = labels(&["red"], None);
    let story = Story::of_topics().published("tags", 0, &[1], labels, Outcome::Unknown);
    story
        .push("all", 10, 1, &["red"])
        .push("red", 10, 1, &["red"])
        .breaks(Rule::FanOut);
}

#[test]
fn q13_half_a_batch_without_answer_comes() {
    let labels = labels(&["green"], None);
    let story = Story::of_topics().published("tags", 0, &[1, 2], labels, Outcome::Unknown);
    story.push("all", 10, 1, &["green"]).breaks(Rule::FanOut);
}

#[test]
fn q13_a_message_comes_to_a_receiver_that_does_not_want_it() {
    let story = Story::of_topics()
        .publish(0, 1, &["green"])
        .push("all", 10, 1, &["green"]);
    story.push("red", 10, 1, &["green"]).breaks(Rule::FanOut);
}

#[test]
fn q13_a_failed_push_to_the_wrong_receiver_is_one_too() {
    let story = Story::of_topics()
        .publish(0, 1, &["green"])
        .push("all", 10, 1, &["green"]);
    story.failed("red", 10, 1, &["green"]).breaks(Rule::FanOut);
}

#[test]
fn q13_a_message_comes_from_another_topic() {
    let story = received(red(), 20, 1);
    story
        .pushed("keys", 10, push("users", 1, &["red"]))
        .breaks(Rule::FanOut);
}

#[test]
fn q13_a_key_is_matched_wrongly() {
    let labels = labels(&[], Some("user.new"));
    let outcome = Outcome::Ok(vec!["m1".to_owned()]);
    Story::of_topics()
        .published("keys", 0, &[1], labels, outcome)
        .breaks(Rule::FanOut);
}

#[test]
fn q13_a_message_comes_to_a_queue_that_does_not_want_it() {
    let story = Story::of_topics()
        .publish(0, 1, &["green"])
        .push("all", 10, 1, &["green"]);
    story
        .received("t", 20, 25, vec![carried(1, 1)])
        .breaks(Rule::FanOut);
}

#[test]
fn q13_tags_are_lost() {
    let story = Story::of_topics()
        .publish(0, 1, &["green", "blue"])
        .push("all", 10, 1, &["green"]);
    story.breaks(Rule::FanOut);
}

#[test]
fn q13_a_wanted_message_is_refused_as_unwanted() {
    let labels = labels(&["red"], None);
    Story::of_topics()
        .published("tags", 0, &[1], labels, Outcome::Refused(6030))
        .breaks(Rule::FanOut);
}

#[test]
fn q13_an_unwanted_message_is_acknowledged() {
    let labels = labels(&[], Some("order"));
    let outcome = Outcome::Ok(vec!["m1".to_owned()]);
    Story::of_topics()
        .published("keys", 0, &[1], labels, outcome)
        .breaks(Rule::FanOut);
}

#[test]
fn q13_back_off_turns_the_order_around() {
    let tags = &["ordered"];
    Story::of_topics()
        .publish(0, 1, tags)
        .publish(10, 2, tags)
        .push("all", 20, 1, tags)
        .push("all", 20, 2, tags)
        .push("ordered", 20, 2, tags)
        .push("ordered", 40, 1, tags)
        .breaks(Rule::FanOut);
}

#[test]
fn q13_back_off_turns_a_batch_around() {
    let tags = &["ordered"];
    let outcome = Outcome::Ok(vec!["m1".to_owned(), "m2".to_owned()]);
    Story::of_topics()
        .published("tags", 0, &[1, 2], labels(tags, None), outcome)
        .push("all", 20, 1, tags)
        .push("all", 20, 2, tags)
        .push("ordered", 20, 2, tags)
        .push("ordered", 40, 1, tags)
        .breaks(Rule::FanOut);
}

#[test]
fn q13_back_off_gives_up_too_early() {
    let tags = &["ordered"];
    let mut story = Story::of_topics()
        .publish(0, 1, tags)
        .push("all", 20, 1, tags);
    for attempt in 1..=3 {
        story = story.failed("ordered", attempt * 20_000, 1, tags);
    }
    story.breaks(Rule::FanOut);
}

#[test]
fn q9_a_message_is_in_a_queue_twice() {
    let mut other = carried(1, 1);
    "c2".clone_into(&mut other.message);
    "r2.1".clone_into(&mut other.receipt);
    let story = received(red(), 20, 1).received("t", 40, 45, vec![other]);
    // Two messages at once also look like one message that was handed out after its delete.
    let report = story.delete("t", 50, "r2.1").judge().unwrap();
    assert_eq!(report.count(Rule::Duplicate), 1, "{report}");
}

#[test]
fn q9_a_message_changes_its_id() {
    let mut other = push("red", 1, &["red"]);
    "m7".clone_into(&mut other.message);
    let story = red().pushed("tags", 20, other);
    received(story, 20, 1).breaks(Rule::Duplicate);
}

#[test]
fn q2_something_is_pushed_that_was_never_published() {
    let story = received(red(), 20, 1);
    story.push("all", 20, 7, &[]).breaks(Rule::Phantom);
}

#[test]
fn q2_a_body_is_pushed_with_other_bytes() {
    let mut changed = push("all", 1, &["red"]);
    changed.checksum = 77;
    received(red(), 20, 1)
        .pushed("tags", 20, changed)
        .breaks(Rule::Phantom);
}

#[test]
fn q2_a_refused_message_is_pushed() {
    let labels = labels(&[], None);
    let story = Story::of_topics().published("tags", 0, &[1], labels, Outcome::Refused(4410));
    story.push("all", 10, 1, &[]).breaks(Rule::Phantom);
}

#[test]
fn q2_a_message_is_pushed_before_it_was_published() {
    let story = Story::of_topics().publish(100, 1, &[]);
    story.push("all", 10, 1, &[]).breaks(Rule::Phantom);
}

#[test]
fn q2_one_id_stands_for_two_published_bodies() {
    let outcome = Outcome::Ok(vec!["m1".to_owned()]);
    let mut second = push("all", 2, &[]);
    "m1".clone_into(&mut second.message);
    Story::of_topics()
        .publish(0, 1, &[])
        .published("tags", 20, &[2], labels(&[], None), outcome)
        .push("all", 10, 1, &[])
        .pushed("tags", 30, second)
        .breaks(Rule::Phantom);
}

#[test]
fn q17_a_batch_is_answered_with_too_few_ids() {
    let outcome = Outcome::Ok(vec!["m1".to_owned()]);
    Story::of_topics()
        .published("tags", 0, &[1, 2], labels(&[], None), outcome)
        .push("all", 10, 1, &[])
        .push("all", 10, 2, &[])
        .breaks(Rule::Batch);
}

#[test]
fn a_carried_message_that_is_handed_out_twice_is_a_lease_that_ended() {
    let story = red().received("t", 20, 25, vec![carried(1, 1)]);
    let again = VISIBILITY + 100;
    let story = story.received("t", again, again + 5, vec![carried(1, 2)]);
    story.delete("t", again + 10, "r1.2").holds();
}

#[test]
fn what_cannot_be_judged_is_said() {
    let topic =
        Story::of_topics().published("other", 0, &[1], labels(&[], None), Outcome::Ok(Vec::new()));
    assert_eq!(
        topic.judge().unwrap_err(),
        Invalid::UnknownTopic("other".to_owned())
    );
    let subscription = Story::of_topics().push("other", 0, 1, &[]);
    let (topic, name) = ("tags".to_owned(), "other".to_owned());
    assert_eq!(
        subscription.judge().unwrap_err(),
        Invalid::UnknownSubscription { topic, name }
    );
    let shared = Story::of_topics().with(|history| {
        history.subscriptions[0].target = Target::Queue("t".to_owned());
    });
    assert_eq!(
        shared.judge().unwrap_err(),
        Invalid::UnclearTarget("t".to_owned())
    );
    let hasty = Story::of_topics().publish(0, 1, &[]).without_drain();
    assert_eq!(
        hasty.judge().unwrap_err(),
        Invalid::NotDrained("tags".to_owned())
    );
}

impl Story {
    fn subscribe(self, name: &str, at: u64) -> Self {
        let (name, outcome) = (name.to_owned(), Outcome::Ok(()));
        self.event("tags", at, at + 5, Operation::Subscribe { name, outcome })
    }

    fn unsubscribe(self, name: &str, at: u64, outcome: Outcome<()>) -> Self {
        let name = name.to_owned();
        self.event("tags", at, at + 5, Operation::Unsubscribe { name, outcome })
    }
}

#[test]
fn a_subscription_gets_nothing_from_before_it_was_made() {
    Story::of_topics()
        .subscribe("red", 100)
        .subscribe("reds", 100)
        .publish(0, 1, &["red"])
        .push("all", 10, 1, &["red"])
        .holds();
}

#[test]
fn what_a_subscription_has_not_delivered_ends_with_it() {
    Story::of_topics()
        .publish(0, 1, &["red"])
        .push("all", 10, 1, &["red"])
        .unsubscribe("red", 20, Outcome::Ok(()))
        .unsubscribe("reds", 20, Outcome::Unknown)
        .holds();
}

#[test]
fn q13_a_message_comes_to_a_queue_whose_subscription_ended_before() {
    let story = Story::of_topics()
        .unsubscribe("red", 0, Outcome::Ok(()))
        .unsubscribe("reds", 0, Outcome::Ok(()))
        .publish(10, 1, &["red"])
        .push("all", 20, 1, &["red"]);
    let story = story.received("t", 30, 35, vec![carried(1, 1)]);
    story.breaks(Rule::FanOut);
}

#[test]
fn q13_a_message_comes_to_a_queue_whose_subscription_was_made_after() {
    let story = Story::of_topics()
        .subscribe("red", 100)
        .subscribe("reds", 100)
        .publish(0, 1, &["red"])
        .push("all", 20, 1, &["red"]);
    let story = story.received("t", 300, 305, vec![carried(1, 1)]);
    story.breaks(Rule::FanOut);
}

#[test]
fn q13_a_publish_is_refused_though_a_subscription_was_made_for_it() {
    let refused = Outcome::Refused(6030);
    let story = Story::of_topics().subscribe("red", 0);
    let story = story.published("tags", 10, &[1], labels(&["red"], None), refused);
    story.breaks(Rule::FanOut);
}

#[test]
fn q9_a_carried_message_comes_twice() {
    let story = received(red(), 20, 1);
    let twin = Delivery {
        receipt: "r1.b".to_owned(),
        message: "c1b".to_owned(),
        ..delivery(1, 1)
    };
    let story = story.received("t", 30_000, 30_005, vec![twin]);
    let report = story.delete("t", 30_010, "r1.b").judge().unwrap();
    assert_eq!(report.count(Rule::Duplicate), 1, "{report}");
}
