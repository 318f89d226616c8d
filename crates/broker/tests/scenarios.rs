//! Stories of queues and topics as scripts: `tests/scenarios/*.txt`. A line goes in; what comes out stands below
//! the dashes. `REWRITE=1 cargo test` writes what came out into the files, to be read in review.
//!
//! Times count from the start of a story. `at=` lets time pass until then; `wall=` says how far the
//! wall clock is ahead from now on. Messages and receipts are numbered as they appear.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use anser_broker::{
    attributes::{
        Acknowledge, AttributeChanges, BodyFormat, DeadLetterAfter, FilterKind, QueueAttributes,
        RetentionFrom, TopicAttributes, TopicChanges,
    },
    codec::{self, BatchBuilder},
    command::{
        Answer, Command, CreateQueue, CreateTopic, DeadLetterUpdate, Lane, Placed, Query, Reply,
        Subscribe,
    },
    error::Error,
    id::{AccountId, QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, Published, RoutingKey, Tag},
    name::{QueueName, SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;

const START: u64 = 1_700_000_000_000;

#[test]
fn stories_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    #[expect(
        clippy::disallowed_methods,
        reason = "a test may be told to rewrite its files"
    )]
    let rewrite = std::env::var("REWRITE").is_ok();
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let happened = tell(&written);
        if rewrite {
            fs::write(&file, happened).unwrap();
        } else {
            assert!(written == happened, "{}:\n{happened}", file.display());
        }
    }
}

/// The story with the outcomes that it has.
fn tell(story: &str) -> String {
    let mut world = World::new();
    let mut told = String::new();
    let mut lines = story.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(told, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if lines.peek() == Some(&"----") {
            lines.next();
        }
        while lines.peek().is_some_and(|line| !line.is_empty()) {
            lines.next();
        }
        writeln!(told, "----\n{}", world.line(line)).unwrap();
    }
    told
}

/// One shard that is catalog and home, told of its own changes at once.
struct World {
    shard: Shard,
    now: u64,
    wall: i64,
    /// The outbox of a subscription is `topic/subscription`.
    queues: BTreeMap<String, QueueId>,
    topics: BTreeMap<String, TopicId>,
    messages: Vec<(Sequence, Bytes)>,
    receipts: Vec<Sequence>,
}

/// A line's words: the verb, the plain ones and the `name=value` ones.
struct Line<'a> {
    verb: &'a str,
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let (named, plain): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        let named = named
            .into_iter()
            .map(|word| word.split_once('=').unwrap())
            .collect();
        Self { verb, plain, named }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.named.get(name).map(|text| text.parse().unwrap())
    }

    fn time(&self, name: &str) -> Option<Millis> {
        self.named.get(name).map(|text| duration(text))
    }

    fn account(&self) -> AccountId {
        AccountId(self.number("account").unwrap_or(1))
    }

    fn name(&self) -> QueueName {
        QueueName::new(self.plain[0]).unwrap()
    }

    fn bodies(&self) -> Vec<Bytes> {
        let bodies = self.plain[1..].iter();
        let bodies = bodies.map(|body| Bytes::from(body.trim_matches('"').to_owned()));
        bodies.collect()
    }

    /// Words divided by commas; `none`: no words.
    fn words(&self, name: &str) -> Option<Vec<&'a str>> {
        match *self.named.get(name)? {
            "none" => Some(Vec::new()),
            text => Some(text.split(',').collect()),
        }
    }

    fn tags(&self) -> Option<Vec<Tag>> {
        let words = self.words("tags")?.into_iter();
        Some(words.map(|tag| Tag::new(tag).unwrap()).collect())
    }

    fn binding_keys(&self) -> Option<Vec<BindingKey>> {
        let words = self.words("keys")?.into_iter();
        Some(words.map(|key| BindingKey::new(key).unwrap()).collect())
    }

    fn retry(&self) -> Option<RetryStrategy> {
        self.named.get("retry").map(|retry| match *retry {
            "back-off" => RetryStrategy::BackOff,
            _ => RetryStrategy::ExponentialDecay,
        })
    }

    fn body_bytes_max(&self) -> Option<u32> {
        self.number("body-max")
            .map(|max| u32::try_from(max).unwrap())
    }

    fn topic_command(&self) -> Command {
        let account = self.account();
        let topic = TopicName::new(self.plain[0]).unwrap();
        let subscription = self
            .plain
            .get(1)
            .map(|name| SubscriptionName::new(name).unwrap());
        match (self.verb, subscription) {
            ("create-topic", _) => Command::CreateTopic(CreateTopic {
                account,
                name: topic,
                attributes: TopicAttributes {
                    body_bytes_max: self.body_bytes_max().unwrap_or(16),
                    retention: self.time("retention").unwrap_or(duration("1d")),
                    filter: match self.named.get("filter") {
                        Some(&"keys") => FilterKind::RoutingKey,
                        _ => FilterKind::Tags,
                    },
                },
                topics_max: self.number("topics-max").unwrap_or(100),
                reuse_after: self.time("reuse-after").unwrap_or(Millis(0)),
            }),
            ("set-topic", _) => Command::SetTopicAttributes {
                account,
                name: topic,
                changes: TopicChanges {
                    body_bytes_max: self.body_bytes_max(),
                    retention: self.time("retention"),
                },
            },
            ("delete-topic", _) => Command::DeleteTopic {
                account,
                name: topic,
            },
            ("subscribe", Some(name)) => Command::Subscribe(Box::new(self.subscribe(topic, name))),
            ("set-subscription", Some(name)) => Command::SetSubscriptionAttributes {
                account,
                topic,
                name,
                changes: SubscriptionChanges {
                    retry: self.retry(),
                    format: None,
                    tags: self.tags(),
                    binding_keys: self.binding_keys(),
                    dead_letter: match self.named.get("dead-letter") {
                        None => DeadLetterQueueChange::Keep,
                        Some(&"none") => DeadLetterQueueChange::Remove,
                        Some(name) => DeadLetterQueueChange::Set(QueueName::new(name).unwrap()),
                    },
                },
            },
            ("unsubscribe", Some(name)) => Command::Unsubscribe {
                account,
                topic,
                name,
            },
            (verb, _) => panic!("{verb} lacks a name"),
        }
    }

    /// With `queue=` to a queue, otherwise over HTTP.
    fn subscribe(&self, topic: TopicName, name: SubscriptionName) -> Subscribe {
        let queue = |text: &&str| QueueName::new(text).unwrap();
        Subscribe {
            account: self.account(),
            topic,
            name,
            endpoint: match self.named.get("queue").map(queue) {
                Some(queue) => EndpointName::Queue(queue),
                None => EndpointName::Http {
                    url: "http://example.com/".to_owned(),
                },
            },
            retry: self.retry().unwrap_or(RetryStrategy::ExponentialDecay),
            format: BodyFormat::Simplified,
            tags: self.tags().unwrap_or_default(),
            binding_keys: self.binding_keys().unwrap_or_default(),
            dead_letter: self.named.get("dead-letter").map(queue),
            subscriptions_max: self.number("subscriptions-max").unwrap_or(100),
        }
    }

    fn dead_letter(&self) -> DeadLetterUpdate {
        match self.named.get("dead-letter") {
            None => DeadLetterUpdate::Keep,
            Some(&"none") => DeadLetterUpdate::Remove,
            Some(text) => {
                let parts: Vec<_> = text.split(':').collect();
                let after = match parts[1] {
                    "receives" => DeadLetterAfter::Receives(parts[2].parse().unwrap()),
                    _ => DeadLetterAfter::Age(duration(parts[2])),
                };
                DeadLetterUpdate::Set(QueueName::new(parts[0]).unwrap(), after)
            }
        }
    }
}

fn duration(text: &str) -> Millis {
    let split = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap();
    let number: u64 = text[..split].parse().unwrap();
    let unit = match &text[split..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => panic!("no unit {unit}"),
    };
    Millis(number * unit)
}

impl World {
    fn new() -> Self {
        Self {
            shard: Shard::new(ShardId(0), 1),
            now: START,
            wall: 0,
            queues: BTreeMap::new(),
            topics: BTreeMap::new(),
            messages: Vec::new(),
            receipts: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) -> String {
        let line = Line::new(line);
        if let Some(at) = line.time("at") {
            self.now = START + at.0;
        }
        if let Some(wall) = line.named.get("wall") {
            let ahead = i64::try_from(duration(wall.trim_start_matches(['+', '-'])).0).unwrap();
            self.wall = if wall.starts_with('-') { -ahead } else { ahead };
        }
        match line.verb {
            "create-queue" | "set-queue" | "delete-queue" => self.change_catalog(&line),
            "create-topic" | "set-topic" | "delete-topic" | "subscribe" | "set-subscription"
            | "unsubscribe" => self.change_topics(&line),
            "topic-counts" | "subscription-counts" => self.ask_of_topics(&line),
            "publish" => self.publish(&line),
            "deliver" => self.deliver(&line),
            "describe" | "list" | "sources" | "counts" | "totals" => self.ask(&line),
            "settle" => self.reply(&Command::Settle),
            "next-deadline" => {
                let next = self.shard.next_deadline();
                next.map_or("none".into(), |next| length(next.0.saturating_sub(START)))
            }
            "carry" => self.carry(&line),
            "restart" => {
                let mut bytes = Vec::new();
                self.shard.save(&mut |piece| bytes.extend_from_slice(piece));
                crate::model::restore_damaged(&bytes, 0, 1);
                self.shard = Shard::restore(&bytes).unwrap();
                "ok".into()
            }
            _ => self.change_messages(&line),
        }
    }

    fn change_catalog(&mut self, line: &Line<'_>) -> String {
        let (account, name) = (line.account(), line.name());
        let command = match line.verb {
            "create-queue" => Command::CreateQueue(CreateQueue {
                account,
                name,
                attributes: attributes(line),
                dead_letter: match line.dead_letter() {
                    DeadLetterUpdate::Set(name, after) => Some((name, after)),
                    _ => None,
                },
                queues_max: line.number("queues-max").unwrap_or(100),
                reuse_after: line.time("reuse-after").unwrap_or(Millis(0)),
            }),
            "set-queue" => Command::SetQueueAttributes {
                account,
                name,
                changes: changes(line),
                dead_letter: line.dead_letter(),
            },
            _ => Command::DeleteQueue { account, name },
        };
        match self.apply(&command) {
            Reply::Placed(placed) => {
                let text = format!("queue {} revision {}", placed.number(), placed.revision());
                self.tell_home(&placed);
                text
            }
            other => shown(&other),
        }
    }

    /// The homes hear of everything that they do not know yet.
    fn tell_home(&mut self, placed: &Placed) {
        let told = self.shard.unsettled();
        assert!(told.contains(placed));
        for placed in told {
            let (number, revision) = (placed.number(), placed.revision());
            let command = self.word_for_home(placed);
            assert_eq!(self.apply(&command), Reply::Done);
            let settled = Command::Settled { number, revision };
            assert_eq!(self.apply(&settled), Reply::Done);
        }
        assert_eq!(self.shard.unsettled(), []);
    }

    fn word_for_home(&mut self, placed: Placed) -> Command {
        let revision = placed.revision();
        match placed {
            Placed::Queue(placed) => {
                let queue = placed.queue;
                self.queues.insert(placed.name.folded(), queue);
                match placed.attributes {
                    Some(attributes) => Command::PutQueue {
                        queue,
                        revision,
                        attributes,
                    },
                    None => Command::DropQueue { queue },
                }
            }
            Placed::Topic(placed) => {
                let topic = placed.topic;
                self.topics.insert(placed.name.folded(), topic);
                match placed.attributes {
                    Some(attributes) => Command::PutTopic {
                        topic,
                        revision,
                        attributes,
                    },
                    None => Command::DropTopic { topic },
                }
            }
            Placed::Subscription(placed) => {
                let subscription = placed.subscription;
                let name = format!("{}/{}", placed.topic_name.folded(), placed.name.folded());
                self.queues.insert(name, subscription.outbox());
                match placed.attributes {
                    Some(attributes) => Command::PutSubscription {
                        subscription,
                        topic: placed.topic,
                        revision,
                        attributes,
                    },
                    None => Command::DropSubscription { subscription },
                }
            }
        }
    }

    fn change_topics(&mut self, line: &Line<'_>) -> String {
        let command = line.topic_command();
        match self.apply(&command) {
            Reply::Placed(placed) => {
                let kind = match placed {
                    Placed::Topic(_) => "topic",
                    _ => "subscription",
                };
                let text = format!("{kind} {} revision {}", placed.number(), placed.revision());
                self.tell_home(&placed);
                text
            }
            other => shown(&other),
        }
    }

    fn ask_of_topics(&mut self, line: &Line<'_>) -> String {
        let query = match line.verb {
            "topic-counts" => Query::TopicCounts {
                topic: self.topic(line),
            },
            _ => Query::SubscriptionCounts {
                subscription: SubscriptionId(self.queue(line).0),
            },
        };
        match self.shard.query(&query) {
            Answer::TopicCounts(counts) => {
                format!("waiting={} published={}", counts.waiting, counts.published)
            }
            Answer::SubscriptionCounts(counts) => {
                let totals = counts.totals;
                format!(
                    "waiting={} matched={} delivered={} expired={} given-up={} dead-lettered={}",
                    counts.waiting,
                    totals.matched,
                    totals.delivered,
                    totals.expired,
                    totals.given_up,
                    totals.dead_lettered,
                )
            }
            Answer::Refused(error) => error.to_string(),
            other => panic!("{other:?} is about no topic"),
        }
    }

    fn topic(&self, line: &Line<'_>) -> TopicId {
        let name = line.plain[0].to_ascii_lowercase();
        self.topics.get(&name).copied().unwrap_or(TopicId(999))
    }

    fn publish(&mut self, line: &Line<'_>) -> String {
        let labels = Labels {
            tags: line.tags().unwrap_or_default(),
            routing_key: line
                .named
                .get("key")
                .map(|key| RoutingKey::new(key).unwrap()),
        };
        let bodies = line.bodies();
        let command = Command::Publish {
            topic: self.topic(line),
            bodies: bodies
                .iter()
                .map(|body| Published::seal(&labels, body))
                .collect(),
        };
        match self.apply(&command) {
            Reply::Sent { messages } => self.remember(&messages, &bodies),
            other => shown(&other),
        }
    }

    /// Carries what a subscription has for its queue, and its dead letters. A message that the queue
    /// does not take comes again after `wait`.
    fn deliver(&mut self, line: &Line<'_>) -> String {
        let outbox = self.queue(line);
        let mut text = Vec::new();
        for lane in self.shard.moves(outbox, 64) {
            let count = lane.moves.len();
            let what = if lane.is_delivery {
                "deliveries"
            } else {
                "dead letters"
            };
            let outcome = self.carry_lane(outbox, &lane, line);
            text.push(format!("{count} {what}: {outcome}"));
        }
        if text.is_empty() {
            "nothing".into()
        } else {
            text.join("\n")
        }
    }

    fn carry_lane(&mut self, outbox: QueueId, lane: &Lane, line: &Line<'_>) -> String {
        let bodies: Vec<Bytes> = lane
            .moves
            .iter()
            .map(|one| self.body(one.message))
            .collect();
        let (queue, source, first) = (lane.target, outbox, lane.moves[0].number);
        let accept = if lane.is_delivery {
            Command::AcceptPublished {
                queue,
                source,
                first,
                bodies: bodies.clone(),
            }
        } else {
            Command::AcceptMoved {
                queue,
                source,
                first,
                bodies: bodies.clone(),
            }
        };
        let reply = self.apply(&accept);
        let Reply::Accepted { through, refused } = reply else {
            return shown(&reply);
        };
        let index = self.shard.applied();
        let arrived = self.shard.live_between(index, index);
        for sequence in arrived {
            let body = bodies[sequence.ordinal() as usize].clone();
            self.messages.push((sequence, body));
        }
        let mut outcome = format!("accepted through {through}");
        if line.named.get("answer") == Some(&"lost") {
            return outcome;
        }
        self.apply(&Command::MovesSettled {
            queue: outbox,
            target: lane.target,
            through,
        });
        if let Some(error) = refused {
            write!(outcome, ", then {error}").unwrap();
            self.apply(&Command::MoveFailed {
                queue: outbox,
                target: lane.target,
                number: through + 1,
                wait_max: line.time("wait").unwrap_or(Millis::from_seconds(60)),
            });
        }
        outcome
    }

    fn ask(&mut self, line: &Line<'_>) -> String {
        let account = line.account();
        let search = line.named.get("search").copied().unwrap_or("").to_owned();
        let offset = line.number("offset").unwrap_or(0);
        let limit = line.number("limit").unwrap_or(20);
        let query = match line.verb {
            "describe" => Query::Queue {
                account,
                name: line.name(),
            },
            "list" => Query::Queues {
                account,
                search,
                offset,
                limit,
            },
            "sources" => Query::DeadLetterSources {
                account,
                name: line.name(),
                search,
                offset,
                limit,
            },
            _ => Query::Counts {
                queue: self.queue(line),
            },
        };
        match self.shard.query(&query) {
            Answer::Refused(error) => error.to_string(),
            Answer::Queues { total, queues } => {
                let names: Vec<_> = queues.iter().map(|queue| queue.name.as_str()).collect();
                format!("{total} in all: [{}]", names.join(" "))
            }
            Answer::Queue(found) => {
                let policy = found
                    .dead_letter
                    .map(|(name, policy)| format!("{name} {:?}", policy.after));
                let (created, modified) = (found.created, found.modified);
                format!(
                    "{} created {} modified {} dead letters to {}",
                    found.name,
                    since_start(created),
                    since_start(modified),
                    policy.as_deref().unwrap_or("nowhere"),
                )
            }
            Answer::Counts(counts) if line.verb == "totals" => {
                let totals = counts.totals;
                format!(
                    "sent={} received={} deleted={} expired={} dead-lettered={} cleared={} rewound={}",
                    totals.sent,
                    totals.received,
                    totals.deleted,
                    totals.expired,
                    totals.dead_lettered,
                    totals.cleared,
                    totals.rewound,
                )
            }
            Answer::Counts(counts) => format!(
                "ready={} leased={} delayed={} retired={} moving={} oldest={}",
                counts.ready,
                counts.leased,
                counts.delayed,
                counts.retired,
                counts.moving,
                counts.oldest.map_or("none".into(), since_start),
            ),
            other => unreachable!("{other:?} is about no queue"),
        }
    }

    fn change_messages(&mut self, line: &Line<'_>) -> String {
        let queue = self.queue(line);
        let receipts = |world: &Self| {
            let numbers = line.plain[1..].iter();
            numbers
                .map(|number| world.receipts[number.parse::<usize>().unwrap() - 1])
                .collect()
        };
        let command = match line.verb {
            "send" => match line.number("token") {
                None => Command::SendMessages {
                    queue,
                    delay: line.time("delay"),
                    bodies: line.bodies(),
                },
                Some(token) => Command::SendMessagesOnce {
                    queue,
                    token: u128::from(token).to_le_bytes(),
                    delay: line.time("delay"),
                    bodies: line.bodies(),
                },
            },
            "receive" => Command::ReceiveMessages {
                queue,
                max: line
                    .number("max")
                    .map_or(1, |max| u32::try_from(max).unwrap()),
                visibility: line.time("visibility"),
            },
            "delete" => Command::DeleteMessages {
                queue,
                receipts: receipts(self),
            },
            "change" => Command::ChangeVisibility {
                queue,
                receipts: receipts(self),
                visibility: line.time("visibility").unwrap(),
            },
            "give-up" => Command::GiveUp {
                queue,
                receipts: receipts(self),
            },
            "return-leases" => Command::ReturnLeases {
                queue,
                receipts: receipts(self),
            },
            "return-moves" => Command::ReturnMoves {
                queue,
                target: self.queues[line.plain[1]],
            },
            "clear" => Command::ClearQueue { queue },
            "rewind" => Command::RewindQueue {
                queue,
                to: Timestamp(START + line.time("to").unwrap().0),
            },
            verb => panic!("no verb {verb}"),
        };
        self.reply(&command)
    }

    /// Carries dead letters to their queue. `answer=lost`: they arrive, but nobody hears of it.
    fn carry(&mut self, line: &Line<'_>) -> String {
        let source = self.queue(line);
        let mut text = Vec::new();
        for Lane { target, moves, .. } in self.shard.moves(source, 64) {
            let bodies = moves.iter().map(|one| self.body(one.message)).collect();
            let first = line.number("first").unwrap_or(moves[0].number);
            let accept = Command::AcceptMoved {
                queue: target,
                source,
                first,
                bodies,
            };
            let index = self.shard.applied() + 1;
            let counted = self.messages.len();
            let reply = self.apply(&accept);
            text.push(format!(
                "{} from number {first}: {}",
                moves.len(),
                shown(&reply)
            ));
            let Reply::Accepted { through, .. } = reply else {
                continue;
            };
            for (ordinal, one) in (0u32..).zip(&moves) {
                let body = self.body(one.message);
                self.messages.push((Sequence::new(index, ordinal), body));
            }
            let live = self.shard.live_between(index, index);
            let mut place = 0;
            self.messages.retain(|(sequence, _)| {
                place += 1;
                place <= counted || live.contains(sequence)
            });
            if line.named.get("answer") != Some(&"lost") {
                self.apply(&Command::MovesSettled {
                    queue: source,
                    target,
                    through,
                });
            }
        }
        if text.is_empty() {
            "nothing".into()
        } else {
            text.join("\n")
        }
    }

    /// Keeps the bodies of new messages, and says how these are numbered here.
    fn remember(&mut self, messages: &[Sequence], bodies: &[Bytes]) -> String {
        let mut texts = Vec::new();
        for (message, body) in messages.iter().zip(bodies) {
            // A send that is repeated answers with messages that are known.
            let known = self.messages.iter().position(|(known, _)| known == message);
            let place = known.unwrap_or(self.messages.len());
            if known.is_none() {
                self.messages.push((*message, body.clone()));
            }
            texts.push(format!("message {}", place + 1));
        }
        texts.join("\n")
    }

    fn queue(&self, line: &Line<'_>) -> QueueId {
        let name = line.plain[0].to_ascii_lowercase();
        self.queues.get(&name).copied().unwrap_or(QueueId(999))
    }

    fn body(&self, message: Sequence) -> Bytes {
        let found = self
            .messages
            .iter()
            .find(|(sequence, _)| *sequence == message);
        found.unwrap().1.clone()
    }

    fn apply(&mut self, command: &Command) -> Reply {
        let stamp = Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now.saturating_add_signed(self.wall)),
            ..Stamp::default()
        };
        let mut batch = BatchBuilder::new(stamp);
        batch.push(&codec::encode(command));
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        let index = self.shard.applied() + 1;
        self.shard
            .apply(index, &batch.finish(), &mut replies, &mut effects)
            .unwrap();
        replies.remove(0)
    }

    fn reply(&mut self, command: &Command) -> String {
        let reply = self.apply(command);
        match &reply {
            Reply::Sent { messages } => {
                let (Command::SendMessages { bodies, .. }
                | Command::SendMessagesOnce { bodies, .. }) = command
                else {
                    unreachable!()
                };
                self.remember(messages, bodies)
            }
            Reply::Received { deliveries } if !deliveries.is_empty() => {
                let mut text = Vec::new();
                for one in deliveries {
                    self.receipts.push(one.receipt);
                    let place = self
                        .messages
                        .iter()
                        .position(|(sequence, _)| *sequence == one.message);
                    text.push(format!(
                        "message {} \"{}\" receipt={} delivery={} sent={} first={} until={}",
                        place.unwrap() + 1,
                        String::from_utf8_lossy(&self.body(one.message)),
                        self.receipts.len(),
                        one.deliveries,
                        since_start(one.sent),
                        since_start(one.first_received),
                        since_start(one.visible_again),
                    ));
                }
                text.join("\n")
            }
            other => shown(other),
        }
    }
}

fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Done => "ok".into(),
        Reply::Received { .. } => "none".into(),
        Reply::Refused(error) => error.to_string(),
        Reply::Accepted { through, .. } => format!("accepted through {through}"),
        Reply::Rewound { messages } => format!("{messages} rewound"),
        Reply::Each(each) => {
            let shown = |one: &Result<(), Error>| {
                one.map_or_else(|error| error.to_string(), |()| "ok".into())
            };
            each.iter().map(shown).collect::<Vec<_>>().join("\n")
        }
        other => format!("{other:?}"),
    }
}

fn length(millis: u64) -> String {
    match (millis / 1000, millis % 1000) {
        (seconds, 0) if seconds > 0 && seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{millis}ms"),
    }
}

fn since_start(time: Timestamp) -> String {
    match time.0.checked_sub(START) {
        Some(later) => length(later),
        None => format!("-{}", length(START - time.0)),
    }
}

fn attributes(line: &Line<'_>) -> QueueAttributes {
    let defaults = QueueAttributes {
        backlog_max: 1000,
        wait: Millis(0),
        visibility: Millis::from_seconds(30),
        body_bytes_max: 16,
        retention: Millis::from_seconds(4 * 86_400),
        retention_from: match line.named.get("retention-from") {
            Some(&"visible") => RetentionFrom::Visible,
            _ => RetentionFrom::Sent,
        },
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis::from_seconds(400 * 86_400),
        delayed_max: line.number("delayed-max").unwrap_or(100),
        in_flight_max: line.number("in-flight-max").unwrap_or(100),
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    };
    defaults.with(&changes(line))
}

fn changes(line: &Line<'_>) -> AttributeChanges {
    AttributeChanges {
        backlog_max: line.number("backlog-max"),
        wait: line.time("wait"),
        visibility: line.time("visibility"),
        body_bytes_max: line
            .number("body-max")
            .map(|max| u32::try_from(max).unwrap()),
        retention: line.time("retention"),
        rewind: line.time("rewind"),
        delay: line.time("delay"),
        delay_max: line.time("delay-max"),
        acknowledge: line.named.get("acknowledge").map(|text| match *text {
            "all" => Acknowledge::All,
            _ => Acknowledge::Majority,
        }),
    }
}
