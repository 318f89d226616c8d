//! Any step there can be: what is done to topics, after how long.

use anser_broker::{limits, retry::RetryStrategy};
use proptest::prelude::*;

use super::SLOTS;

/// Topics are told apart by `which`: the first filters by tags, the second by routing keys. Slots are
/// places for subscriptions, the even ones of the first topic.
#[derive(Debug, Clone)]
pub(super) enum Action {
    PutTopic {
        which: usize,
        retention: u64,
        is_stale: bool,
    },
    DropTopic(usize),
    PutSubscription {
        slot: usize,
        wish: Wish,
        is_stale: bool,
    },
    DropSubscription(usize),
    /// Each body with the numbers of its labels.
    Publish {
        which: usize,
        bodies: Vec<(usize, usize)>,
    },
    Receive {
        slot: usize,
        max: u32,
        visibility: u64,
    },
    /// Receipts by how many receipts ago they were given.
    Answer {
        slot: usize,
        receipts: Vec<usize>,
        answer: PusherAnswer,
    },
    Carry {
        slot: usize,
        max: usize,
        wait: u64,
        fate: Fate,
    },
    /// Takes messages out of the queue that a slot delivers to.
    Drain {
        slot: usize,
        max: u32,
    },
    SetLimits {
        slot: usize,
        limits: (u32, u64),
    },
    /// Ends the queue that a slot delivers to; the subscription hears of it later.
    DropTarget(usize),
    /// Ends a dead-letter queue that no subscription uses any more, and makes another.
    ReplaceDeadLetterQueue(usize),
    Settle,
}

#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) endpoint: WishedEndpoint,
    pub(super) strategy: RetryStrategy,
    pub(super) filter: usize,
    pub(super) dead_letter: Option<usize>,
    /// Body bytes and messages of a queue that is made for it.
    pub(super) limits: (u32, u64),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum WishedEndpoint {
    Http,
    /// The queue as it is, if the slot has one.
    SameQueue,
    NewQueue,
    MissingQueue,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum PusherAnswer {
    Delivered,
    RetryIn(u64),
    GivenUp,
    NeverTaken,
}

/// What becomes of the courier's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Heard,
    /// The messages arrive and nobody hears of it.
    AnswerLost,
    /// The messages are sent once more after they arrived.
    Repeated,
    /// The answer comes when other things have happened, before the next carrying of this outbox.
    HeardLater,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Milliseconds since the last one.
    pub(super) later: u64,
    pub(super) action: Action,
    pub(super) restore: bool,
}

fn some_limits() -> impl Strategy<Value = (u32, u64)> {
    (
        prop_oneof![2 => Just(9u32), 1 => 1u32..8],
        prop_oneof![2 => Just(100u64), 1 => 1u64..4],
    )
}

pub(super) fn a_wish() -> impl Strategy<Value = Wish> {
    let endpoint = prop_oneof![
        5 => Just(WishedEndpoint::Http),
        3 => Just(WishedEndpoint::SameQueue),
        3 => Just(WishedEndpoint::NewQueue),
        2 => Just(WishedEndpoint::MissingQueue),
    ];
    let strategy = prop_oneof![
        Just(RetryStrategy::BackOff),
        Just(RetryStrategy::ExponentialDecay)
    ];
    let dead_letter = prop::option::of(0usize..2);
    (endpoint, strategy, 0usize..32, dead_letter, some_limits()).prop_map(
        |(endpoint, strategy, filter, dead_letter, limits)| Wish {
            endpoint,
            strategy,
            filter,
            dead_letter,
            limits,
        },
    )
}

fn some_millis() -> impl Strategy<Value = u64> {
    // Mostly whole seconds, so that things fall due at the same moment.
    prop_oneof![1 => 1u64..50, 6 => (1u64..6).prop_map(|seconds| seconds * 1000)]
}

fn an_action() -> impl Strategy<Value = Action> {
    let slot = || 0..SLOTS;
    let rarely = || prop::bool::weighted(0.1);
    let receipts = || prop::collection::vec(0usize..6, 1..4);
    let answer = prop_oneof![
        3 => Just(PusherAnswer::Delivered),
        2 => prop_oneof![Just(0), some_millis()].prop_map(PusherAnswer::RetryIn),
        2 => Just(PusherAnswer::GivenUp),
        1 => Just(PusherAnswer::NeverTaken),
    ];
    let fate = prop_oneof![3 => Just(Fate::Heard), 1 => Just(Fate::AnswerLost), 1 => Just(Fate::Repeated), 1 => Just(Fate::HeardLater)];
    prop_oneof![
        1 => (0usize..2, some_millis(), rarely())
            .prop_map(|(which, retention, is_stale)| Action::PutTopic { which, retention, is_stale }),
        5 => (slot(), a_wish(), rarely())
            .prop_map(|(slot, wish, is_stale)| Action::PutSubscription { slot, wish, is_stale }),
        1 => prop_oneof![
            1 => (0usize..2).prop_map(Action::DropTopic),
            3 => slot().prop_map(Action::DropSubscription),
            2 => (0usize..2).prop_map(Action::ReplaceDeadLetterQueue),
        ],
        1 => slot().prop_map(Action::DropTarget),
        10 => (0usize..2, prop::collection::vec((0usize..8, prop_oneof![30 => 1usize..9, 1 => 0usize..12]), 1..5))
            .prop_map(|(which, bodies)| Action::Publish { which, bodies }),
        7 => (slot(), prop_oneof![20 => 1u32..5, 1 => 0u32..2, 1 => 64u32..66], prop_oneof![Just(0), some_millis()])
            .prop_map(|(slot, max, visibility)| Action::Receive { slot, max, visibility }),
        8 => (slot(), receipts(), answer)
            .prop_map(|(slot, receipts, answer)| Action::Answer { slot, receipts, answer }),
        9 => (slot(), 1usize..5, some_millis(), fate)
            .prop_map(|(slot, max, wait, fate)| Action::Carry { slot, max, wait, fate }),
        2 => (slot(), 1u32..4).prop_map(|(slot, max)| Action::Drain { slot, max }),
        1 => (slot(), some_limits()).prop_map(|(slot, limits)| Action::SetLimits { slot, limits }),
        1 => Just(Action::Settle),
    ]
}

pub(super) fn a_step() -> impl Strategy<Value = Step> {
    let later =
        prop_oneof![40 => Just(0u64), 30 => some_millis(), 1 => Just(limits::VISIBILITY_MAX.0)];
    (later, an_action(), prop::bool::weighted(0.08)).prop_map(|(later, action, restore)| Step {
        later,
        action,
        restore,
    })
}
