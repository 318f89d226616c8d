//! Bad histories, one or more per rule: each must be flagged, with the right rule and no other.

use anser_check::{Answer, Invalid, Operation, Outcome, Rule};

use crate::story::{DRAIN, Story, VISIBILITY, delivery};

#[test]
fn q1_an_acknowledged_message_never_comes() {
    Story::new().send("q", 0, 1).breaks(Rule::Loss);
}

#[test]
fn q1_a_delayed_message_never_comes() {
    Story::new().delayed("q", 0, 1, 60_000).breaks(Rule::Loss);
}

#[test]
fn q1_one_of_an_acknowledged_batch_never_comes() {
    let ids = vec!["m1".to_owned(), "m2".to_owned()];
    let story = Story::new().sent("q", 0, &[1, 2], 0, Outcome::Ok(ids));
    story
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1")
        .breaks(Rule::Loss);
}

#[test]
fn q1_a_message_is_lost_in_an_outage() {
    Story::new()
        .send("q", 0, 1)
        .outage(10, 5_000)
        .breaks(Rule::Loss);
}

#[test]
fn q2_a_body_comes_that_was_never_sent() {
    Story::new().receive("q", 10, 1, 1).breaks(Rule::Phantom);
}

#[test]
fn q2_a_body_comes_with_other_bytes() {
    let mut changed = delivery(1, 2);
    changed.checksum = 77;
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    story
        .received("q", 30, 35, vec![changed])
        .breaks(Rule::Phantom);
}

#[test]
fn q2_a_body_comes_that_is_not_ours() {
    let mut strange = delivery(1, 1);
    strange.body = None;
    Story::new()
        .received("q", 30, 35, vec![strange])
        .breaks(Rule::Phantom);
}

#[test]
fn q2_a_message_comes_from_another_queue() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    story
        .receive("s", 30, 1, 1)
        .delete("s", 40, "r1.1")
        .breaks(Rule::Phantom);
}

#[test]
fn q2_a_message_comes_before_it_was_sent() {
    let story = Story::new().send("q", 100, 1).receive("q", 10, 1, 1);
    let report = story.delete("q", 20, "r1.1").judge().unwrap();
    assert_eq!(report.count(Rule::Phantom), 1, "{report}");
}

#[test]
fn q2_a_refused_message_comes() {
    let story = Story::new().sent("q", 0, &[1], 0, Outcome::Refused(4410));
    story
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1")
        .breaks(Rule::Phantom);
}

#[test]
fn q2_one_message_id_stands_for_two_bodies() {
    let mut other = delivery(2, 1);
    other.message = "m1".to_owned();
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    let story = story
        .sent("q", 30, &[2], 0, Outcome::Unknown)
        .received("q", 40, 45, vec![other]);
    story.delete("q", 50, "r2.1").breaks(Rule::Phantom);
}

#[test]
fn q4_a_delayed_message_comes_early() {
    let story = Story::new()
        .delayed("q", 0, 1, 5_000)
        .receive("q", 4_990, 1, 1);
    story.delete("q", 5_000, "r1.1").breaks(Rule::Delay);
}

#[test]
fn q4_a_delayed_message_without_answer_comes_early() {
    let story = Story::new().sent("q", 0, &[1], 5_000, Outcome::Unknown);
    story
        .receive("q", 4_000, 1, 1)
        .delete("q", 4_100, "r1.1")
        .breaks(Rule::Delay);
}

#[test]
fn q4_a_delayed_message_comes_late() {
    let story = Story::new().delayed("q", 0, 1, 5_000).empty("q", 6_100);
    story
        .receive("q", 8_000, 1, 1)
        .delete("q", 8_100, "r1.1")
        .breaks(Rule::Delay);
}

#[test]
fn q5_a_message_is_handed_out_twice_at_once() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .receive("q", 5_000, 1, 2);
    story.delete("q", 5_010, "r1.2").breaks(Rule::Invisibility);
}

#[test]
fn q5_two_overlapping_receives_get_the_same_message() {
    let story = Story::new().send("q", 0, 1);
    let story = story.received("q", 10, 50, vec![delivery(1, 1)]);
    let story = story.received("q", 20, 60, vec![delivery(1, 2)]);
    story.delete("q", 70, "r1.2").breaks(Rule::Invisibility);
}

#[test]
fn q5_an_extended_lease_is_not_respected() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story
        .extend("q", 5_000, "r1.1", 30_000)
        .receive("q", 20_000, 1, 2);
    story.delete("q", 20_010, "r1.2").breaks(Rule::Invisibility);
}

#[test]
fn q5_a_long_poll_does_not_hide_an_early_second_delivery() {
    let story = Story::new()
        .received("q", 0, 29_010, vec![delivery(1, 1)])
        .send("q", 29_000, 1);
    story
        .receive("q", 32_000, 1, 2)
        .delete("q", 32_010, "r1.2")
        .breaks(Rule::Invisibility);
}

#[test]
fn q6_a_message_does_not_come_again() {
    Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .breaks(Rule::Redelivery);
}

#[test]
fn q6_a_message_is_hidden_for_too_long() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story
        .empty("q", VISIBILITY + 1_100)
        .receive("q", VISIBILITY + 5_000, 1, 2);
    story
        .delete("q", VISIBILITY + 5_010, "r1.2")
        .breaks(Rule::Redelivery);
}

#[test]
fn q6_a_refused_delete_loses_the_message() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let refused = Outcome::Ok(vec![Answer::Refused(4000)]);
    story
        .deleted("q", 20, "r1.1", refused)
        .breaks(Rule::Redelivery);
}

#[test]
fn q7_a_deleted_message_comes_again() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    story
        .receive("q", 60_000, 1, 2)
        .delete("q", 60_010, "r1.2")
        .breaks(Rule::Delete);
}

#[test]
fn q7_a_deleted_message_comes_again_after_a_crash() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    let story = story.outage(30, 900).receive("q", 1_000, 1, 2);
    story.delete("q", 1_010, "r1.2").breaks(Rule::Delete);
}

#[test]
fn q7_a_deleted_message_comes_in_a_long_poll_from_before() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    let story = story.received("q", 15, 20_000, vec![delivery(1, 2)]);
    story.delete("q", 20_010, "r1.2").breaks(Rule::Delete);
}

#[test]
fn q8_a_superseded_receipt_deletes() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story.receive("q", 10_500, 1, 2).delete("q", 10_600, "r1.1");
    story.breaks_receipt_only();
}

#[test]
fn q8_an_expired_receipt_deletes() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    story.delete("q", 13_000, "r1.1").breaks(Rule::Receipt);
}

#[test]
fn q8_a_receipt_deletes_twice() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    story.delete("q", 40, "r1.1").breaks(Rule::Receipt);
}

#[test]
fn q8_the_receipt_of_a_running_lease_is_refused() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story.deleted("q", 20, "r1.1", Outcome::Ok(vec![Answer::Stale]));
    story
        .receive("q", 10_100, 1, 2)
        .delete("q", 10_200, "r1.2")
        .breaks(Rule::Receipt);
}

#[test]
fn q8_a_receipt_is_given_out_twice() {
    let mut again = delivery(1, 2);
    again.receipt = "r1.1".to_owned();
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    story
        .received("q", 10_500, 10_510, vec![again])
        .delete("q", 10_600, "r1.1")
        .breaks(Rule::Receipt);
}

#[test]
fn q8_a_receipt_that_nobody_got_works() {
    Story::new().delete("q", 5, "r77.1").breaks(Rule::Receipt);
}

#[test]
fn q9_one_send_leads_to_two_messages() {
    let mut twin = delivery(1, 1);
    twin.message = "m500".to_owned();
    twin.receipt = "r500.1".to_owned();
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 1);
    let story = story
        .received("q", 20_000, 20_005, vec![twin])
        .delete("q", 20_010, "r500.1");
    story.breaks(Rule::Duplicate);
}

#[test]
fn q9_a_message_comes_under_another_id_than_acknowledged() {
    let story = Story::new().sent("q", 0, &[1], 0, Outcome::Ok(vec!["m600".to_owned()]));
    story
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1")
        .breaks(Rule::Duplicate);
}

#[test]
fn q12_a_rewind_brings_nothing_back() {
    let story = Story::new()
        .send("q", 0, 5)
        .receive("q", 10, 5, 1)
        .delete("q", 20, "r5.1");
    story.rewind("q", 30_000, 4).breaks(Rule::Rewind);
}

#[test]
fn q12_a_rewind_brings_back_what_is_older() {
    let story = Story::new()
        .send("q", 0, 5)
        .receive("q", 10, 5, 1)
        .delete("q", 20, "r5.1");
    let mut back = delivery(5, 1);
    back.receipt = "r5.b".to_owned();
    let story = story
        .rewind("q", 30_000, 8)
        .received("q", 30_100, 30_105, vec![back]);
    story.delete("q", 30_200, "r5.b").breaks(Rule::Rewind);
}

#[test]
fn q14_a_message_gives_up_and_is_nowhere() {
    let story = Story::new()
        .send("s", 0, 1)
        .receive("s", 10, 1, 1)
        .receive("s", 10_500, 1, 2);
    story.breaks(Rule::DeadLetter);
}

#[test]
fn q14_a_message_is_in_the_dead_letter_queue_twice() {
    let story = given_up();
    let (mut one, mut other) = (delivery(1, 1), delivery(1, 1));
    (one.message, one.receipt) = ("x".to_owned(), "rx".to_owned());
    (other.message, other.receipt) = ("y".to_owned(), "ry".to_owned());
    let story = story.received("d", 30_000, 30_005, vec![one, other]);
    story
        .delete("d", 30_010, "rx")
        .delete("d", 30_020, "ry")
        .breaks_dead_letter();
}

#[test]
fn q14_a_message_is_received_too_often() {
    let story = given_up().receive("s", 30_000, 1, 3);
    story.delete("s", 30_010, "r1.3").breaks(Rule::DeadLetter);
}

#[test]
fn q14_a_message_comes_from_the_source_after_it_moved() {
    let story = given_up().received("d", 30_000, 30_005, vec![delivery(1, 1)]);
    let story = story.delete("d", 30_010, "r1.1");
    let mut again = delivery(1, 2);
    again.receipt = "r1.again".to_owned();
    let report = story
        .received("s", 60_000, 60_005, vec![again])
        .judge()
        .unwrap();
    assert!(report.count(Rule::DeadLetter) >= 1, "{report}");
}

#[test]
fn q14_a_message_moves_too_soon() {
    let story = Story::new().send("s", 0, 1).receive("s", 10, 1, 1);
    let story = story.received("d", 30_000, 30_005, vec![delivery(1, 1)]);
    story.delete("d", 30_010, "r1.1").breaks(Rule::DeadLetter);
}

#[test]
fn q15_a_message_is_not_counted() {
    let story = Story::new().send("q", 0, 1).count(500, 0, 0, 0);
    story
        .receive("q", 600, 1, 1)
        .delete("q", 700, "r1.1")
        .breaks(Rule::Counters);
}

#[test]
fn q15_a_deleted_message_is_still_counted() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    story.count(500, 0, 1, 0).breaks(Rule::Counters);
}

#[test]
fn q15_a_delayed_message_counts_as_active() {
    let story = Story::new().delayed("q", 0, 1, 5_000).count(500, 1, 0, 0);
    story
        .receive("q", 6_000, 1, 1)
        .delete("q", 6_100, "r1.1")
        .breaks(Rule::Counters);
}

#[test]
fn q15_the_receive_count_goes_back() {
    let story = Story::new().send("q", 0, 1).receive("q", 10, 1, 3);
    story
        .receive("q", 10_500, 1, 1)
        .delete("q", 10_600, "r1.1")
        .breaks(Rule::Counters);
}

#[test]
fn q17_a_batch_has_fewer_ids_than_bodies() {
    let story = Story::new().sent("q", 0, &[1, 2], 0, Outcome::Ok(vec!["m1".to_owned()]));
    let story = story.received("q", 10, 15, vec![delivery(1, 1), delivery(2, 1)]);
    story
        .delete("q", 20, "r1.1")
        .delete("q", 30, "r2.1")
        .breaks(Rule::Batch);
}

#[test]
fn q17_half_a_batch_without_answer_comes() {
    let story = Story::new().sent("q", 0, &[1, 2], 0, Outcome::Unknown);
    story
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1")
        .breaks(Rule::Batch);
}

#[test]
fn q17_one_of_a_refused_batch_comes() {
    let story = Story::new().sent("q", 0, &[1, 2], 0, Outcome::Refused(4400));
    story
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1")
        .breaks(Rule::Batch);
}

#[test]
fn q17_a_batch_delete_answers_too_little() {
    let story = Story::new()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1)
        .delete("q", 20, "r1.1");
    let receipts = vec!["r1.1".to_owned(), "zzz".to_owned()];
    let outcome = Outcome::Ok(vec![Answer::Stale]);
    story
        .event("q", 40, 45, Operation::Delete { receipts, outcome })
        .breaks(Rule::Batch);
}

#[test]
fn an_empty_drain_proves_nothing() {
    let story = Story::new().without_drain().send("q", 0, 1);
    let story = story.receive("q", 10, 1, 1).delete("q", 20, "r1.1");
    let story = story
        .event("q", DRAIN, DRAIN + 9, Operation::Drain)
        .empty("q", DRAIN + 1);
    assert_eq!(story.judge().unwrap_err(), Invalid::EmptyDrain);
}

#[test]
fn no_drain_proves_nothing() {
    let story = Story::new()
        .without_drain()
        .send("q", 0, 1)
        .receive("q", 10, 1, 1);
    assert_eq!(
        story.judge().unwrap_err(),
        Invalid::NotDrained("q".to_owned())
    );
}

#[test]
fn a_drain_that_ends_too_early_proves_nothing() {
    let story = Story::new().delayed("q", 0, 1, DRAIN + 500_000);
    let invalid = story.judge().unwrap_err();
    assert_eq!(
        invalid,
        Invalid::DrainTooShort {
            queue: "q".to_owned(),
            body: 1
        }
    );
}

#[test]
fn a_run_without_an_acknowledged_send_proves_nothing() {
    let story = Story::new()
        .without_drain()
        .sent("q", 0, &[1], 0, Outcome::Unknown);
    assert_eq!(story.judge().unwrap_err(), Invalid::NothingAcknowledged);
}

/// Message 1 was received twice from `s`, which is as often as it may be.
fn given_up() -> Story {
    Story::new()
        .send("s", 0, 1)
        .receive("s", 10, 1, 1)
        .receive("s", 10_500, 1, 2)
}

impl Story {
    /// A message deleted with a stale receipt does not come again, which is not its own violation.
    #[track_caller]
    fn breaks_receipt_only(self) {
        let report = self.judge().unwrap();
        assert_eq!(report.count(Rule::Receipt), 1, "{report}");
        assert_eq!(report.count(Rule::Delete), 0, "{report}");
    }

    /// Two copies in the dead-letter queue look like a lease broken as well.
    #[track_caller]
    fn breaks_dead_letter(self) {
        let report = self.judge().unwrap();
        assert!(report.count(Rule::DeadLetter) >= 1, "{report}");
    }
}
