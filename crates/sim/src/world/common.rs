//! What every part of a simulation uses.

use std::collections::BTreeMap;

use super::aims::Aims;
use crate::{
    checks::Checks,
    event::{Agenda, Event, Happening, LostReceive, Micros, SECOND},
    network::Network,
    plan::{Fault, Plan},
    random::Random,
    trace::Trace,
};

/// After the chaos: how long until who is lost was noticed, and copies of it are on their way.
const PEACE_AFTER: Micros = 16 * SECOND;

/// Requests from this number on are made by nodes, or by whoever runs them.
pub(super) const OWN_REQUESTS: u64 = 1 << 40;

pub(crate) struct Common {
    pub(crate) now: Micros,
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) agenda: Agenda,
    pub(crate) network: Network,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    pub(crate) statistics: Statistics,
    /// The life of each node whose process runs.
    pub(crate) lives: BTreeMap<u64, u64>,
    /// Who was heard to lead last, by shard.
    pub(crate) led: BTreeMap<u16, u64>,
    /// Attempts of receives that were repeated, since nobody knew what became of them.
    pub(crate) lost_receives: Vec<LostReceive>,
    /// The voters that may come.
    pub(crate) aims: Aims,
    own_requests: u64,
    /// Answers to clients that are lost, in a thousand.
    pub(crate) lost_answers: u64,
    /// When the chaos ended.
    pub(crate) healed: Option<Micros>,
}

/// What a simulation consisted of.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    pub events: u64,
    pub messages: u64,
    pub syncs: u64,
    /// State hashes that were compared.
    pub states: u64,
    pub elections: u64,
    pub kills: u64,
    /// Processes that ended in order.
    pub exits: u64,
    pub power_losses: u64,
    pub membership_changes: u64,
    pub requests: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    /// Replicas that found out that their state is not that of the others: only with a planted bug.
    pub differing: u64,
    /// Each strike, by its kind; kinds that last are counted once.
    pub faults: BTreeMap<Fault, u64>,
    /// How much of its bound something took at most, in hundredths.
    pub bounds: BTreeMap<&'static str, u64>,
}

impl Statistics {
    pub fn add(&mut self, other: &Self) {
        let Self {
            events,
            messages,
            syncs,
            states,
            elections,
            kills,
            exits,
            power_losses,
            membership_changes,
            requests,
            acknowledged,
            unknown,
            differing,
            faults,
            bounds,
        } = other;
        self.events += events;
        self.messages += messages;
        self.syncs += syncs;
        self.states += states;
        self.elections += elections;
        self.kills += kills;
        self.exits += exits;
        self.power_losses += power_losses;
        self.membership_changes += membership_changes;
        self.requests += requests;
        self.acknowledged += acknowledged;
        self.unknown += unknown;
        self.differing += differing;
        for (&fault, times) in faults {
            *self.faults.entry(fault).or_default() += times;
        }
        for (&bound, &taken) in bounds {
            self.note(bound, taken);
        }
    }

    /// Something took so many hundredths of what it may.
    pub(crate) fn note(&mut self, bound: &'static str, taken: u64) {
        let most = self.bounds.entry(bound).or_default();
        *most = taken.max(*most);
    }
}

impl Common {
    pub(crate) fn new(plan: Plan, prints: bool) -> Self {
        let mut statistics = Statistics::default();
        for &fault in &plan.faults {
            if !fault.strikes() {
                statistics.faults.insert(fault, 1);
            }
        }
        Self {
            now: 0,
            random: Random::new(plan.seed),
            agenda: Agenda::default(),
            network: Network::default(),
            checks: Checks::default(),
            trace: Trace::new(prints),
            statistics,
            lives: BTreeMap::new(),
            led: BTreeMap::new(),
            lost_receives: Vec::new(),
            aims: Aims::default(),
            own_requests: OWN_REQUESTS,
            lost_answers: 0,
            healed: None,
            plan,
        }
    }

    /// Whether the chaos ended long ago.
    pub(crate) fn is_peace(&self) -> bool {
        self.healed
            .is_some_and(|healed| self.now > healed + PEACE_AFTER)
    }

    /// The number of a request that no client makes.
    pub(crate) fn next_request(&mut self) -> u64 {
        self.own_requests += 1;
        self.own_requests
    }

    /// Something of one life of a node happens after this time.
    pub(crate) fn later(&mut self, node: u64, life: u64, length: Micros, what: Happening) {
        let event = Event::Node { node, life, what };
        self.agenda.add(self.now + length, event);
    }
}
