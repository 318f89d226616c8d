//! The thread that owns the shards, as `anser-node`'s `runner.rs` does it: takes events, ends turns, and
//! carries out what the replicas ask for.

use std::collections::BTreeSet;

use anser_broker::{codec, id::ShardId, time::Timestamp};
use anser_host::{Deferred, Job, ShardTime};
use anser_replica::{Input, Output, PeerMessage, Role};
use bytes::Bytes;

use super::{Hosted, Process, open};
use crate::{
    checks::LogView,
    coverage::sometimes,
    event::{Event, Fetching, Happening, MILLISECOND, Micros, Order, SECOND},
    random,
    world::Common,
};

/// The time between two ticks of consensus.
const TICK: Micros = 50 * MILLISECOND;
/// How long not to repeat that a node cannot be reached.
const UNREACHABLE_INTERVAL: Micros = 100 * MILLISECOND;
/// The state is hashed after every so many entries.
const HASHED_EVERY: u64 = 16;

impl Process {
    /// The first events of a life.
    pub(crate) fn begin(&mut self, common: &mut Common) {
        let first = common.random.below(TICK);
        common.later(self.node, self.life, first, Happening::Tick);
        common.later(self.node, self.life, first * 3, Happening::Maintain);
        let shards: Vec<u16> = self.hosted.keys().copied().collect();
        for shard in shards {
            let hosted = &self.hosted[&shard];
            let index = hosted.replica.applied().index;
            common.checks.membership(shard, index, &hosted.membership);
            self.hash_state(shard, common);
            self.touched.insert(shard);
        }
        self.turn_soon(common);
    }

    /// Takes one event.
    pub(crate) fn take(&mut self, what: Happening, common: &mut Common) {
        match what {
            Happening::Tick => self.tick(common),
            Happening::Wake => {
                self.wakes_at = None;
                self.turn_soon(common);
            }
            Happening::Turn => self.turn(common),
            Happening::Peer { shard, bytes } => self.peer(shard, bytes, common),
            Happening::Request(request) => self.request(request, common),
            Happening::Cancel { request } => self.cancel(request, common),
            Happening::Written => self.written(common),
            Happening::WriteAgain => self.written(common),
            Happening::Fetch(fetching) => self.fetch(&fetching, common),
            Happening::Deliver(delivering) => self.deliver_from_disk(delivering, common),
            Happening::Maintain => self.maintain(common),
            Happening::MaintainEnd => self.end_maintenance(common),
            Happening::Offer { shard } => self.offer(shard, common),
            Happening::OfferEnd { shard } => self.end_offer(shard, common),
            Happening::Copy {
                from,
                transfer,
                ask,
            } => self.take_copy(from, transfer, ask, common),
            Happening::Told { transfer, told } => self.told(transfer, &told, common),
            Happening::CopyLate { transfer, attempt } => self.copy_late(transfer, attempt, common),
            Happening::Deferred(deferred) => self.deferred(deferred, common),
            Happening::Unreachable { peer } => {
                let shards: Vec<u16> = self.hosted.keys().copied().collect();
                for shard in shards {
                    self.step(shard, Input::Unreachable { node: peer }, common);
                }
            }
            Happening::Order { shard, order } => self.order(shard, order, common),
        }
    }

    fn tick(&mut self, common: &mut Common) {
        common.later(self.node, self.life, TICK, Happening::Tick);
        if !self
            .hosted
            .values()
            .any(|hosted| hosted.replica.needs_ticks())
        {
            return;
        }
        let shards: Vec<u16> = self.hosted.keys().copied().collect();
        for shard in shards {
            self.step(shard, Input::Tick, common);
        }
    }

    /// Steps the shard's replica, if there is one.
    pub(super) fn step(&mut self, shard: u16, input: Input, common: &mut Common) {
        let Some(hosted) = self.hosted.get_mut(&shard) else {
            return;
        };
        let now = hosted.time.now(&self.clock.now(common.now));
        let mut stepped = Vec::new();
        hosted.replica.step(now, input, &mut stepped);
        self.outputs
            .extend(stepped.into_iter().map(|output| (shard, output)));
        self.touched.insert(shard);
        self.turn_soon(common);
    }

    fn turn_soon(&mut self, common: &mut Common) {
        if !self.turn_comes {
            self.turn_comes = true;
            let length = common.random.below(150);
            common.later(self.node, self.life, length, Happening::Turn);
        }
    }

    /// Ends the turns of all replicas that something happened to.
    fn turn(&mut self, common: &mut Common) {
        self.turn_comes = false;
        let mut touched = std::mem::take(&mut self.touched);
        let mut outputs = std::mem::take(&mut self.outputs);
        let mut turned = Vec::new();
        for (&shard, hosted) in &mut self.hosted {
            let now = hosted.time.now(&self.clock.now(common.now));
            let deadline = hosted.replica.next_deadline();
            if touched.contains(&shard) || deadline.is_some_and(|deadline| deadline <= now) {
                let stamp = hosted.time.stamp(&self.clock.now(common.now));
                hosted.replica.turn(stamp, &mut turned);
                outputs.extend(turned.drain(..).map(|output| (shard, output)));
                touched.insert(shard);
            }
        }
        for (shard, output) in outputs {
            self.carry_out(shard, output, common);
        }
        self.look(&touched, common);
        self.sleep(common);
    }

    /// Wakes again when something is due by itself.
    fn sleep(&mut self, common: &mut Common) {
        let due = self.hosted.values().filter_map(|hosted| {
            let deadline = hosted.replica.next_deadline()?;
            Some(self.clock.moment(hosted.time.moment_of(deadline)))
        });
        let Some(at) = due.min() else { return };
        let at = at.max(common.now + 1);
        if self.wakes_at.is_none_or(|known| at < known) {
            self.wakes_at = Some(at);
            common.later(self.node, self.life, at - common.now, Happening::Wake);
        }
    }

    fn carry_out(&mut self, shard: u16, output: Output, common: &mut Common) {
        match output {
            Output::Append(append) => {
                let hosted = self.hosted.get_mut(&shard).expect("it has just spoken");
                if let Some(first) = append.entries.first()
                    && first.index <= hosted.view.last()
                {
                    sometimes("an entry was overwritten by another term's");
                }
                common
                    .checks
                    .appended(self.node, shard, &mut hosted.view, &append.entries);
                let shard = ShardId(shard);
                self.give_writer(Job::Append { shard, append }, common);
            }
            Output::Applied { index, payload } => self.applied(shard, index, payload, common),
            // The courier is not simulated: clients tell homes of their queues.
            Output::Effect(_) => {}
            Output::Reply { ticket, reply } => self.reply(shard, ticket.0, reply, common),
            Output::Answer { ticket, .. } => self.answer(shard, ticket.0, common),
            Output::Refuse { ticket, error } => self.refuse(ticket.0, error, common),
            Output::LeadershipChanged { leads } => {
                common
                    .trace
                    .numbers(&[2, self.node, shard.into(), leads.into()]);
                let (node, now) = (self.node, common.now);
                common
                    .trace
                    .say(now, || format!("node {node} shard {shard} leads: {leads}"));
                let hosted = self.hosted.get_mut(&shard).expect("it has just spoken");
                if leads {
                    let stamp = hosted.replica.shard().now().now;
                    hosted.time.lead(stamp, &self.clock.now(common.now));
                    common.led.insert(shard, node);
                } else if common.led.get(&shard) == Some(&node) {
                    common.led.remove(&shard);
                }
            }
            Output::Failed(reason) => {
                if !self.damaged {
                    let text = format!("node {}, shard {shard}: {reason}", self.node);
                    common.checks.fail(text);
                }
                self.fail(format!("shard {shard}: {reason}"), false);
            }
            among_peers => self.carry_out_among_peers(shard, among_peers, common),
        }
    }

    fn carry_out_among_peers(&mut self, shard: u16, output: Output, common: &mut Common) {
        match output {
            Output::Send { to, message } => self.send_peer(shard, to, &message, common),
            Output::Fetch {
                request,
                first,
                end,
                bytes_max,
            } => {
                let fetching = Fetching {
                    shard,
                    request,
                    first,
                    end,
                    bytes_max,
                };
                let usual = if common.random.permille(250) {
                    4 * SECOND
                } else {
                    300
                };
                let length = common.random.spread(usual) * self.slowness;
                common.later(self.node, self.life, length, Happening::Fetch(fetching));
            }
            Output::PrepareSnapshot { .. } => {
                let length = common.random.spread(300);
                common.later(self.node, self.life, length, Happening::Offer { shard });
            }
            Output::SendSnapshot { to, place, message } => {
                self.send_copy(shard, to, place, &message, common);
            }
            Output::Install { place } => {
                let node = self.node;
                common.trace.say(common.now, || {
                    format!("node {node} shard {shard} installs {place:?}")
                });
                let shard = ShardId(shard);
                let install = Deferred::Install { shard, place };
                self.give_writer(Job::Defer(install), common);
            }
            Output::Cleared => {
                sometimes("a suspect was cleared");
                self.suspects.remove(&shard);
                self.clear_suspicion();
            }
            Output::MembershipChanged(membership) => {
                let hosted = self.hosted.get_mut(&shard).expect("it has just spoken");
                let promoted = |node: &u64| hosted.membership.learners.contains(node);
                if membership.voters.iter().any(promoted) {
                    sometimes("a learner became a voter");
                }
                if membership.is_joint() && hosted.replica.serves() {
                    sometimes("a leader applied a joint membership");
                }
                let (node, now) = (self.node, common.now);
                common.trace.say(now, || {
                    format!(
                        "node {node} shard {shard} members {:?} learners {:?} leaving {:?}",
                        membership.voters, membership.learners, membership.voters_outgoing
                    )
                });
                common.checks.membership(shard, hosted.applied, &membership);
                hosted.membership = membership;
            }
            other => unreachable!("carried out elsewhere: {other:?}"),
        }
    }

    fn clear_suspicion(&mut self) {
        if self.suspects.is_empty()
            && let Err(error) = self.store.clear_suspicion()
            && !matches!(error, anser_log::Error::NoSpace { .. })
        {
            self.fail(format!("clearing the suspicion: {error}"), true);
        }
    }

    fn applied(&mut self, shard: u16, index: u64, payload: Bytes, common: &mut Common) {
        let hosted = self.hosted.get_mut(&shard).expect("it has just spoken");
        if !hosted.replica.serves() {
            let stamp = hosted.replica.shard().now().now;
            hosted.time.follow(stamp, &self.clock.now(common.now));
        }
        hosted.applied = index;
        common
            .checks
            .applied(self.node, shard, index, &hosted.view, &hosted.membership);
        if codec::body(&payload, 0).is_some() {
            self.cache.put(ShardId(shard), index, payload);
        }
    }

    fn send_peer(&mut self, shard: u16, to: u64, message: &PeerMessage, common: &mut Common) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let suspect = self.suspects.contains(&shard);
        common.checks.sent(self.node, shard, &bytes, suspect);
        let node = self.node;
        let life = common.lives.get(&to).copied();
        let life = life.filter(|_| common.network.is_connected(node, to));
        let Some(life) = life else {
            return self.say_unreachable(to, common);
        };
        common.statistics.messages += 1;
        let bytes = Bytes::from(bytes);
        for at in common
            .network
            .arrivals(node, to, common.now, &mut common.random)
        {
            let at = at + common.network.straggling(&mut common.random);
            let what = Happening::Peer {
                shard,
                bytes: bytes.clone(),
            };
            common.agenda.add(
                at,
                Event::Node {
                    node: to,
                    life,
                    what,
                },
            );
        }
    }

    fn say_unreachable(&mut self, peer: u64, common: &mut Common) {
        let said = self.said_unreachable.get(&peer);
        if said.is_none_or(|&said| common.now >= said + UNREACHABLE_INTERVAL) {
            self.said_unreachable.insert(peer, common.now);
            common.later(self.node, self.life, 10, Happening::Unreachable { peer });
        }
    }

    /// A message of consensus has arrived.
    pub(super) fn peer(&mut self, shard: u16, bytes: Bytes, common: &mut Common) {
        common.trace.add(&bytes);
        let message = match PeerMessage::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                return common
                    .checks
                    .fail(format!("a message cannot be read: {error}"));
            }
        };
        if !self.hosted.contains_key(&shard) && message.is_from_leader() {
            self.made_empty += 1;
            let run = open::run(&common.plan, self.node, self.life, self.made_empty);
            let replica = open::empty_replica(self.node, &common.plan, shard, run);
            let time = ShardTime::of_others(Timestamp(0), &self.clock.now(common.now));
            self.hosted
                .insert(shard, Hosted::new(replica, LogView::default(), time));
        }
        self.step(shard, Input::Message(message), common);
    }

    fn fetch(&mut self, fetching: &Fetching, common: &mut Common) {
        let range = fetching.first..fetching.end;
        let shard = ShardId(fetching.shard);
        let read = self.bodies.entries(shard, &range, fetching.bytes_max);
        sometimes(match &read {
            Ok(_) => "a follower was fed from the log",
            Err(_) => "a fetch found that the log had been recycled",
        });
        let entries = read.unwrap_or_default();
        let request = fetching.request;
        self.step(fetching.shard, Input::Fetched { request, entries }, common);
    }

    fn order(&mut self, shard: u16, order: Order, common: &mut Common) {
        match order {
            Order::Change(change) => self.step(shard, Input::ChangeMembership(change), common),
            Order::Transfer { to } => self.step(shard, Input::TransferLeadership { to }, common),
            Order::Forget { decided } => {
                let Some(hosted) = self.hosted.get(&shard) else {
                    return;
                };
                if hosted.replica.status().last > decided || hosted.replica.serves() {
                    return;
                }
                self.hosted.remove(&shard);
                // From here on what the shard's disk has promised counts no more.
                common.checks.durable.remove(&(self.node, shard));
                common.checks.leaving.insert((self.node, shard));
                self.suspects.remove(&shard);
                self.outputs.retain(|(of, _)| *of != shard);
                let shard = ShardId(shard);
                self.give_writer(Job::Defer(Deferred::Forget { shard }), common);
                self.clear_suspicion();
            }
        }
    }

    /// Looks at the replicas after their turns.
    fn look(&mut self, touched: &BTreeSet<u16>, common: &mut Common) {
        for &shard in touched {
            let Some(hosted) = self.hosted.get_mut(&shard) else {
                continue;
            };
            let status = hosted.replica.status();
            common.checks.term(self.node, shard, status.term);
            if status.role == Role::Leader {
                let now = common.now;
                common.checks.believed(shard, self.node, &status, now);
            }
            if status.role == Role::Leader && hosted.led != status.term {
                if status.term > hosted.led + 3 && hosted.led > 0 {
                    sometimes("an election needed several terms");
                }
                hosted.led = status.term;
                common.checks.leads(self.node, shard, &status, &hosted.view);
                common.statistics.elections += 1;
                common
                    .trace
                    .numbers(&[3, self.node, shard.into(), status.term]);
            }
            if hosted.replica.applied().index / HASHED_EVERY != hosted.hashed / HASHED_EVERY {
                hosted.hashed = hosted.replica.applied().index;
                let index = hosted.replica.applied().index;
                common.trace.numbers(&[4, self.node, shard.into(), index]);
                if index.is_multiple_of(4) {
                    self.hash_state(shard, common);
                }
            }
        }
    }

    /// Compares a shard's whole state with that of others.
    pub(crate) fn hash_state(&self, shard: u16, common: &mut Common) {
        let Some(hosted) = self.hosted.get(&shard) else {
            return;
        };
        let image = hosted.replica.image();
        if image.applied.index == 0 {
            return;
        }
        let mut sum = image.applied.term;
        image.save(&mut |piece| sum = random::hash(sum, piece));
        common.statistics.states += 1;
        common
            .checks
            .state(self.node, shard, image.applied.index, sum);
    }
}
