//! Q16: what has ended is not seen again: after its retention, after a purge, and in a queue that was deleted.
//!
//! That nothing ends too early is judged where it is missed, by Q1 and Q6.

use super::called;
use crate::{
    event::Nanos,
    ledger::{Ledger, ReceiveOutcome},
    report::{Report, Rule},
};

pub(super) fn judge(ledger: &Ledger<'_>, report: &mut Report) {
    for copy in &ledger.copies {
        for handout in &copy.handouts {
            let too_old = "long after the age at which it gives up";
            let too_old = ledger.is_too_old(copy, handout.invoked).then_some(too_old);
            let why = ledger.ended_before(copy, handout.invoked);
            if let Some(why) = why.or(too_old) {
                let detail = format!("{} came {why}", called(ledger, copy));
                report.add(Rule::Ending, ledger.name(copy.queue), detail);
            }
        }
    }
    for sent in ledger.sends.iter().filter(|sent| sent.acknowledged()) {
        after_the_end(ledger, sent.queue, sent.invoked, "a send was taken", report);
    }
    for (place, queue) in ledger.queues.iter().enumerate() {
        let answered = queue.receives.iter();
        let answered = answered.filter(|one| matches!(one.outcome, ReceiveOutcome::Got(_)));
        for received in answered {
            let what = "a receive was answered";
            after_the_end(ledger, place, received.invoked, what, report);
        }
        for (invoked, ..) in &queue.counts {
            after_the_end(ledger, place, *invoked, "messages were counted", report);
        }
    }
}

fn after_the_end(
    ledger: &Ledger<'_>,
    place: usize,
    invoked: Nanos,
    what: &str,
    report: &mut Report,
) {
    let queue = &ledger.queues[place];
    if queue.is_gone(invoked) {
        let detail =
            format!("{what} after the queue was deleted, asked {invoked} ns after the beginning");
        report.add(Rule::Ending, &queue.facts.name, detail);
    }
}
