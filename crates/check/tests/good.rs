//! Tricky histories without fault: none may be flagged.

use anser_check::{Answer, Outcome};

use crate::story::{Story, VISIBILITY, delivery};

#[test]
fn a_plain_life() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    let statistics = story.empty("q", 30).holds().statistics;
    assert_eq!(
        (
            statistics.acknowledged,
            statistics.delivered,
            statistics.drained
        ),
        (2, 2, 1)
    );
}

#[test]
fn a_send_without_answer_may_come_or_not() {
    let story = Story::new().sent("q", 0, &[1], 0, Outcome::Unknown);
    let story = story.sent("q", 0, &[2], 0, Outcome::Unknown);
    let report = story.receive("q", 10, 1, 1).delete("q", 20, "r1.1").holds();
    assert_eq!(
        (report.statistics.unknown, report.statistics.recovered),
        (2, 1)
    );
}

#[test]
fn a_delete_without_answer_may_have_worked() {
    let story = Story::new().send("q", 0, 1).send("q", 0, 2);
    let story = story.receive("q", 10, 1, 1).receive("q", 10, 2, 1);
    let story = story.deleted("q", 20, "r1.1", Outcome::Unknown);
    let story = story.deleted("q", 30, "r2.1", Outcome::Unknown);
    story
        .receive("q", 10_100, 2, 2)
        .delete("q", 10_200, "r2.2")
        .holds();
}

#[test]
fn a_lease_that_ended_is_handed_out_again() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story.deleted("q", 12_000, "r1.1", Outcome::Ok(vec![Answer::Stale]));
    story
        .receive("q", 10_010, 1, 2)
        .delete("q", 10_020, "r1.2")
        .holds();
}

#[test]
fn a_receive_without_answer_hides_messages_for_a_while() {
    let story = Story::new().send("q", 0, 1).unanswered("q", 10);
    let story = story.empty("q", 5_000).empty("q", 10_900);
    story
        .receive("q", VISIBILITY + 1_100, 1, 2)
        .delete("q", VISIBILITY + 1_200, "r1.2")
        .holds();
}

#[test]
fn an_outage_makes_everything_late() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .outage(20, 8_000);
    let story = story
        .empty("q", 18_500)
        .receive("q", 18_900, 1, 2)
        .delete("q", 18_950, "r1.2");
    let story = story
        .delayed("q", 20_000, 2, 1_000)
        .outage(20_500, 23_500)
        .empty("q", 24_500);
    story
        .receive("q", 24_600, 2, 1)
        .delete("q", 24_700, "r2.1")
        .holds();
}

#[test]
fn a_message_taken_by_another_explains_an_empty_receive() {
    let story = Story::new().send("q", 0, 1).empty("q", 2_000);
    let story = story.received("q", 0, 3_000, vec![delivery(1, 1)]);
    story.delete("q", 3_100, "r1.1").holds();
}

#[test]
fn a_long_poll_from_before_the_send_gets_the_message() {
    let story = Story::new().received("q", 0, 20_010, vec![delivery(1, 1)]);
    story
        .send("q", 20_000, 1)
        .delete("q", 20_100, "r1.1")
        .holds();
}

#[test]
fn a_rewind_brings_back_what_was_deleted() {
    let story = Story::new()
        .send("q", 0, 5)
        .receive("q", 10, 5, 1)
        .delete("q", 20, "r5.1");
    let mut back = delivery(5, 1);
    back.receipt = "r5.b".to_owned();
    let story = story
        .rewind("q", 3_000, 5)
        .received("q", 3_100, 3_105, vec![back]);
    story.delete("q", 3_200, "r5.b").holds();
}

#[test]
fn a_rewind_brings_back_what_an_unanswered_delete_took() {
    let story = Story::new()
        .send("q", 0, 5)
        .receive("q", 10, 5, 1)
        .deleted("q", 20, "r5.1", Outcome::Unknown)
        .rewind("q", 3_000, 5)
        .count(3_100, 1, 0, 0);
    let mut back = delivery(5, 1);
    back.receipt = "r5.b".to_owned();
    let story = story.received("q", 3_200, 3_205, vec![back]);
    let report = story.delete("q", 3_300, "r5.b").holds();
    assert_eq!(report.statistics.counters_judged, 1);
}

#[test]
fn a_rewind_leaves_alone_what_is_older() {
    let story = Story::new()
        .send("q", 0, 5)
        .receive("q", 10, 5, 1)
        .delete("q", 20, "r5.1");
    story.rewind("q", 30_000, 6).holds();
}

#[test]
fn a_message_that_gave_up_is_dead_lettered_once() {
    let story = Story::new()
        .send("s", 0, 1)
        .receive("s", 10, 1, 1)
        .receive("s", 10_500, 1, 2);
    let mut dead = delivery(1, 1);
    dead.message = "x1".to_owned();
    story
        .received("d", 30_000, 30_005, vec![dead])
        .delete("d", 30_010, "r1.1")
        .holds();
}

#[test]
fn a_message_may_give_up_by_receives_without_answer() {
    let story = Story::new()
        .send("s", 0, 1)
        .unanswered("s", 10)
        .receive("s", 12_000, 1, 2);
    let mut dead = delivery(1, 1);
    dead.message = "x1".to_owned();
    story
        .received("d", 30_000, 30_005, vec![dead])
        .delete("d", 30_010, "r1.1")
        .holds();
}

#[test]
fn a_message_that_gave_up_unseen_is_counted_no_more() {
    let story = Story::new()
        .send("s", 0, 1)
        .receive("s", 10, 1, 1)
        .unanswered("s", 10_500)
        .counted("s", 29_000, (0, 0, 0));
    let mut dead = delivery(1, 1);
    dead.message = "x1".to_owned();
    let story = story.received("d", 30_000, 30_005, vec![dead]);
    let report = story.delete("d", 30_010, "r1.1").holds();
    assert_eq!(report.statistics.counters_judged, 1);
}

#[test]
fn a_message_that_nobody_was_seen_to_receive_may_have_given_up() {
    let story = Story::new()
        .send("s", 0, 1)
        .unanswered("s", 10)
        .unanswered("s", 11_500)
        .counted("s", 29_000, (0, 0, 0));
    let mut dead = delivery(1, 1);
    dead.message = "x1".to_owned();
    let story = story.received("d", 30_000, 30_005, vec![dead]);
    story.delete("d", 30_010, "r1.1").holds();
}

#[test]
fn counters_are_exact_in_quiet_moments() {
    let story = Story::new()
        .send("q", 0, 1)
        .send("q", 0, 2)
        .delayed("q", 0, 3, 60_000);
    let story = story
        .count(100, 2, 0, 1)
        .receive("q", 200, 1, 1)
        .count(300, 1, 1, 1);
    let story = story.delete("q", 400, "r1.1").count(500, 1, 0, 1);
    let story = story
        .receive("q", 600, 2, 1)
        .delete("q", 700, "r2.1")
        .count(62_000, 1, 0, 0);
    let report = story
        .receive("q", 63_000, 3, 1)
        .delete("q", 63_100, "r3.1")
        .holds();
    assert_eq!(report.statistics.counters_judged, 4);
}

#[test]
fn an_extended_lease_hides_for_longer_and_a_cut_one_for_shorter() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story.extend("q", 5_000, "r1.1", 30_000).empty("q", 30_000);
    let story = story
        .receive("q", 35_100, 1, 2)
        .extend("q", 35_200, "r1.2", 0);
    story
        .receive("q", 35_300, 1, 3)
        .delete("q", 35_400, "r1.3")
        .holds();
}

#[test]
fn what_outlived_its_retention_may_be_gone() {
    let day = 86_400_000;
    let story = Story::new().delayed("q", 0, 1, day - 500).send("q", 0, 2);
    let story = story.receive("q", 10, 2, 1).delete("q", 20, "r2.1");
    story.empty("q", day + 5_000).holds();
}

#[test]
fn a_whole_batch_without_answer_comes() {
    let story = Story::new().sent("q", 0, &[1, 2], 0, Outcome::Unknown);
    let story = story.received("q", 10, 15, vec![delivery(1, 1), delivery(2, 1)]);
    story
        .delete("q", 20, "r1.1")
        .delete("q", 30, "r2.1")
        .holds();
}

/// The answer to an earlier delivery can reach its client after the later one was received and deleted.
#[test]
fn a_delivery_that_comes_after_a_later_one_was_deleted_may_be_gone() {
    let story = Story::new().send("q", 0, 1);
    let story = story.received("q", 12_000, 14_000, vec![delivery(1, 2)]);
    let story = story.received("q", 10, 15_000, vec![delivery(1, 1)]);
    story.delete("q", 14_100, "r1.2").holds();
}

/// It is counted as leased, though the answer that says so comes after that to the next receive (seed 1806000218).
#[test]
fn a_message_is_not_known_to_be_ready_while_an_earlier_receive_has_no_answer() {
    let story = Story::new().send("q", 0, 1);
    let story = story.received("q", 10, 15_000, vec![delivery(1, 1)]);
    let story = story.count(100, 0, 1, 0);
    let story = story.received("q", 12_000, 14_000, vec![delivery(1, 2)]);
    story.delete("q", 15_100, "r1.2").holds();
}
