//! The pace alone, and then a subscription in small: an outbox that gives its oldest messages first,
//! pushes that take a moment, and a clock that jumps to whatever happens next.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const MOST: usize = 16;
const HOUR: u64 = 3_600_000;
/// How long a push takes, in milliseconds.
const PUSH_TIME: u64 = 20;

/// Begins a hold and lets it end.
fn after_hold(pace: &mut Pace, role: Role) -> u64 {
    let hold = pace.failed(role).unwrap();
    assert_eq!(pace.room(0), 0);
    assert!(pace.hold_ended(hold.number));
    hold.length.seconds()
}

#[test]
fn holds_double_while_all_probes_fail() {
    let mut pace = Pace::new(MOST);
    let mut lengths = Vec::new();
    let mut last = pace.took(1);
    for _ in 0..12 {
        let length = after_hold(&mut pace, last);
        lengths.push(length);
        let probes = MOST.min(usize::try_from(2 * length).unwrap());
        assert_eq!(pace.room(0), probes);
        let roles: Vec<Role> = (0..probes).map(|_| pace.took(1)).collect();
        assert_eq!(pace.room(0), 0);
        last = roles[0];
        for role in &roles[1..] {
            assert_eq!(pace.failed(*role), None);
        }
    }
    assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 512, 512]);
}

#[test]
fn failures_during_a_hold_do_not_count() {
    let mut pace = Pace::new(MOST);
    let roles = [pace.took(1), pace.took(1), pace.took(1)];
    assert_eq!(pace.failed(roles[0]).unwrap().length.seconds(), 1);
    assert_eq!(pace.failed(roles[1]), None);
    assert!(pace.hold_ended(1));
    assert_eq!(pace.failed(roles[2]), None);
    let probes = [pace.took(1), pace.took(1)];
    assert_eq!(pace.failed(probes[0]), None);
    assert_eq!(pace.failed(probes[1]).unwrap().length.seconds(), 2);
}

#[test]
fn a_message_that_failed_before_neither_begins_a_hold_nor_is_a_probe() {
    let mut pace = Pace::new(MOST);
    let retry = pace.took(2);
    assert_eq!(pace.failed(retry), None);
    let first = pace.took(1);
    assert_eq!(after_hold(&mut pace, first), 1);
    let retry = pace.took(7);
    assert_eq!(pace.room(1), 2, "both probes are still to come");
    assert_eq!(pace.failed(retry), None);
    assert!(matches!(pace.took(1), Role::Probe(_)));
}

#[test]
fn probes_without_an_answer_for_a_second_hold_up_nobody() {
    let mut pace = Pace::new(MOST);
    let first = pace.took(1);
    after_hold(&mut pace, first);
    let slow = [pace.took(1), pace.took(1)];
    assert_eq!(pace.room(2), 0);
    assert!(pace.second_passed(1));
    assert_eq!(pace.room(2), MOST - 2);
    let others = [pace.took(1), pace.took(1)];
    // As many failures as before begin the next hold, whichever they are.
    assert_eq!(pace.failed(others[0]), None);
    assert_eq!(pace.failed(slow[0]).unwrap().length.seconds(), 2);
    assert_eq!(pace.failed(slow[1]), None);
    assert!(!pace.second_passed(1));
    assert_eq!(pace.room(1), 0);
}

#[test]
fn any_success_brings_back_full_speed() {
    let mut pace = Pace::new(MOST);
    let first = pace.took(1);
    pace.failed(first);
    pace.reset();
    assert_eq!(pace.room(4), 12);
    assert!(!pace.hold_ended(1));
    let first = pace.took(1);
    let hold = pace.failed(first).unwrap();
    assert_eq!(hold.length.seconds(), 1);
    assert!(!pace.hold_ended(1), "the hold of before is over");
    assert!(pace.hold_ended(2));
}

#[test]
fn a_probe_of_before_does_not_count_among_those_of_now() {
    let mut pace = Pace::new(MOST);
    let first = pace.took(1);
    after_hold(&mut pace, first);
    let [_good, late] = [pace.took(1), pace.took(1)];
    pace.reset();
    let first = pace.took(1);
    after_hold(&mut pace, first);
    let probes = [pace.took(1), pace.took(1)];
    assert_eq!(pace.failed(late), None);
    assert_eq!(pace.failed(probes[0]), None);
    assert_eq!(pace.failed(probes[1]).unwrap().length.seconds(), 2);
}

/// Messages of one subscription, numbered in the order of publishing.
struct World {
    now: u64,
    pace: Pace,
    ready: BTreeSet<usize>,
    /// Messages that failed, by when they are tried again.
    waiting: BTreeSet<(u64, usize)>,
    /// By when they end.
    pushes: BTreeMap<(u64, usize), Role>,
    hold: Option<(u64, Hold)>,
    /// When the first probe after the hold of this number is a second old.
    probe_time: Option<(u64, u64)>,
    messages: Vec<Message>,
    /// First attempts that failed, by when.
    refused: Vec<u64>,
    hold_lengths: Vec<u64>,
    /// When messages waited although nothing but the number of pushes under way held them back.
    full: Vec<(u64, u64)>,
}

struct Message {
    published: u64,
    /// When it was tried first.
    begun: Option<u64>,
    attempts: u32,
    delivered: Option<u64>,
}

impl World {
    /// Publishes a message at each of these moments. `accepts` is the receiver: it is told the moment
    /// and the message.
    fn run(publishes: &[u64], end: u64, accepts: impl Fn(u64, usize) -> bool) -> Self {
        Self::run_slowly(publishes, end, |_| PUSH_TIME, accepts)
    }

    /// As [`World::run`]; a push of each message takes so long.
    fn run_slowly(
        publishes: &[u64],
        end: u64,
        takes: impl Fn(usize) -> u64,
        accepts: impl Fn(u64, usize) -> bool,
    ) -> Self {
        let mut world = Self {
            now: 0,
            pace: Pace::new(MOST),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            pushes: BTreeMap::new(),
            hold: None,
            probe_time: None,
            messages: Vec::new(),
            refused: Vec::new(),
            hold_lengths: Vec::new(),
            full: Vec::new(),
        };
        let mut publishes = publishes.iter().copied().peekable();
        while let Some(next) = world.next_moment(publishes.peek().copied()) {
            if next > end {
                break;
            }
            if world.pushes.len() == MOST && !world.ready.is_empty() {
                world.full.push((world.now, next));
            }
            world.now = next;
            while let Some(published) = publishes.next_if_eq(&next) {
                world.publish(published);
            }
            world.pass(&takes, &accepts);
        }
        world
    }

    fn next_moment(&self, publish: Option<u64>) -> Option<u64> {
        let push = self.pushes.first_key_value().map(|((end, _), _)| *end);
        let hold = self.hold.map(|(end, _)| end);
        // What is due during a hold waits for its end.
        let retry = self.waiting.first().map(|(due, _)| *due);
        let probe_time = self.probe_time.map(|(end, _)| end);
        let moments = [publish, push, hold, retry, probe_time];
        moments.into_iter().flatten().min()
    }

    fn publish(&mut self, published: u64) {
        self.ready.insert(self.messages.len());
        self.messages.push(Message {
            published,
            begun: None,
            attempts: 0,
            delivered: None,
        });
    }

    fn pass(&mut self, takes: &impl Fn(usize) -> u64, accepts: &impl Fn(u64, usize) -> bool) {
        while let Some(entry) = self.pushes.first_entry()
            && entry.key().0 <= self.now
        {
            let ((_, message), role) = entry.remove_entry();
            self.ended(message, role, accepts(self.now, message));
        }
        while let Some((due, message)) = self.waiting.first().copied()
            && due <= self.now
        {
            self.waiting.remove(&(due, message));
            self.ready.insert(message);
        }
        if let Some((end, hold)) = self.hold
            && end <= self.now
        {
            self.hold = None;
            assert!(self.pace.hold_ended(hold.number));
        }
        if let Some((end, number)) = self.probe_time
            && end <= self.now
        {
            self.probe_time = None;
            self.pace.second_passed(number);
        }
        self.take_all(takes);
        if self.pushes.is_empty() && self.hold.is_none() && self.ready.is_empty() {
            // The loop of the subscription ends, and with it what it knew.
            self.pace = Pace::new(MOST);
            self.probe_time = None;
        }
    }

    fn take_all(&mut self, takes: &impl Fn(usize) -> u64) {
        for _ in 0..self.pace.room(self.pushes.len()) {
            let Some(message) = self.ready.pop_first() else {
                break;
            };
            let tried = &mut self.messages[message];
            tried.attempts += 1;
            tried.begun.get_or_insert(self.now);
            let role = self.pace.took(tried.attempts);
            if let Role::Probe(number) = role {
                self.probe_time.get_or_insert((self.now + 1_000, number));
            }
            self.pushes
                .insert((self.now + takes(message), message), role);
        }
    }

    fn ended(&mut self, message: usize, role: Role, accepted: bool) {
        if accepted {
            self.messages[message].delivered = Some(self.now);
            self.pace.reset();
            (self.hold, self.probe_time) = (None, None);
            return;
        }
        let attempts = self.messages[message].attempts;
        if attempts == 1 {
            self.refused.push(self.now);
        }
        if let AfterFailure::RetryIn(wait) = RetryStrategy::ExponentialDecay.after(attempts, 0) {
            self.waiting.insert((self.now + wait.0, message));
        }
        if let Some(hold) = self.pace.failed(role) {
            self.hold_lengths.push(hold.length.seconds());
            self.hold = Some((self.now + hold.length.0, hold));
            self.probe_time = None;
        }
    }

    /// How long a message was held back, by whatever but places that were all taken.
    fn held_back(&self, message: &Message) -> u64 {
        let begun = message.begun.unwrap_or(self.now);
        let full = self.full.iter().map(|(from, until)| {
            let until = (*until).min(begun);
            until.saturating_sub((*from).max(message.published))
        });
        begun - message.published - full.sum::<u64>()
    }

    /// The longest time that one of these messages waited.
    fn longest(&self, good: impl Fn(usize) -> bool) -> u64 {
        let good = (0..self.messages.len()).filter(|message| good(*message));
        good.map(|message| {
            let message = &self.messages[message];
            message.delivered.unwrap_or(self.now) - message.published
        })
        .max()
        .unwrap()
    }
}

/// A message every so many milliseconds.
fn every(interval: u64, end: u64) -> Vec<u64> {
    (0..end / interval)
        .map(|number| number * interval)
        .collect()
}

/// Users' cases, F1: the message that failed was the one that was tried again first, and each time all others waited.
#[test]
fn one_bad_message_costs_the_others_a_second_once() {
    let world = World::run(&every(500, HOUR), HOUR + 60_000, |_, message| message != 20);
    assert!(world.longest(|message| message != 20) <= 1_100);
    assert_eq!(world.hold_lengths, [1]);
    assert!(
        world.messages[20].attempts >= 10,
        "it is tried by its waits"
    );
}

#[test]
fn many_bad_messages_among_good_ones_cost_a_second_each_for_hours() {
    let good = |message: usize| message % 20 != 19;
    let world = World::run(&every(500, 6 * HOUR), 6 * HOUR + 60_000, |_, message| {
        good(message)
    });
    assert!(world.longest(good) <= 1_100);
    assert_eq!(world.hold_lengths, vec![1; 2_160]);
}

#[test]
fn bad_messages_in_a_row_cost_a_second_each() {
    for bad in 1..=31 {
        let mut publishes = every(5, 5 * bad);
        publishes.push(5 * bad);
        let world = World::run(&publishes, HOUR, |_, message| message as u64 == bad);
        let waited = world.longest(|message| message as u64 == bad);
        assert!(waited <= 1_100 * bad, "{bad} bad ones cost {waited} ms");
    }
}

#[test]
fn when_two_of_three_messages_are_bad_the_third_comes_through() {
    let good = |message: usize| ((message * 0x9E37_79B9) >> 12).is_multiple_of(3);
    let world = World::run(&every(500, 2 * HOUR), 2 * HOUR + 60_000, |_, message| {
        good(message)
    });
    assert!((0..100).any(good));
    let waited = world.longest(good);
    assert!(waited <= 35_000, "{waited}");
}

#[test]
fn one_bad_message_among_slow_answers_costs_the_others_two_seconds() {
    for time in [500, 900, 5_000, 14_000] {
        let publishes = every(1_000, 300_000);
        let takes = |message| if message == 20 { PUSH_TIME } else { time };
        let world = World::run_slowly(&publishes, 400_000, takes, |_, message| message != 20);
        let good = world.messages.iter().filter(|it| it.delivered.is_some());
        let waited = good.map(|message| world.held_back(message)).max();
        assert!(
            waited <= Some(1_100 + time.min(1_000)),
            "{time}: {waited:?}"
        );
        assert_eq!(world.messages[19].delivered, Some(19_000 + time));
        assert_eq!(world.hold_lengths, [1]);
    }
}

/// Numbers that look random, the same in each run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        let product = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = product.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn in_any_mix_of_bad_messages_and_slow_answers_each_failure_costs_a_second() {
    const SLOWEST: u64 = 14_000;
    for seed in 0..300 {
        let mut draws = Draws(seed);
        let (interval, bad) = (100 + draws.below(3_000), draws.below(80));
        let slowest = 20 + draws.below(SLOWEST.min(10 * interval));
        let publishes = every(interval, 400 * interval);
        let kinds: Vec<(bool, u64)> = publishes
            .iter()
            .map(|_| {
                if draws.below(100) < bad {
                    (false, 20 + draws.below(200))
                } else {
                    (true, 20 + draws.below(slowest))
                }
            })
            .collect();
        let end = 400 * interval + HOUR;
        let takes = |message: usize| kinds[message].1;
        let world = World::run_slowly(&publishes, end, takes, |_, message| kinds[message].0);
        for (message, (is_good, time)) in world.messages.iter().zip(&kinds) {
            assert_eq!(message.delivered.is_some(), *is_good, "{seed}");
            let begun = message.begun.unwrap();
            // What holds it back began to count after the last answer that was good.
            let since = message.published.saturating_sub(2 * SLOWEST);
            let failures = world
                .refused
                .iter()
                .filter(|at| (since..=begun).contains(at));
            let most = 1_100 * (2 + failures.count() as u64);
            let held_back = world.held_back(message);
            assert!(held_back <= most, "{seed}: {held_back} of {most}, {time}");
        }
    }
}

#[test]
fn a_dead_endpoint_is_held_longer_and_longer() {
    let world = World::run(&every(500, 2 * HOUR), 2 * HOUR, |_, _| false);
    assert_eq!(
        world.hold_lengths[..10],
        [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    );
    assert!(world.hold_lengths[10..].iter().all(|length| *length == 512));
    let late = world.refused.iter().filter(|at| **at > HOUR).count();
    assert!(
        late <= 8 * MOST,
        "{late} messages were tried in the second hour"
    );
}

#[test]
fn an_endpoint_that_never_answers_is_asked_seldom() {
    let publishes = every(500, 2 * HOUR);
    let world = World::run_slowly(&publishes, 2 * HOUR, |_| 15_000, |_, _| false);
    assert_eq!(
        world.hold_lengths[..10],
        [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    );
    let late = world.refused.iter().filter(|at| **at > HOUR).count();
    assert!(late <= 8 * MOST, "{late} messages in the second hour");
}

#[test]
fn an_endpoint_that_is_well_again_gets_all_after_one_hold() {
    let world = World::run(&every(500, HOUR), HOUR + 600_000, |now, _| now > HOUR / 2);
    assert!(
        world
            .messages
            .iter()
            .all(|message| message.delivered.is_some())
    );
    let mended = world.longest(|message| world.messages[message].published >= HOUR / 2);
    assert!(mended <= 512_000 + 60_000, "{mended}");
    let settled = |message: usize| world.messages[message].published >= HOUR / 2 + 600_000;
    assert!(world.longest(settled) <= 100);
}
