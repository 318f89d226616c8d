//! Several replicas of one shard in one thread: the test is their network, their disks and time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anser_broker::{
    attributes::QueueAttributes,
    codec,
    command::{Command, Query, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use anser_replica::{
    Image, Input, Membership, MembershipChange, MembershipStep, Output, PeerMessage, Place,
    ReceiveRequest, Replica, Role, SnapshotOffer, StoredKind, Ticket, TimeTold, read_snapshot,
};
use bytes::Bytes;

use crate::{
    disk::{Disk, Write},
    harness::{QUEUE, attributes},
};

pub(crate) const TICK_MILLIS: u64 = 50;
/// So little that followers soon need the log.
const MEMORY_BYTES: usize = 300;

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// A position in something of this length.
    pub(crate) fn position(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("it is below a length")
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.position(from.len())])
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) from: u64,
    pub(crate) to: u64,
    message: Bytes,
    /// The snapshot that goes before the message.
    files: Option<(Place, Vec<u8>)>,
}

impl Wire {
    pub(crate) fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// By its kind, the second byte.
    pub(crate) fn is_heartbeat(&self) -> bool {
        self.message[1] == 7
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Sent(Vec<Sequence>),
    Other,
    /// By the state machine.
    Replied(Error),
    Refused(Error),
}

#[derive(Default)]
pub(crate) struct Node {
    pub(crate) replica: Option<Replica>,
    pub(crate) disk: Disk,
    /// Snapshots that came and are not in use.
    staged: BTreeMap<u64, Vec<u8>>,
    offered: BTreeMap<u64, Vec<u8>>,
    pub(crate) prepares: usize,
    pub(crate) fetches: usize,
    pub(crate) installs: usize,
    pub(crate) cleared: usize,
    pub(crate) effects: usize,
    /// What its leader has said last of the shard's time.
    pub(crate) told: Option<TimeTold>,
}

pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) wires: VecDeque<Wire>,
    /// Pairs (from, to) that do not hear each other.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) outcomes: BTreeMap<Ticket, Outcome>,
    pub(crate) bodies: BTreeMap<Ticket, Bytes>,
    pub(crate) log_reads_fail: bool,
    pub(crate) snapshots_fail: bool,
    /// At the beginning.
    pub(crate) voters: u64,
    pub(crate) now: u64,
    tickets: u64,
    seed: u64,
    leaders: BTreeMap<u64, u64>,
    states: BTreeMap<u64, Vec<u8>>,
    payloads: BTreeMap<u64, Bytes>,
}

impl Cluster {
    /// Nodes 1 to `voters` are voters, those up to `nodes` have nothing yet.
    pub(crate) fn new(voters: u64, nodes: u64, seed: u64) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            wires: VecDeque::new(),
            cut: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            bodies: BTreeMap::new(),
            log_reads_fail: false,
            snapshots_fail: false,
            voters,
            now: 1_000,
            tickets: 0,
            seed,
            leaders: BTreeMap::new(),
            states: BTreeMap::new(),
            payloads: BTreeMap::new(),
        };
        let membership = Membership {
            voters: (1..=voters).collect(),
            ..Membership::default()
        };
        let place = Place { index: 1, term: 1 };
        let mut bytes = Vec::new();
        Image::initial(place, membership, Shard::new(ShardId(3), 16))
            .save(&mut |piece| bytes.extend_from_slice(piece));
        for id in 1..=nodes {
            let mut node = Node::default();
            if id <= voters {
                node.disk.install(place, bytes.clone());
                node.disk.hard_state = (1, 0, 1);
            }
            cluster.nodes.insert(id, node);
            cluster.start(id, false);
        }
        cluster
    }

    /// Like `new`, with a leader and a queue.
    pub(crate) fn serving(voters: u64, nodes: u64, seed: u64) -> Self {
        let mut cluster = Self::new(voters, nodes, seed);
        cluster.elect();
        cluster.put_queue();
        cluster.settle();
        cluster
    }

    pub(crate) fn put_queue(&mut self) -> Ticket {
        self.propose(&Command::PutQueue {
            queue: QUEUE,
            revision: 1,
            attributes: QueueAttributes {
                visibility: Millis(3_600_000),
                ..attributes()
            },
        })
    }

    pub(crate) fn start(&mut self, id: u64, suspect: bool) {
        self.seed += 1;
        let jitter = self.seed.wrapping_mul(0x1234_5678_9abc_def1) ^ id;
        let node = self.node(id);
        node.disk.queue.clear();
        node.staged.clear();
        node.offered.clear();
        let mut replica = Replica::new(node.disk.recover(id, jitter, suspect));
        replica.set_memory_bytes(MEMORY_BYTES);
        node.replica = Some(replica);
        self.turn(id);
    }

    /// Writes that are not durable are lost, but for the first ones.
    pub(crate) fn crash(&mut self, id: u64, writes_kept: usize) {
        let node = self.node(id);
        node.replica = None;
        for _ in 0..writes_kept {
            let Some(Write::Append(append)) = node.disk.queue.pop_front() else {
                break;
            };
            node.disk.append(append);
        }
        node.disk.queue.clear();
    }

    /// A replica goes that its shard's members have let go of, and the node hears of the shard again.
    pub(crate) fn forget(&mut self, id: u64, decided: u64) {
        let tombstone = self.replica(id).tombstone(decided);
        self.crash(id, 0);
        self.node(id).disk = Disk::forgotten(tombstone);
        self.start(id, false);
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("there is such a node")
    }

    pub(crate) fn replica(&self, id: u64) -> &Replica {
        let replica = self.nodes[&id].replica.as_ref();
        replica.expect("the node is up")
    }

    pub(crate) fn up(&self) -> Vec<u64> {
        let up = self.nodes.iter().filter(|(_, node)| node.replica.is_some());
        up.map(|(&id, _)| id).collect()
    }

    pub(crate) fn servers(&self) -> Vec<u64> {
        let mut up = self.up();
        up.retain(|&id| self.replica(id).serves());
        up
    }

    pub(crate) fn leader(&self) -> u64 {
        let servers = self.servers();
        let newest = servers.into_iter().max_by_key(|&id| self.term(id));
        newest.expect("somebody leads")
    }

    pub(crate) fn term(&self, id: u64) -> u64 {
        self.replica(id).status().term
    }

    pub(crate) fn followers(&self) -> Vec<u64> {
        let leader = self.leader();
        let mut up = self.up();
        up.retain(|&id| id != leader);
        up
    }

    pub(crate) fn cut_off(&mut self, id: u64) {
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub(crate) fn step(&mut self, id: u64, input: Input) {
        let now = Timestamp(self.now);
        let mut outputs = Vec::new();
        if let Some(replica) = &mut self.node(id).replica {
            replica.step(now, input, &mut outputs);
            self.carry_out(id, outputs);
        }
    }

    pub(crate) fn turn(&mut self, id: u64) {
        let now = Timestamp(self.now);
        let stamp = Stamp {
            now,
            wall: now,
            blur: Millis(0),
        };
        let mut outputs = Vec::new();
        if let Some(replica) = &mut self.node(id).replica {
            replica.turn(stamp, &mut outputs);
            self.carry_out(id, outputs);
            self.look_at(id);
        }
    }

    pub(crate) fn tick(&mut self, id: u64) {
        self.step(id, Input::Tick);
        self.turn(id);
    }

    pub(crate) fn tick_all(&mut self) {
        self.now += TICK_MILLIS;
        for id in self.up() {
            self.tick(id);
        }
    }

    /// Makes the oldest write of a node durable; whether there was one.
    pub(crate) fn sync(&mut self, id: u64) -> bool {
        let node = self.node(id);
        if node.replica.is_none() {
            return false;
        }
        let input = match node.disk.queue.pop_front() {
            None => return false,
            Some(Write::Append(append)) => {
                let number = append.number;
                node.disk.append(append);
                Input::Durable { number }
            }
            Some(Write::Install(place)) => {
                let bytes = node.staged.remove(&place.index).expect("it was staged");
                let image = read_snapshot(&bytes).expect("it is a snapshot");
                node.disk.install(place, bytes);
                Input::Installed {
                    place,
                    membership: image.membership,
                    shard: Box::new(image.shard),
                }
            }
        };
        self.step(id, input);
        self.turn(id);
        true
    }

    pub(crate) fn sync_all(&mut self) {
        for id in self.up() {
            while self.sync(id) {}
        }
    }

    pub(crate) fn deliver(&mut self, wire: Wire) {
        self.deliver_or_drop(wire, false);
    }

    /// Steps a message into a replica that it may not be for.
    pub(crate) fn deliver_as_is(&mut self, to: u64, wire: &Wire) {
        let message = PeerMessage::decode(wire.message.clone()).expect("it decodes");
        self.step(to, Input::Message(message));
        self.turn(to);
    }

    pub(crate) fn deliver_or_drop(&mut self, wire: Wire, dropped: bool) {
        let lost =
            dropped || self.cut.contains(&(wire.from, wire.to)) || !self.up().contains(&wire.to);
        let (from, to) = (wire.from, wire.to);
        let was_snapshot = wire.files.is_some();
        let fails = was_snapshot && self.snapshots_fail;
        let arrived = !lost && !fails;
        if arrived {
            if let Some((place, bytes)) = wire.files {
                self.node(to).staged.insert(place.index, bytes);
            }
            let message = PeerMessage::decode(wire.message).expect("what was encoded is decoded");
            assert_eq!(message.to(), to);
            self.step(to, Input::Message(message));
            self.turn(to);
        }
        if was_snapshot {
            self.step(from, Input::SnapshotSent { to, arrived });
            self.turn(from);
        }
    }

    /// Delivers what is on its way now and what comes of it, without the disks.
    pub(crate) fn deliver_all(&mut self) {
        while let Some(wire) = self.wires.pop_front() {
            self.deliver(wire);
        }
    }

    /// Everything that happens without time.
    pub(crate) fn settle(&mut self) {
        loop {
            self.deliver_all();
            self.sync_all();
            if self.wires.is_empty() {
                return;
            }
        }
    }

    pub(crate) fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick_all();
            self.settle();
        }
    }

    pub(crate) fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            if !self.servers().is_empty() {
                self.run(4);
                return self.leader();
            }
            self.run(1);
        }
        panic!("nobody is elected")
    }

    /// Waits for a leader other than these.
    pub(crate) fn elect_other(&mut self, not: &[u64]) -> u64 {
        for _ in 0..200 {
            self.run(1);
            let servers = self.servers();
            if let Some(&leader) = servers.iter().find(|id| !not.contains(id)) {
                return leader;
            }
        }
        panic!("nobody else is elected")
    }

    pub(crate) fn propose(&mut self, command: &Command) -> Ticket {
        let leader = self.leader();
        self.propose_at(leader, command)
    }

    pub(crate) fn propose_at(&mut self, id: u64, command: &Command) -> Ticket {
        let ticket = self.ticket();
        let input = Input::Propose {
            ticket: Some(ticket),
            command: codec::encode(command),
        };
        self.step(id, input);
        self.turn(id);
        ticket
    }

    pub(crate) fn send_at(&mut self, id: u64) -> Ticket {
        let body = Bytes::from(format!("body {:04} {}", self.tickets, "x".repeat(60)));
        let ticket = self.propose_at(
            id,
            &Command::SendMessages {
                queue: QUEUE,
                delay: None,
                bodies: vec![body.clone()],
            },
        );
        self.bodies.insert(ticket, body);
        ticket
    }

    pub(crate) fn send(&mut self) -> Ticket {
        let leader = self.leader();
        self.send_at(leader)
    }

    /// Sends until the memory of the leader does not hold all of it.
    pub(crate) fn send_many(&mut self, messages: usize) {
        for _ in 0..messages {
            let ticket = self.send();
            self.settle();
            assert!(self.is_acknowledged(ticket));
        }
    }

    pub(crate) fn receive_at(&mut self, id: u64, queue: QueueId, wait: u64) -> Ticket {
        let ticket = self.hand_in_receive(id, queue, wait);
        self.turn(id);
        ticket
    }

    /// Hands in a receive without ending the turn.
    pub(crate) fn hand_in_receive(&mut self, id: u64, queue: QueueId, wait: u64) -> Ticket {
        let ticket = self.ticket();
        let request = ReceiveRequest {
            queue,
            max: 1,
            visibility: None,
            wait: Some(Millis(wait)),
        };
        self.step(id, Input::Receive { ticket, request });
        ticket
    }

    pub(crate) fn read_at(&mut self, id: u64) -> Ticket {
        let ticket = self.ticket();
        let query = Query::Counts { queue: QUEUE };
        self.step(id, Input::Read { ticket, query });
        self.turn(id);
        ticket
    }

    pub(crate) fn change(&mut self, steps: &[MembershipStep]) {
        let leader = self.leader();
        let steps = steps.to_vec();
        let change = MembershipChange { steps };
        self.step(leader, Input::ChangeMembership(change));
        self.turn(leader);
    }

    /// Takes a snapshot and forgets the log before it, as maintenance does.
    pub(crate) fn compact(&mut self, id: u64) {
        let image = self.replica(id).image();
        let through = image.applied.index;
        if through > 0 && self.node(id).disk.compact(image.applied, save(&image)) {
            self.step(id, Input::Forgotten { through });
            self.turn(id);
        }
    }

    pub(crate) fn is_acknowledged(&self, ticket: Ticket) -> bool {
        matches!(self.outcomes.get(&ticket), Some(Outcome::Sent(_)))
    }

    pub(crate) fn acknowledged(&self) -> usize {
        let is_sent = |outcome: &&Outcome| matches!(outcome, Outcome::Sent(_));
        self.outcomes.values().filter(is_sent).count()
    }

    pub(crate) fn membership(&self, id: u64) -> Membership {
        self.replica(id).status().membership
    }

    /// Every message that was acknowledged is in this replica's queue, with its body in the log.
    pub(crate) fn check_nothing_lost(&self, id: u64) {
        let live: BTreeSet<_> = {
            let shard = self.replica(id).shard();
            shard.live_between(0, shard.applied()).into_iter().collect()
        };
        for (ticket, outcome) in &self.outcomes {
            let Outcome::Sent(messages) = outcome else {
                continue;
            };
            let sequence = messages[0];
            assert!(live.contains(&sequence), "{ticket:?} is lost on node {id}");
            let payload = &self.payloads[&sequence.index()];
            let body = codec::body(payload, sequence.ordinal());
            assert_eq!(body.as_ref(), Some(&self.bodies[ticket]));
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn look_at(&mut self, id: u64) {
        let replica = self.replica(id);
        let status = replica.status();
        let applied = replica.applied().index;
        let bytes = save(&replica.image());
        assert!(status.applied <= status.commit && status.commit <= status.last);
        if status.role == Role::Leader {
            let leader = *self.leaders.entry(status.term).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {}", status.term);
        }
        if applied > 0 {
            let known = self.states.entry(applied).or_insert_with(|| bytes.clone());
            assert!(*known == bytes, "state {applied} differs on node {id}");
        }
    }

    fn carry_out(&mut self, id: u64, outputs: Vec<Output>) {
        let mut answers = Vec::new();
        for output in outputs {
            match output {
                Output::Append(append) => {
                    self.node(id).disk.queue.push_back(Write::Append(append));
                }
                Output::Install { place } => {
                    let node = self.node(id);
                    node.installs += 1;
                    node.disk.queue.push_back(Write::Install(place));
                }
                Output::Send { to, message } => self.post(id, to, &message, None),
                Output::SendSnapshot { to, place, message } => {
                    let files = self.node(id).offered[&place.index].clone();
                    self.post(id, to, &message, Some((place, files)));
                }
                Output::Fetch {
                    request,
                    first,
                    end,
                    bytes_max,
                } => {
                    let fails = self.log_reads_fail;
                    let node = self.node(id);
                    node.fetches += 1;
                    let mut entries = node.disk.read(first, end, bytes_max);
                    if fails {
                        entries.clear();
                    }
                    answers.push(Input::Fetched { request, entries });
                }
                Output::PrepareSnapshot { at_least } => {
                    answers.push(self.prepare(id, at_least));
                }
                Output::Applied { index, payload } => {
                    let known = self.payloads.entry(index).or_insert(payload.clone());
                    assert_eq!(*known, payload, "entry {index} differs on node {id}");
                }
                Output::Reply { ticket, reply } => self.outcome(
                    ticket,
                    match reply {
                        Reply::Sent { messages } => Outcome::Sent(messages),
                        Reply::Refused(error) => Outcome::Replied(error),
                        _ => Outcome::Other,
                    },
                ),
                Output::Answer { ticket, .. } => self.outcome(ticket, Outcome::Other),
                Output::Refuse { ticket, error } => self.outcome(ticket, Outcome::Refused(error)),
                Output::Failed(failure) => panic!("node {id}: {failure}"),
                Output::Cleared => self.node(id).cleared += 1,
                Output::Effect(_) => self.node(id).effects += 1,
                Output::TimeTold(told) => self.node(id).told = Some(told),
                Output::LeadershipChanged { .. } | Output::MembershipChanged(_) => {}
            }
        }
        let answered = !answers.is_empty();
        for answer in answers {
            self.step(id, answer);
        }
        if answered {
            self.turn(id);
        }
    }

    fn outcome(&mut self, ticket: Ticket, outcome: Outcome) {
        let before = self.outcomes.insert(ticket, outcome);
        assert!(before.is_none(), "{ticket:?} has two outcomes");
    }

    fn prepare(&mut self, id: u64, at_least: u64) -> Input {
        let image = self.replica(id).image();
        let place = image.applied;
        assert!(place.index >= at_least);
        let node = self.node(id);
        node.prepares += 1;
        node.offered.insert(place.index, save(&image));
        let image = read_snapshot(&node.offered[&place.index]).expect("it is a snapshot");
        Input::SnapshotReady {
            snapshot: SnapshotOffer {
                place,
                membership: image.membership,
            },
        }
    }

    fn post(&mut self, from: u64, to: u64, message: &PeerMessage, files: Option<(Place, Vec<u8>)>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!((message.from(), message.to()), (from, to));
        let again = PeerMessage::decode(bytes.clone().into()).expect("it decodes");
        let mut bytes_again = Vec::new();
        again.encode(&mut bytes_again);
        assert_eq!(bytes, bytes_again);
        self.wires.push_back(Wire {
            from,
            to,
            message: bytes.into(),
            files,
        });
    }
}

pub(crate) fn save(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.save(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}

/// Whether the node's disk has an entry that changes the membership.
pub(crate) fn has_membership_entry(node: &Node) -> bool {
    let mut entries = node.disk.log.values();
    entries.any(|entry| entry.kind == StoredKind::Membership)
}
