//! Histories of whole queues: settings that change, limits, purges, rewinding within its time, and names.

use anser_check::{
    Answer, Changes, Counters, Limits, Operation, Outcome, QueueFacts, Rule, Settings, refusal,
};

use crate::story::{EPOCH, Story, delivery};

const OK: Outcome<()> = Outcome::Ok(());

/// A story whose queue `q` is made like this.
fn of(change: impl FnOnce(&mut QueueFacts)) -> Story {
    Story::new().with(|history| change(&mut history.queues[0]))
}

fn short() -> Story {
    of(|facts| facts.retention_ms = 60_000)
}

impl Story {
    fn change(self, at: u64, changes: Changes) -> Self {
        self.changed(at, changes, OK)
    }

    fn changed(self, at: u64, changes: Changes, outcome: Outcome<()>) -> Self {
        self.event("q", at, at + 5, Operation::Change { changes, outcome })
    }

    fn purge(self, at: u64) -> Self {
        self.event("q", at, at + 5, Operation::Purge { outcome: OK })
    }

    fn describe(self, at: u64, visibility_ms: u64) -> Self {
        let settings = Settings {
            visibility_ms,
            retention_ms: 86_400_000,
            delay_ms: 0,
            rewind_ms: 86_400_000,
            backlog: u64::MAX,
        };
        self.described(at, Outcome::Ok(settings))
    }

    fn described(self, at: u64, outcome: Outcome<Settings>) -> Self {
        let called = "name".to_owned();
        self.event("q", at, at + 5, Operation::Describe { called, outcome })
    }

    fn create(self, queue: &str, at: u64, outcome: Outcome<()>) -> Self {
        let create = Operation::Create {
            called: "name".to_owned(),
            reuse_after_ms: 60_000,
            outcome,
        };
        self.event(queue, at, at + 5, create)
    }

    fn end(self, queue: &str, at: u64, outcome: Outcome<()>) -> Self {
        self.event(queue, at, at + 5, Operation::End { outcome })
    }

    fn refused(self, at: u64, id: u64, code: i64) -> Self {
        self.sent("q", at, &[id], 0, Outcome::Refused(code))
    }

    fn refused_receive(self, at: u64) -> Self {
        let receive = Operation::Receive {
            most: 1,
            wait_ms: 0,
            outcome: Outcome::Refused(refusal::TOO_MANY_INACTIVE),
        };
        self.event("q", at, at + 5, receive)
    }

    /// Message `id` is received and deleted within 20 ms.
    fn consumed(self, at: u64, id: u64) -> Self {
        let story = self.receive("q", at, id, 1);
        story.delete("q", at + 10, &format!("r{id}.1"))
    }
}

fn visibility(visibility_ms: u64) -> Changes {
    Changes {
        visibility_ms: Some(visibility_ms),
        ..Changes::default()
    }
}

fn retention(retention_ms: u64) -> Changes {
    Changes {
        retention_ms: Some(retention_ms),
        ..Changes::default()
    }
}

fn backlog(backlog: u64) -> Changes {
    Changes {
        backlog: Some(backlog),
        ..Changes::default()
    }
}

#[test]
fn a_message_may_be_gone_when_its_retention_is_over() {
    short().send("q", 0, 1).empty("q", 70_000).holds();
}

#[test]
fn q1_a_message_ends_before_its_retention() {
    let story = short().send("q", 0, 1).empty("q", 55_000);
    story.breaks(Rule::Loss);
}

#[test]
fn q16_a_message_comes_long_after_its_retention() {
    let story = short().send("q", 0, 1).consumed(62_000, 1);
    let report = story.judge().unwrap();
    assert_eq!(report.count(Rule::Ending), 1, "{report}");
}

#[test]
fn a_longer_retention_keeps_what_is_there() {
    let story = short().send("q", 0, 1).change(30_000, retention(90_000));
    story.consumed(80_000, 1).holds();
}

#[test]
fn a_shorter_retention_ends_what_is_there() {
    let story = short().send("q", 0, 1).change(30_000, retention(20_000));
    story.empty("q", 32_000).holds();
}

#[test]
fn q16_a_message_outlives_a_shorter_retention() {
    let story = short().send("q", 40_000, 1);
    let story = story.change(20_000, retention(5_000)).consumed(50_000, 1);
    let report = story.judge().unwrap();
    assert_eq!(report.count(Rule::Ending), 1, "{report}");
}

#[test]
fn a_shorter_visibility_counts_for_later_receives() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story.change(1_000, visibility(2_000));
    let story = story.receive("q", 10_100, 1, 2).receive("q", 12_200, 1, 3);
    story.delete("q", 12_300, "r1.3").holds();
}

#[test]
fn q5_a_change_of_visibility_does_not_end_leases() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story.change(1_000, visibility(2_000));
    let story = story.receive("q", 5_000, 1, 2).delete("q", 5_100, "r1.2");
    story.breaks(Rule::Invisibility);
}

#[test]
fn q5_an_old_visibility_is_used_after_a_longer_one() {
    let story = Story::new().change(0, visibility(30_000)).send("q", 10, 1);
    let story = story.receive("q", 20, 1, 1).receive("q", 12_000, 1, 2);
    story.delete("q", 12_100, "r1.2").breaks(Rule::Invisibility);
}

#[test]
fn a_change_without_answer_may_come_any_time() {
    let story = Story::new().changed(0, visibility(2_000), Outcome::Unknown);
    let story = story.describe(100, 10_000).send("q", 200, 1);
    let story = story.receive("q", 300, 1, 1).receive("q", 3_000, 1, 2);
    story
        .describe(4_000, 2_000)
        .delete("q", 3_100, "r1.2")
        .holds();
}

#[test]
fn q18_a_change_that_was_acknowledged_is_not_told() {
    let story = Story::new().change(0, visibility(2_000));
    story.describe(10, 10_000).breaks(Rule::Control);
}

/// What a reader is told is what is in force: of two changes at once it was the later.
#[test]
fn q5_an_older_change_comes_over_a_newer_one() {
    let story = Story::new().change(0, visibility(2_000));
    let story = story.change(3, visibility(30_000)).describe(100, 30_000);
    let story = story.send("q", 200, 1).receive("q", 300, 1, 1);
    let story = story.receive("q", 3_000, 1, 2).delete("q", 3_100, "r1.2");
    story.breaks(Rule::Invisibility);
}

#[test]
fn the_own_delay_of_a_queue_hides_what_does_not_say() {
    let story = of(|facts| facts.delay_ms = 5_000).send_by_default(0, 1);
    story.empty("q", 3_000).consumed(5_100, 1).holds();
    let story = of(|facts| facts.delay_ms = 5_000).send_by_default(0, 1);
    story.consumed(4_000, 1).breaks(Rule::Delay);
}

impl Story {
    fn send_by_default(self, at: u64, id: u64) -> Self {
        let story = self.send("q", at, id);
        story.with(|history| {
            let last = history.events.last_mut().unwrap();
            let Operation::Send { delay_ms, .. } = &mut last.operation else {
                unreachable!("it was just sent")
            };
            *delay_ms = None;
        })
    }
}

#[test]
fn a_purge_ends_what_is_there_and_nothing_else() {
    let story = Story::new().send("q", 0, 1).purge(10).empty("q", 2_000);
    story.send("q", 3_000, 2).consumed(3_100, 2).holds();
}

#[test]
fn q16_a_message_comes_after_a_purge() {
    let story = Story::new().send("q", 0, 1).purge(10).consumed(100, 1);
    let report = story.judge().unwrap();
    assert_eq!(report.count(Rule::Ending), 1, "{report}");
}

#[test]
fn q1_a_purge_ends_what_is_sent_after_it() {
    let story = Story::new().purge(0).send("q", 10, 1);
    story.breaks(Rule::Loss);
}

#[test]
fn q8_the_lease_of_a_purged_message_still_works() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story.purge(20).delete("q", 100, "r1.1");
    story.breaks(Rule::Receipt);
}

fn rewindable() -> Story {
    let story = of(|facts| facts.rewind_ms = Some(20_000));
    story.send("q", 0, 5).receive("q", 10, 5, 1)
}

#[test]
fn a_rewind_leaves_what_can_no_longer_be_had_back() {
    let story = rewindable().delete("q", 20, "r5.1");
    story.rewind("q", 25_000, 2).holds();
}

#[test]
fn q12_a_rewind_within_its_time_brings_nothing_back() {
    let story = rewindable().delete("q", 20, "r5.1");
    story.rewind("q", 15_000, 2).breaks(Rule::Rewind);
}

#[test]
fn q12_a_rewind_brings_back_what_was_deleted_too_long_ago() {
    let mut back = delivery(5, 1);
    back.receipt = "r5.b".to_owned();
    let story = rewindable().delete("q", 20, "r5.1");
    let story = story.rewind("q", 30_000, 2);
    let story = story.received("q", 30_100, 30_105, vec![back]);
    story.delete("q", 30_200, "r5.b").breaks(Rule::Rewind);
}

fn limited() -> Story {
    of(|facts| {
        facts.limits = Limits {
            backlog: Some(2),
            delayed: Some(1),
            in_flight: Some(1),
        }
    })
}

#[test]
fn limits_refuse_what_is_too_much() {
    let story = limited().send("q", 0, 1).delayed("q", 10, 2, 2_000);
    let story = story.refused(20, 3, refusal::BACKLOG_FULL);
    let story = story.receive("q", 100, 1, 1).delete("q", 200, "r1.1");
    let outcome = Outcome::Refused(refusal::TOO_MANY_INACTIVE);
    let story = story.sent("q", 300, &[4], 1_000, outcome).send("q", 400, 5);
    let story = story.receive("q", 500, 5, 1).refused_receive(600);
    let story = story.delete("q", 700, "r5.1").consumed(3_200, 2);
    story.holds();
}

#[test]
fn q21_a_queue_takes_more_than_its_backlog() {
    let story = limited().send("q", 0, 1).send("q", 10, 2).send("q", 20, 3);
    let story = story.consumed(100, 1).consumed(200, 2).consumed(300, 3);
    story.breaks(Rule::Limits);
}

#[test]
fn q21_a_queue_refuses_what_it_has_room_for() {
    let story = limited()
        .send("q", 0, 1)
        .refused(20, 3, refusal::BACKLOG_FULL);
    story.consumed(100, 1).breaks(Rule::Limits);
}

#[test]
fn q21_a_queue_refuses_by_a_limit_that_was_raised() {
    let story = limited().send("q", 0, 1).send("q", 10, 2);
    let story = story
        .change(20, backlog(3))
        .refused(40, 3, refusal::BACKLOG_FULL);
    story.consumed(100, 1).consumed(200, 2).breaks(Rule::Limits);
}

#[test]
fn a_lower_limit_keeps_what_is_there() {
    let story = limited().send("q", 0, 1).send("q", 10, 2);
    let story = story
        .change(20, backlog(1))
        .refused(40, 3, refusal::BACKLOG_FULL);
    story.consumed(100, 1).consumed(200, 2).holds();
}

#[test]
fn q21_a_queue_delays_too_many() {
    let story = limited()
        .delayed("q", 0, 1, 5_000)
        .delayed("q", 10, 2, 5_000);
    story
        .consumed(5_100, 1)
        .consumed(5_200, 2)
        .breaks(Rule::Limits);
}

#[test]
fn q21_a_queue_hands_out_too_many() {
    let story = limited().send("q", 0, 1).send("q", 10, 2);
    let story = story.receive("q", 20, 1, 1).receive("q", 40, 2, 1);
    story
        .delete("q", 60, "r1.1")
        .delete("q", 80, "r2.1")
        .breaks(Rule::Limits);
}

#[test]
fn q21_a_queue_refuses_a_receive_while_nothing_is_out() {
    let story = limited().send("q", 0, 1).refused_receive(20);
    story.consumed(100, 1).breaks(Rule::Limits);
}

#[test]
fn q21_a_queue_says_that_it_holds_too_much() {
    let counters = Counters {
        active: 0,
        inactive: 2,
        delayed: 0,
    };
    let story = limited().event("q", 10, 15, Operation::Count(counters));
    let report = story.judge().unwrap();
    assert!(report.count(Rule::Limits) >= 1, "{report}");
}

/// Two queues that were called the same, one after the other.
fn named() -> Story {
    Story::new().with(|history| {
        let other = history.queues[0].clone();
        history.queues.push(QueueFacts {
            name: "q2".to_owned(),
            ..other
        });
        for queue in [0, 3] {
            history.queues[queue].called = Some("name".to_owned());
        }
    })
}

/// The first of them was made and deleted.
fn remade(again_at: u64) -> Story {
    let story = named().create("q2", 0, OK).sent_to_the_first(10);
    story.end("q2", 100, OK).create("q", again_at, OK)
}

impl Story {
    fn sent_to_the_first(self, at: u64) -> Self {
        let outcome = Outcome::Ok(vec!["m1".to_owned()]);
        self.sent("q2", at, &[1], 0, outcome)
    }
}

#[test]
fn a_queue_takes_its_messages_along_and_its_name_is_free_after_a_while() {
    let in_release = Outcome::Refused(refusal::NAME_IN_RELEASE);
    let none = Outcome::Refused(refusal::NO_SUCH_QUEUE);
    let story = remade(61_000).create("", 30_000, in_release);
    let story = story.described(40_000, none);
    story
        .create("", 70_000, Outcome::Refused(refusal::QUEUE_EXISTS))
        .holds();
}

#[test]
fn q2_a_message_of_a_deleted_queue_comes_in_the_next_of_its_name() {
    let story = remade(61_000).consumed(62_000, 1);
    story.breaks(Rule::Phantom);
}

#[test]
fn q16_a_deleted_queue_answers() {
    let story = remade(61_000).received("q2", 2_000, 2_005, vec![]);
    story.breaks(Rule::Ending);
}

#[test]
fn q18_a_name_is_used_again_too_soon() {
    remade(59_000).breaks(Rule::Control);
}

#[test]
fn q18_a_name_is_kept_for_too_long() {
    let outcome = Outcome::Refused(refusal::NAME_IN_RELEASE);
    let story = named().create("q2", 0, OK).end("q2", 100, OK);
    let story = story.create("", 63_000, outcome).create("q", 64_000, OK);
    story.breaks(Rule::Control);
}

#[test]
fn q18_two_queues_have_one_name() {
    let story = named().create("q2", 0, OK).create("q", 20, OK);
    let story = story.end("q2", 30, OK);
    story.breaks(Rule::Control);
}

#[test]
fn q18_a_queue_is_said_not_to_exist() {
    let none = Outcome::Refused(refusal::NO_SUCH_QUEUE);
    let story = named().create("q", 0, OK).end("q2", 100_000, OK);
    let story = story.with(|history| {
        let deleted = history.events.pop().unwrap();
        drop(deleted);
    });
    let story = story.with(|history| {
        history.queues.truncate(3);
    });
    story.described(20, none).breaks(Rule::Control);
}

#[test]
fn the_receipts_of_a_message_whose_retention_is_over_are_stale() {
    let story = short().send("q", 0, 1).receive("q", 55_000, 1, 1);
    let stale = Outcome::Ok(vec![Answer::Stale]);
    story.deleted("q", 61_500, "r1.1", stale).holds();
    let _: u64 = EPOCH;
}

/// `s` ceases to have a dead-letter queue.
fn unbound(story: Story, at: u64) -> Story {
    let changes = Changes {
        no_dead_letter: true,
        ..Changes::default()
    };
    let outcome = OK;
    story.event("s", at, at + 5, Operation::Change { changes, outcome })
}

#[test]
fn a_queue_without_its_dead_letter_queue_gives_nothing_up() {
    let story = unbound(Story::new().send("s", 0, 1), 10);
    let story = story
        .receive("s", 20, 1, 1)
        .receive("s", 10_500, 1, 2)
        .receive("s", 21_000, 1, 3);
    story.delete("s", 21_010, "r1.3").holds();
}

#[test]
fn q14_a_message_is_lost_when_its_dead_letter_queue_is_taken_away() {
    let story = Story::new().send("s", 0, 1).receive("s", 10, 1, 1);
    let story = unbound(story.receive("s", 10_500, 1, 2), 15_000);
    story.breaks(Rule::DeadLetter);
}

#[test]
fn what_waits_for_a_dead_letter_queue_that_is_deleted_comes_back_anew() {
    let story = Story::new().with(|history| {
        history.queues[2].called = Some("dead".to_owned());
    });
    let story = story.send("s", 0, 1).receive("s", 10, 1, 1);
    let story = unbound(story.receive("s", 10_500, 1, 2), 15_000).end("d", 22_000, OK);
    let mut again = delivery(1, 1);
    again.receipt = "r1.anew".to_owned();
    let story = story.received("s", 23_000, 23_005, vec![again]);
    story.delete("s", 23_010, "r1.anew").holds();
}
