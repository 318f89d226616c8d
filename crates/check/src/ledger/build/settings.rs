//! What queues were made like, what was changed and purged, and when queues began and ended.

use std::collections::BTreeMap;

use crate::{
    event::{Changes, Event, Nanos, Operation, Outcome, QueueFacts, Settings, refusal},
    evidence::MILLISECOND,
    history::History,
    leaps::Leaps,
    ledger::{Attributes, Named, NamedAct, Span, Told},
    report::Invalid,
    setting::Setting,
};

/// What concerns whole queues.
#[derive(Debug, Default)]
pub(super) struct Lives<'h> {
    /// In the order of the facts.
    pub(super) attributes: Vec<Attributes>,
    pub(super) leaps: Vec<Leaps>,
    pub(super) leaps_of_names: Leaps,
    pub(super) purges: Vec<Vec<Span>>,
    pub(super) created: Vec<Option<Span>>,
    pub(super) ended: Vec<Option<Span>>,
    /// When it lost its dead-letter queue.
    pub(super) unbound: Vec<Option<Span>>,
    pub(super) told: Vec<Told>,
    /// By name, in any order.
    pub(super) named: BTreeMap<&'h str, Vec<Named>>,
}

impl<'h> Lives<'h> {
    pub(super) fn new(
        history: &'h History,
        names: &BTreeMap<&'h str, usize>,
    ) -> Result<Self, Invalid> {
        let count = history.queues.len();
        let mut lives = Self {
            attributes: history.queues.iter().map(attributes).collect(),
            leaps: vec![Leaps::default(); count],
            purges: vec![Vec::new(); count],
            created: vec![None; count],
            ended: vec![None; count],
            unbound: vec![None; count],
            ..Self::default()
        };
        for event in &history.events {
            let place = || {
                let place = names.get(event.queue.as_str()).copied();
                place.ok_or_else(|| Invalid::UnknownQueue(event.queue.clone()))
            };
            match &event.operation {
                Operation::Change { changes, outcome } => {
                    if let Some(span) = span(event, outcome) {
                        let place = place()?;
                        lives.attributes[place].change(changes, span);
                        if changes.no_dead_letter {
                            note_end(&mut lives.unbound[place], span);
                        }
                    }
                }
                Operation::Leap { by_ms } => {
                    let leaps = if event.queue.is_empty() {
                        &mut lives.leaps_of_names
                    } else {
                        &mut lives.leaps[place()?]
                    };
                    let by = by_ms.saturating_mul(MILLISECOND);
                    leaps.add(event.invoked, event.returned, by);
                }
                Operation::Purge { outcome } => {
                    lives.purges[place()?].extend(span(event, outcome));
                }
                Operation::Create {
                    called,
                    reuse_after_ms,
                    outcome,
                } => lives.create(called, *reuse_after_ms, event, outcome, place)?,
                Operation::End { outcome } => {
                    let place = place()?;
                    lives.end(&history.queues[place], place, event, outcome);
                }
                Operation::Describe { called, outcome } => {
                    lives.describe(called, event, outcome, place)?;
                }
                _ => {}
            }
        }
        lives.read();
        Ok(lives)
    }

    fn create(
        &mut self,
        called: &'h str,
        reuse_after_ms: u64,
        event: &Event,
        outcome: &Outcome<()>,
        place: impl Fn() -> Result<usize, Invalid>,
    ) -> Result<(), Invalid> {
        if let Outcome::Ok(()) = outcome {
            self.created[place()?] = span(event, outcome);
        }
        let reuse_after = reuse_after_ms.saturating_mul(MILLISECOND);
        let act = match outcome {
            Outcome::Refused(refusal::QUEUE_EXISTS) => NamedAct::Exists,
            Outcome::Refused(refusal::NAME_IN_RELEASE) => NamedAct::InRelease { reuse_after },
            Outcome::Refused(_) => return Ok(()),
            Outcome::Ok(()) | Outcome::Unknown => NamedAct::Create { reuse_after },
        };
        self.named(called, event, outcome, act);
        Ok(())
    }

    fn end(&mut self, facts: &'h QueueFacts, place: usize, event: &Event, outcome: &Outcome<()>) {
        let Some(called) = &facts.called else { return };
        if let Outcome::Refused(refusal::NO_SUCH_QUEUE) = outcome {
            return self.named(called, event, outcome, NamedAct::Missing);
        }
        let Some(span) = span(event, outcome) else {
            return;
        };
        self.named(called, event, outcome, NamedAct::End);
        note_end(&mut self.ended[place], span);
    }

    fn describe(
        &mut self,
        called: &'h str,
        event: &Event,
        outcome: &Outcome<Settings>,
        place: impl Fn() -> Result<usize, Invalid>,
    ) -> Result<(), Invalid> {
        match outcome {
            Outcome::Ok(settings) => self.told.push(Told {
                queue: place()?,
                invoked: event.invoked,
                returned: event.returned,
                settings: *settings,
            }),
            Outcome::Refused(refusal::NO_SUCH_QUEUE) => {
                self.named(called, event, outcome, NamedAct::Missing);
            }
            Outcome::Refused(_) | Outcome::Unknown => {}
        }
        Ok(())
    }

    fn named<T>(&mut self, called: &'h str, event: &Event, outcome: &Outcome<T>, act: NamedAct) {
        let is_unknown = matches!(outcome, Outcome::Unknown);
        let named = Named {
            invoked: event.invoked,
            returned: (!is_unknown).then_some(event.returned),
            act,
        };
        self.named.entry(called).or_default().push(named);
    }

    /// What was read says what was in force, once all changes are known.
    fn read(&mut self) {
        for told in &self.told {
            let attributes = &mut self.attributes[told.queue];
            let (from, to) = (told.invoked, told.returned);
            let Settings {
                visibility_ms,
                retention_ms,
                delay_ms,
                rewind_ms,
                backlog,
            } = told.settings;
            let nanos = |length: u64| length.saturating_mul(MILLISECOND);
            attributes.visibility.read(nanos(visibility_ms), from, to);
            attributes.retention.read(nanos(retention_ms), from, to);
            attributes.delay.read(nanos(delay_ms), from, to);
            attributes.rewind.read(nanos(rewind_ms), from, to);
            attributes.backlog.read(backlog, from, to);
        }
    }
}

/// Of several attempts to end something each may be the one that did.
pub(super) fn note_end(ended: &mut Option<Span>, span: Span) {
    let ended = ended.get_or_insert(span);
    ended.invoked = ended.invoked.min(span.invoked);
    ended.returned = [ended.returned, span.returned].into_iter().flatten().min();
}

/// When it happened, or may have; `None` if it was refused.
pub(super) fn span(event: &Event, outcome: &Outcome<()>) -> Option<Span> {
    let returned = match outcome {
        Outcome::Ok(()) => Some(event.returned),
        Outcome::Unknown => None,
        Outcome::Refused(_) => return None,
    };
    Some(Span {
        invoked: event.invoked,
        returned,
    })
}

fn attributes(facts: &QueueFacts) -> Attributes {
    let length = |length: u64| Setting::new(length.saturating_mul(MILLISECOND));
    Attributes {
        visibility: length(facts.visibility_ms),
        retention: length(facts.retention_ms),
        delay: length(facts.delay_ms),
        rewind: length(facts.rewind_ms.unwrap_or(facts.retention_ms)),
        backlog: Setting::new(facts.limits.backlog.unwrap_or(u64::MAX)),
        limits: facts.limits,
    }
}

impl Attributes {
    fn change(&mut self, changes: &Changes, Span { invoked, returned }: Span) {
        let length = |setting: &mut Setting<Nanos>, length: Option<u64>| {
            if let Some(length) = length {
                setting.change(length.saturating_mul(MILLISECOND), invoked, returned);
            }
        };
        length(&mut self.visibility, changes.visibility_ms);
        length(&mut self.retention, changes.retention_ms);
        length(&mut self.delay, changes.delay_ms);
        length(&mut self.rewind, changes.rewind_ms);
        if let Some(backlog) = changes.backlog {
            self.backlog.change(backlog, invoked, returned);
        }
    }
}
