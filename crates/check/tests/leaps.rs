//! Histories in which a queue's own time goes ahead: what ends by time may end earlier by as much, and by no more.

use anser_check::{Operation, Outcome, Rule};

use crate::story::Story;

impl Story {
    /// The time of a queue goes ahead at a moment; without a name that of the names of queues.
    fn leap(self, queue: &str, at: u64, by_ms: u64) -> Self {
        self.event(queue, at, at, Operation::Leap { by_ms })
    }

    fn made(self, queue: &str, at: u64) -> Self {
        let create = Operation::Create {
            called: "name".to_owned(),
            reuse_after_ms: 60_000,
            outcome: Outcome::Ok(()),
        };
        self.event(queue, at, at + 5, create)
    }

    /// Made again under the same name, 50 s after it was deleted.
    fn made_again(self) -> Self {
        let outcome = Outcome::Ok(());
        self.with(|history| {
            for queue in &mut history.queues {
                queue.called = (queue.name != "d").then(|| "name".to_owned());
                queue.dead_letter = None;
            }
        })
        .event("s", 10_000, 10_005, Operation::End { outcome })
        .made("q", 60_000)
    }
}

fn short() -> Story {
    Story::new().with(|history| history.queues[0].retention_ms = 60_000)
}

#[test]
fn a_delay_may_end_earlier_by_a_leap_and_no_more() {
    let story = |at| {
        let story = Story::new().delayed("q", 0, 1, 60_000);
        let story = story.leap("q", 10_000, 30_000).receive("q", at, 1, 1);
        story.delete("q", at + 10, "r1.1")
    };
    story(30_000).holds();
    story(29_900).breaks(Rule::Delay);
    story(9_900).breaks(Rule::Delay);
}

#[test]
fn a_leap_before_a_delay_began_does_not_shorten_it() {
    let story = Story::new()
        .leap("q", 0, 30_000)
        .delayed("q", 100, 1, 60_000);
    let story = story.receive("q", 40_000, 1, 1);
    story.delete("q", 40_010, "r1.1").breaks(Rule::Delay);
}

#[test]
fn a_lease_may_end_earlier_by_a_leap_of_its_own_queue() {
    let story = |of: &str| {
        let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
        let story = story.leap(of, 2_000, 6_000).receive("q", 5_000, 1, 2);
        story.delete("q", 5_010, "r1.2")
    };
    story("q").holds();
    story("s").breaks(Rule::Invisibility);
}

#[test]
fn a_lease_that_was_prolonged_may_end_earlier_too() {
    let story = |by| {
        let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
        let story = story.extend("q", 1_000, "r1.1", 60_000);
        let story = story.leap("q", 2_000, by).receive("q", 20_000, 1, 2);
        story.delete("q", 20_010, "r1.2")
    };
    story(45_000).holds();
    story(20_000).breaks(Rule::Invisibility);
}

#[test]
fn a_retention_may_end_earlier_by_a_leap() {
    let story = |by| {
        let story = short().send("q", 0, 1).leap("q", 10_000, by);
        story.empty("q", 31_000)
    };
    story(40_000).holds();
    story(20_000).breaks(Rule::Loss);
}

#[test]
fn a_name_may_be_free_earlier_by_a_leap_of_the_time_of_names() {
    Story::new().made_again().leap("", 20_000, 11_000).holds();
    let wrong = Story::new().made_again().leap("q", 20_000, 11_000);
    wrong.breaks(Rule::Control);
}
