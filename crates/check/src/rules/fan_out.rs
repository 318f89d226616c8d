//! Q13, and Q2 and Q9 of topics: what was published comes to every subscription that wants it and to no
//! other, whole, under one id, with its tags, and in order where that is promised.
//!
//! Queues that subscribe are judged by the rules of queues; here are those whose receivers are web servers,
//! and what publishers are told.

use std::collections::HashMap;

use crate::{
    event::{Nanos, refusal},
    ledger::{Ledger, Published, Pushed, SendOutcome, Subscription},
    report::{Report, Rule},
    subscription::{Retry, Target},
};

/// How often a subscription with back-off tries.
const ATTEMPTS: usize = 4;

pub(super) fn judge(ledger: &Ledger<'_>, report: &mut Report) {
    for published in &ledger.publishes {
        answer(ledger, published, report);
    }
    message_ids(ledger, report);
    for subscription in &ledger.subscriptions {
        for (&place, pushes) in &subscription.pushes {
            let published = &ledger.publishes[place];
            for complaint in complaints(subscription, published, pushes) {
                add(report, complaint, subscription, published);
            }
        }
        if subscription.facts.target == Target::Http {
            arrivals(ledger, subscription, report);
            if subscription.facts.retry == Retry::BackOff {
                order(ledger, subscription, report);
            }
        }
    }
}

/// A publisher is told that nobody wants a message if and only if that is so.
fn answer(ledger: &Ledger<'_>, published: &Published<'_>, report: &mut Report) {
    let subscriptions = || ledger.subscriptions.iter();
    let is_wanted = subscriptions().any(|subscription| subscription.surely_wants(published));
    let may_be_wanted = subscriptions().any(|subscription| subscription.may_want(published));
    let what = match published.outcome {
        SendOutcome::Refused if is_wanted && published.refusal == Some(refusal::UNWANTED) => {
            "was refused as unwanted, but is wanted"
        }
        SendOutcome::Acknowledged(_) | SendOutcome::Unnamed if !may_be_wanted => {
            "was acknowledged, but nobody wants it"
        }
        _ => return,
    };
    let detail = format!("body {:016x} {what}", published.body);
    report.add(Rule::FanOut, published.topic, detail);
}

/// One message has one id, and no other message has it.
fn message_ids(ledger: &Ledger<'_>, report: &mut Report) {
    let mut ids: HashMap<usize, &str> = HashMap::new();
    let mut owners: HashMap<(&str, &str), usize> = HashMap::new();
    let acknowledged = ledger
        .publishes
        .iter()
        .enumerate()
        .filter_map(|(place, one)| {
            let SendOutcome::Acknowledged(id) = one.outcome else {
                return None;
            };
            Some((place, id))
        });
    let pushed = ledger.subscriptions.iter().flat_map(|subscription| {
        let all = subscription.pushes.iter();
        all.flat_map(|(&place, pushes)| pushes.iter().map(move |one| (place, one.message)))
    });
    for (place, id) in acknowledged.chain(pushed) {
        let published = &ledger.publishes[place];
        let first = *ids.entry(place).or_insert(id);
        if first != id {
            let detail = format!("body {:016x} has the ids {first}, {id}", published.body);
            report.add(Rule::Duplicate, published.topic, detail);
        } else if *owners.entry((published.topic, id)).or_insert(place) != place {
            let detail = format!("message id {id} stands for two bodies");
            report.add(Rule::Phantom, published.topic, detail);
        }
    }
}

type Complaint = (Rule, &'static str);

/// What is wrong with pushes that came, each complaint once.
fn complaints(
    subscription: &Subscription<'_>,
    published: &Published<'_>,
    pushes: &[Pushed<'_>],
) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !subscription.may_want(published) || subscription.facts.target != Target::Http {
        complaints.push((
            Rule::FanOut,
            "was pushed to a subscription that does not want it",
        ));
    }
    if published.outcome == SendOutcome::Refused {
        complaints.push((Rule::Phantom, "was pushed, but was refused"));
    }
    if pushes
        .iter()
        .any(|pushed| pushed.returned < published.invoked)
    {
        complaints.push((Rule::Phantom, "was pushed before it was published"));
    }
    if pushes
        .iter()
        .any(|pushed| pushed.tags != published.labels.tags)
    {
        complaints.push((Rule::FanOut, "was pushed with other tags"));
    }
    complaints
}

fn add(
    report: &mut Report,
    (rule, what): Complaint,
    subscription: &Subscription<'_>,
    published: &Published<'_>,
) {
    let detail = format!("body {:016x} {what}", published.body);
    report.add(rule, &subscription.name(), detail);
}

/// Everything that is wanted was received, or tried as often as the strategy says.
fn arrivals(ledger: &Ledger<'_>, subscription: &Subscription<'_>, report: &mut Report) {
    let publishes = ledger.publishes.iter().enumerate();
    for (place, published) in publishes {
        if !published.happened || !subscription.must_get(published) {
            continue;
        }
        let pushes = subscription
            .pushes
            .get(&place)
            .map_or(&[][..], Vec::as_slice);
        if pushes.iter().any(Pushed::is_received) {
            continue;
        }
        if may_be_given_up(ledger, subscription, published, pushes) {
            report.statistics.topics.given_up += 1;
            continue;
        }
        let detail = format!(
            "body {:016x} was published and never received; it was pushed {} times",
            published.body,
            pushes.len()
        );
        report.add(Rule::FanOut, &subscription.name(), detail);
    }
}

/// An attempt that the end of the server cut off counts, though no receiver saw it.
fn may_be_given_up(
    ledger: &Ledger<'_>,
    subscription: &Subscription<'_>,
    published: &Published<'_>,
    pushes: &[Pushed<'_>],
) -> bool {
    let cut_off = ledger.outages.count(published.invoked, Nanos::MAX);
    subscription.facts.retry == Retry::BackOff
        && !pushes.is_empty()
        && pushes.len() + cut_off >= ATTEMPTS
}

/// When a message was received first, and when it was published.
struct Arrival<'l, 'h> {
    published: &'l Published<'h>,
    pushed: &'l Pushed<'h>,
}

/// Q13 of back-off: nothing is received before what was published before it.
fn order(ledger: &Ledger<'_>, subscription: &Subscription<'_>, report: &mut Report) {
    let mut arrivals: Vec<Arrival<'_, '_>> = subscription
        .pushes
        .iter()
        .filter_map(|(&place, pushes)| {
            let pushed = pushes.iter().find(|pushed| pushed.is_received())?;
            let published = &ledger.publishes[place];
            Some(Arrival { published, pushed })
        })
        .collect();
    let is_batch = |pair: &[Arrival<'_, '_>]| {
        pair[0].published.request == pair[1].published.request
            && pair[1].pushed.returned < pair[0].pushed.invoked
    };
    for pair in arrivals.windows(2).filter(|pair| is_batch(pair)) {
        overtook(report, subscription, pair[1].published);
    }
    arrivals.sort_by_key(|arrival| arrival.pushed.invoked);
    // For each place the earliest end of the publishes that were received from there on.
    let mut earliest = vec![Nanos::MAX; arrivals.len() + 1];
    for (at, arrival) in arrivals.iter().enumerate().rev() {
        earliest[at] = earliest[at + 1].min(published_by(arrival.published));
    }
    for arrival in &arrivals {
        let after =
            arrivals.partition_point(|other| other.pushed.invoked <= arrival.pushed.returned);
        if earliest[after] < arrival.published.invoked {
            overtook(report, subscription, arrival.published);
        }
    }
}

/// When a publish had certainly happened; without an answer nobody knows.
fn published_by(published: &Published<'_>) -> Nanos {
    match published.outcome {
        SendOutcome::Unknown => Nanos::MAX,
        _ => published.returned,
    }
}

fn overtook(report: &mut Report, subscription: &Subscription<'_>, published: &Published<'_>) {
    let complaint = (
        Rule::FanOut,
        "was received before what was published before it",
    );
    add(report, complaint, subscription, published);
}
