//! The rules: one file per kind of promise, each looking at the ledger and adding to the report.

mod bodies;
mod counters;
mod dead_letters;
mod deletes;
mod endings;
mod fan_out;
mod leases;
mod limits;
mod names;
mod settings;
mod visible;

use crate::{
    history::History,
    ledger::{Copy, Ledger, Queue, Sent},
    report::{Invalid, Report},
};

pub(crate) fn judge(history: &History) -> Result<Report, Invalid> {
    let ledger = Ledger::new(history)?;
    let mut report = Report {
        statistics: ledger.statistics,
        violations: Vec::new(),
    };
    let moved = Moved::new(&ledger);
    bodies::judge(&ledger, &mut report);
    leases::judge(&ledger, &mut report);
    deletes::judge(&ledger, &moved, &mut report)?;
    dead_letters::judge(&ledger, &moved, &mut report)?;
    counters::judge(&ledger, &moved, &mut report);
    visible::judge(&ledger, &moved, &mut report)?;
    fan_out::judge(&ledger, &mut report);
    endings::judge(&ledger, &mut report);
    limits::judge(&ledger, &mut report);
    names::judge(&ledger, &mut report);
    settings::judge(&ledger, &mut report);
    Ok(report)
}

/// For each send the copy in the dead-letter queue of its queue, if it was ever seen there.
struct Moved(Vec<Option<usize>>);

impl Moved {
    fn new(ledger: &Ledger<'_>) -> Self {
        let mut places = vec![None; ledger.sends.len()];
        for (place, copy) in ledger.copies.iter().enumerate().skip(ledger.sends.len()) {
            let source = &ledger.queues[ledger.sends[copy.send].queue];
            if source
                .dead_letter
                .is_some_and(|(queue, _)| queue == copy.queue)
            {
                places[copy.send] = Some(place);
            }
        }
        Self(places)
    }

    fn of<'l, 'h>(&self, ledger: &'l Ledger<'h>, copy: &Copy<'_>) -> Option<&'l Copy<'h>> {
        self.0[copy.send].map(|place| &ledger.copies[place])
    }
}

fn too_short(queue: &Queue<'_>, sent: &Sent<'_>) -> Invalid {
    Invalid::DrainTooShort {
        queue: queue.facts.name.clone(),
        body: sent.body,
    }
}

/// How a message is called in a report.
fn called(ledger: &Ledger<'_>, copy: &Copy<'_>) -> String {
    let body = ledger.sent_of(copy).body;
    match copy.handouts.first() {
        Some(handout) => format!("body {body:016x} (message {})", handout.message),
        None => format!("body {body:016x}"),
    }
}
