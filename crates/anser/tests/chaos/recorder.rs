//! What the clients saw, as a history; shared by all threads of a test.

use std::{
    fs::File,
    io::BufWriter,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anser_check::{
    Event, History, Nanos, Operation, Outcome, QueueFacts, Report, SubscriptionFacts, judge,
};

#[derive(Debug)]
pub(crate) struct Recorder {
    begun: Instant,
    history: Mutex<History>,
}

impl Recorder {
    pub(crate) fn new(queues: Vec<QueueFacts>) -> Self {
        Self::with_topics(queues, Vec::new())
    }

    pub(crate) fn with_topics(
        queues: Vec<QueueFacts>,
        subscriptions: Vec<SubscriptionFacts>,
    ) -> Self {
        let history = History {
            queues,
            subscriptions,
            events: Vec::new(),
        };
        Self {
            begun: Instant::now(),
            history: Mutex::new(history),
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        Nanos::try_from(self.begun.elapsed().as_nanos()).expect("a test ends within centuries")
    }

    /// Notes an operation that began at `invoked` and is over now.
    pub(crate) fn add(&self, client: u32, queue: &str, invoked: Nanos, operation: Operation) {
        let returned = self.now();
        let event = Event {
            client,
            queue: queue.to_owned(),
            invoked,
            returned,
            operation,
        };
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.events.push(event);
    }

    /// Acknowledged sends whose request left at `moment` or later.
    pub(crate) fn acknowledged_since(&self, moment: Nanos) -> usize {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let acknowledged = |event: &&Event| {
            event.invoked >= moment
                && matches!(
                    &event.operation,
                    Operation::Send {
                        outcome: Outcome::Ok(_),
                        ..
                    }
                )
        };
        history.events.iter().filter(acknowledged).count()
    }

    /// Gives the history to the judge. A failed one is kept in the target folder, under this name.
    pub(crate) fn judged(self, name: &str) -> Report {
        self.judged_and_kept(name).0
    }

    /// The same, and the history to try the judge with.
    pub(crate) fn judged_and_kept(self, name: &str) -> (Report, History) {
        let history = self
            .history
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let verdict = judge(&history);
        if !verdict.as_ref().is_ok_and(Report::passed) {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"));
            history
                .write(BufWriter::new(File::create(&path).unwrap()))
                .unwrap();
            super::say(&format!("the history is in {}", path.display()));
        }
        match verdict {
            Ok(report) => (report, history),
            Err(invalid) => panic!("{name}: the run proves nothing: {invalid}"),
        }
    }
}
