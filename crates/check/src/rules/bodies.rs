//! Q2, Q3, Q9, Q17: what came was sent, whole, once; and batches were answered item by item.

use std::collections::HashMap;

use super::called;
use crate::{
    ledger::{Copy, Ledger, SendOutcome, Sent, StrayKind},
    report::{Report, Rule},
};

pub(super) fn judge(ledger: &Ledger<'_>, report: &mut Report) {
    for stray in &ledger.strays {
        let rule = match stray.kind {
            StrayKind::Phantom => Rule::Phantom,
            StrayKind::Receipt => Rule::Receipt,
            StrayKind::Batch => Rule::Batch,
            StrayKind::FanOut => Rule::FanOut,
        };
        report.add(rule, stray.place, stray.detail.clone());
    }
    let mut owners = HashMap::new();
    for copy in &ledger.copies {
        one_copy(ledger, copy, report);
        for (message, times) in messages(ledger, copy) {
            if times == 0 {
                continue;
            }
            let owner = *owners.entry((copy.queue, message)).or_insert(copy.send);
            if owner != copy.send {
                let detail = format!("message id {message} stands for two bodies");
                report.add(Rule::Phantom, ledger.name(copy.queue), detail);
            }
        }
    }
    batches(ledger, report);
}

fn one_copy(ledger: &Ledger<'_>, copy: &Copy<'_>, report: &mut Report) {
    let sent = ledger.sent_of(copy);
    let queue = ledger.name(copy.queue);
    let is_source = copy.is_source(sent);
    let dead_letter = ledger.queues[sent.queue].dead_letter;
    if !is_source && dead_letter.is_none_or(|(place, _)| place != copy.queue) {
        let detail = format!(
            "{} was sent to {}",
            called(ledger, copy),
            ledger.name(sent.queue)
        );
        return report.add(Rule::Phantom, queue, detail);
    }
    let Some(first) = copy.handouts.first() else {
        return;
    };
    if first.returned < sent.invoked {
        let detail = format!("{} came before it was sent", called(ledger, copy));
        report.add(Rule::Phantom, queue, detail);
    }
    if sent.outcome == SendOutcome::Refused {
        let rule = if sent.request_size > 1 {
            Rule::Batch
        } else {
            Rule::Phantom
        };
        report.add(
            rule,
            queue,
            format!("{} came, but was refused", called(ledger, copy)),
        );
    }
    if is_source {
        report.statistics.recovered += u64::from(sent.outcome == SendOutcome::Unknown);
        let ids = messages(ledger, copy);
        if ids.len() > 1 {
            let names: Vec<_> = ids.iter().map(|(message, _)| *message).collect();
            let detail = format!("{} has the ids {names:?}", called(ledger, copy));
            report.add(Rule::Duplicate, queue, detail);
        }
    }
}

/// The different ids of a copy, the acknowledged one included, with how often each came.
fn messages<'h>(ledger: &Ledger<'h>, copy: &Copy<'h>) -> Vec<(&'h str, usize)> {
    let sent = ledger.sent_of(copy);
    let mut ids: Vec<(&str, usize)> = Vec::new();
    if let SendOutcome::Acknowledged(id) = sent.outcome
        && copy.is_source(sent)
    {
        ids.push((id, 0));
    }
    for handout in &copy.handouts {
        match ids.iter_mut().find(|(id, _)| *id == handout.message) {
            Some((_, times)) => *times += 1,
            None => ids.push((handout.message, 1)),
        }
    }
    ids
}

/// A batch is one command: without an answer either all of it came or nothing.
fn batches(ledger: &Ledger<'_>, report: &mut Report) {
    let sends = &ledger.sends;
    let mut start = 0;
    let same =
        |one: &Sent<'_>, other: &Sent<'_>| one.request == other.request && one.queue == other.queue;
    for batch in sends.chunk_by(same) {
        let copies = &ledger.copies[start..start + batch.len()];
        start += batch.len();
        let first = &batch[0];
        if first.outcome != SendOutcome::Unknown || batch.len() == 1 {
            continue;
        }
        let came = copies
            .iter()
            .filter(|copy| !copy.handouts.is_empty())
            .count();
        if came == 0 || came == batch.len() {
            continue;
        }
        let queue = &ledger.queues[first.queue];
        let due = first.due;
        // What a subscription that ends has not delivered ends with it, in the middle of a publish too.
        let moves = queue.dead_letter.is_some() || first.is_carried;
        let kept = ledger.kept_until(&copies[0]);
        if !moves && queue.evidence.nothing_visible(due, kept) {
            let detail = format!("{came} of {} bodies of one batch came", batch.len());
            report.add(Rule::Batch, ledger.name(first.queue), detail);
        }
    }
}
