//! Histories of messages that give up by their age, and of dead-letter queues that are purged.

use anser_check::{Changes, DeadLetter, Operation, Outcome, Rule};

use crate::story::Story;

const AGE: u64 = 60_000;

/// A story in which what is sent to `s` goes to `d` at this age.
fn aged() -> Story {
    Story::new().with(|history| {
        history.queues[1].dead_letter = Some(DeadLetter {
            queue: "d".to_owned(),
            receives_max: u32::MAX,
            age_ms: Some(AGE),
        });
    })
}

impl Story {
    fn purge_of(self, queue: &str, at: u64) -> Self {
        let outcome = Outcome::Ok(());
        self.event(queue, at, at + 5, Operation::Purge { outcome })
    }
}

#[test]
fn a_message_goes_to_the_dead_letter_queue_at_its_age_and_not_before() {
    let story = |at| {
        let story = aged().send("s", 0, 1).receive("d", at, 1, 1);
        story.delete("d", at + 10, "r1.1")
    };
    story(60_100).holds();
    story(59_900).breaks(Rule::DeadLetter);
}

#[test]
fn a_message_that_is_old_enough_and_in_neither_queue_is_missed() {
    aged().send("s", 0, 1).breaks(Rule::DeadLetter);
}

#[test]
fn a_delayed_message_gives_up_when_its_delay_ends() {
    let story = aged().delayed("s", 0, 1, 100_000);
    let story = story.receive("d", 100_100, 1, 1);
    story.delete("d", 100_110, "r1.1").holds();
    aged().delayed("s", 0, 1, 100_000).breaks(Rule::DeadLetter);
}

#[test]
fn a_message_that_is_leased_at_its_age_may_still_be_deleted() {
    let story = aged().send("s", 0, 1).receive("s", 59_000, 1, 1);
    story.delete("s", 65_000, "r1.1").holds();
}

#[test]
fn a_message_that_is_leased_at_its_age_gives_up_with_its_lease() {
    let story = || aged().send("s", 0, 1).receive("s", 59_000, 1, 1);
    let came = story().receive("d", 69_100, 1, 1);
    came.delete("d", 69_110, "r1.1").holds();
    story().breaks(Rule::DeadLetter);
}

#[test]
fn a_message_is_not_received_long_after_its_age() {
    let story = |at| {
        let story = aged().send("s", 0, 1).receive("s", at, 1, 1);
        story.delete("s", at + 10, "r1.1")
    };
    story(60_500).holds();
    story(70_000).breaks(Rule::Ending);
}

#[test]
fn an_age_says_nothing_once_the_dead_letter_queue_was_taken_away() {
    let changes = Changes {
        no_dead_letter: true,
        ..Changes::default()
    };
    let outcome = Outcome::Ok(());
    let change = Operation::Change { changes, outcome };
    let story = aged().send("s", 0, 1).event("s", 10_000, 10_005, change);
    let story = story.receive("s", 70_000, 1, 1);
    story.delete("s", 70_010, "r1.1").holds();
}

#[test]
fn an_age_is_reached_earlier_by_a_leap() {
    let leap = Operation::Leap { by_ms: 20_000 };
    let story = aged().send("s", 0, 1).event("s", 10_000, 10_000, leap);
    let story = story.receive("d", 45_000, 1, 1);
    story.delete("d", 45_010, "r1.1").holds();
}

#[test]
fn what_a_purged_dead_letter_queue_had_is_not_missed_and_does_not_come_again() {
    let purged = || {
        let story = aged().send("s", 0, 1).receive("d", 61_000, 1, 1);
        story.purge_of("d", 62_000)
    };
    purged().holds();
    let again = purged().receive("d", 100_000, 1, 2);
    again.breaks(Rule::Ending);
}

#[test]
fn a_dead_letter_queue_that_is_purged_may_have_held_what_nobody_received() {
    let story = || aged().send("s", 0, 1).counted("d", 70_000, (1, 0, 0));
    story().purge_of("d", 80_000).holds();
    let received = story().receive("d", 90_000, 1, 1);
    received.delete("d", 90_010, "r1.1").holds();
}

/// Somebody received it as often as it may be, and never got the answer.
#[test]
fn a_message_that_went_unseen_may_have_been_purged_where_it_went() {
    let story = || {
        let story = Story::new().send("s", 0, 1).unanswered("s", 10);
        story.unanswered("s", 15_000)
    };
    let purged = story().purge_of("d", 40_000);
    purged.counted("s", 50_000, (0, 0, 0)).holds();
    story().breaks(Rule::Loss);
}

#[test]
fn what_comes_after_the_purge_of_a_dead_letter_queue_is_missed() {
    let story = aged().purge_of("d", 10_000).send("s", 20_000, 1);
    story.breaks(Rule::DeadLetter);
}
