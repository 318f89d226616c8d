//! Q18: whoever asks what a queue is set to is told what is in force, never what was replaced before.

use crate::{
    event::{Nanos, Settings},
    evidence::MILLISECOND,
    ledger::{Ledger, Told},
    report::{Report, Rule},
};

pub(super) fn judge(ledger: &Ledger<'_>, report: &mut Report) {
    for told in &ledger.told {
        let queue = &ledger.queues[told.queue];
        let mut add = |detail: String| report.add(Rule::Control, &queue.facts.name, detail);
        if queue.is_gone(told.invoked) {
            add("it was told of after it was deleted".to_owned());
        }
        let created = queue.created.map_or(0, |created| created.invoked);
        if told.returned < created {
            add("it was told of before it was made".to_owned());
        }
        for (what, value) in wrong(ledger, told) {
            add(format!(
                "its {what} is said to be {value}, and was not then"
            ));
        }
    }
}

/// What was told and cannot have been so.
fn wrong(ledger: &Ledger<'_>, told: &Told) -> Vec<(&'static str, u64)> {
    let attributes = &ledger.queues[told.queue].attributes;
    let Settings {
        visibility_ms,
        retention_ms,
        delay_ms,
        rewind_ms,
        backlog,
    } = told.settings;
    let (from, to) = (told.invoked, told.returned);
    let lengths = [
        ("visibility", &attributes.visibility, visibility_ms),
        ("retention", &attributes.retention, retention_ms),
        ("delay", &attributes.delay, delay_ms),
        ("rewind", &attributes.rewind, rewind_ms),
    ];
    let lengths = lengths.into_iter().filter_map(|(what, setting, value)| {
        let length: Nanos = value.saturating_mul(MILLISECOND);
        (!setting.may_be(length, from, to)).then_some((what, value))
    });
    let limit = (!attributes.backlog.may_be(backlog, from, to)).then_some(("backlog", backlog));
    lengths.chain(limit).collect()
}
