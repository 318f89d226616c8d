//! The events around a runner of `anser-host`: what happens is told to it, and what its shards ask for is carried
//! out in the simulated world, under the eyes of the judges.

use anser_broker::{
    command::Effect,
    id::ShardId,
    time::{Stamp, Timestamp},
};
use anser_host::{Deferred, Event as HostEvent, Job, Port as _, WriterJob};
use anser_log::Error;
use anser_replica::{Append, Membership, MembershipChange, PeerMessage, Replica, Role, StoredKind};
use bytes::Bytes;

use super::{Process, Watched};
use crate::{
    checks::Led,
    coverage::sometimes,
    event::{Event, Fetching, Happening, MILLISECOND, Micros, SECOND},
    random,
    world::Common,
};

/// The state is hashed after every so many entries.
const HASHED_EVERY: u64 = 16;

impl Process {
    /// The first events of a life.
    pub(crate) fn begin(&mut self, common: &mut Common) {
        let first = common.random.below(150 * MILLISECOND);
        common.later(self.node, self.life, first, Happening::Maintain);
        for (&shard, watched) in &self.watched {
            if let Some(time) = self.time_of(shard, common.now) {
                let most = common.plan.time_off_max;
                let checks = &mut common.checks;
                checks.begins_at((self.node, shard), time, common.now, most);
            }
            let (index, membership) = (watched.applied, &watched.membership);
            common.checks.membership(shard, index, membership);
            self.hash_state(shard, common);
        }
        self.begin_among_nodes(common);
        self.turn_soon(common);
    }

    /// Takes one event, and lets the tasks that waited for it go on.
    pub(crate) fn take(&mut self, what: Happening, common: &mut Common) {
        self.take_one(what, common);
        self.run_tasks(common);
    }

    fn take_one(&mut self, what: Happening, common: &mut Common) {
        match what {
            Happening::Wake => {
                self.wakes_at = None;
                self.turn_soon(common);
            }
            Happening::Turn => self.turn(common),
            Happening::Peer { shard, bytes } => self.peer(shard, bytes, common),
            Happening::Request(request) => self.request(request),
            Happening::Cancel { request } => self.cancel(request),
            Happening::Written | Happening::WriteAgain => self.written(common),
            Happening::Fetch(fetching) => self.fetch(fetching, common),
            Happening::Deliver { ticket, leases } => {
                self.deliver_from_disk(ticket, &leases, common);
            }
            Happening::Maintain => self.maintain(common),
            Happening::MaintainEnd => self.end_maintenance(common),
            Happening::SweepEnd => self.end_sweep(common),
            Happening::Offer { shard } => self.offer(shard, common),
            Happening::OfferEnd { shard } => self.end_offer(shard, common),
            Happening::Mend {
                shard,
                wound,
                given,
            } => self.mend(shard, wound, given, common),
            Happening::EntriesAsked {
                from,
                number,
                shard,
                indexes,
            } => self.give_entries(from, number, shard, &indexes, common),
            Happening::EntriesGiven { number, entries } => {
                self.entries_given(number, entries, common);
            }
            Happening::Copy {
                from,
                transfer,
                ask,
            } => self.take_copy(from, transfer, ask, common),
            Happening::Told { transfer, told } => self.told(transfer, told, common),
            Happening::CopyLate { transfer, attempt } => self.copy_late(transfer, attempt, common),
            Happening::Deferred(deferred) => self.deferred(deferred, common),
            Happening::TryAgain { shard } => self.try_again(shard, common),
            of_tasks => self.take_for_tasks(of_tasks, common),
        }
    }

    fn take_for_tasks(&mut self, what: Happening, common: &mut Common) {
        match what {
            Happening::Asked { caller, request } => self.asked(caller, request),
            Happening::Unasked { caller } => self.unasked(caller),
            Happening::Answered { number, response } => self.answered(number, response),
            Happening::PeerLost { number } => self.peer_lost(number, common),
            Happening::LookAt { number } => self.look_at(number, common),
            // Whoever slept may be gone.
            Happening::Slept(responder) => drop(responder.send(())),
            Happening::ReadBodies(reading) => self.read_bodies(reading, common),
            of_the_cluster => self.take_among_nodes(of_the_cluster, common),
        }
    }

    /// Tells the runner what has happened.
    pub(super) fn tell(&mut self, event: HostEvent<u64>, common: &mut Common) {
        self.host.take(&self.clock.now(common.now), event);
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
        let now = self.clock.now(common.now);
        self.host.end_turns(&now);
        while let Some(job) = self.host.next_job() {
            self.carry_out(job, common);
        }
        // Only now: the routes are as the catalog says.
        if let Some(index) = self.catalog_applied.take() {
            self.port.catalog().set(index);
        }
        for &shard in self.host.turned() {
            if let Some((term, Some(leader))) = self.host.replica(shard).map(Replica::leader)
                && leader != self.node
            {
                self.port.leaders().heard(shard, term, leader);
            }
        }
        for node in std::mem::take(&mut self.unsent) {
            self.port.leaders().lost(node);
            self.host.unsent(&now, node);
        }
        self.look(common);
        self.sleep(common);
    }

    /// Wakes again when something is due by itself.
    fn sleep(&mut self, common: &mut Common) {
        let wakes = self.host.next_wake().into_iter();
        let Some(at) = wakes.chain(self.host.next_tick()).min() else {
            return;
        };
        let at = self.clock.moment(at).max(common.now + 1);
        if self.wakes_at.is_none_or(|known| at < known) {
            self.wakes_at = Some(at);
            common.later(self.node, self.life, at - common.now, Happening::Wake);
        }
    }

    fn carry_out(&mut self, job: Job<u64>, common: &mut Common) {
        match job {
            Job::Write(job) => self.write_soon(job, common),
            Job::Respond { asker, response } => self.respond(asker, response, common),
            Job::HandOver {
                asker,
                leases,
                messages,
            } => self.deliver(asker, &leases, messages, common),
            Job::Deliver { asker, leases } => self.deliver_soon(asker, leases, common),
            Job::Applied { shard, index } => self.applied(shard.0, index, common),
            Job::Effect { shard, effect } => self.heed(shard, effect),
            Job::NodesChanged(catalog) => self.nodes_changed(catalog, common),
            Job::CatalogReplaced {
                routes,
                nodes,
                applied,
            } => {
                self.port.routes().replace(&routes);
                self.port.catalog().set(applied);
                self.nodes_changed(nodes, common);
            }
            Job::Leadership { shard, term, leads } => {
                self.port.leaders().serves(shard, term, leads);
                self.leadership(shard.0, leads, common);
            }
            Job::Failed { shard, reason } => {
                // What is read has checksums: no damage ever gets as far as a replica.
                let text = format!("node {}, shard {}: {reason}", self.node, shard.0);
                common.checks.fail(text);
                self.fail(format!("shard {}: {reason}", shard.0));
            }
            among_peers => self.carry_out_among_peers(among_peers, common),
        }
    }

    fn heed(&self, shard: ShardId, effect: Effect) {
        match effect {
            Effect::RouteChanged(placed) => self.port.routes().change(&placed),
            Effect::MovesPending { queue } => self.transfers.carry(shard, queue),
            Effect::Unsettled(placed) => self.reconciler.place(&placed),
            Effect::OutboxReady { .. }
            | Effect::NodesChanged
            | Effect::QueueReady { .. }
            | Effect::QueueGone { .. } => {}
        }
    }

    fn carry_out_among_peers(&mut self, job: Job<u64>, common: &mut Common) {
        match job {
            Job::Send { to, shard, message } => self.send_peer(shard.0, to, &message, common),
            Job::Fetch {
                shard,
                request,
                range,
                bytes_max,
            } => {
                let fetching = Fetching {
                    shard,
                    request,
                    range,
                    bytes_max,
                };
                // Where nothing goes wrong nobody waits for a disk for seconds: lateness is judged there.
                let is_slow = common.random.permille(250) && !common.plan.is_calm();
                let usual = if is_slow { 4 * SECOND } else { 300 };
                // A shard has a leader, and its followers what it has, within a while after the chaos.
                let length = common.random.spread(usual) * self.slowness;
                let length = length.min(10 * SECOND);
                common.later(self.node, self.life, length, Happening::Fetch(fetching));
            }
            Job::Offer { shard } => {
                let length = common.random.spread(300);
                let what = Happening::Offer { shard };
                common.later(self.node, self.life, length, what);
            }
            Job::Mend {
                shard,
                wound,
                given,
            } => self.mend_soon(shard, wound, given, common),
            Job::AskEntries {
                shard,
                wound,
                to,
                indexes,
            } => self.ask_for_entries(shard, wound, to, indexes, common),
            Job::SendCopy {
                shard,
                to,
                place,
                message,
            } => self.send_copy(shard, to, place, &message, common),
            Job::Members { shard, membership } => self.members(shard.0, &membership, common),
            Job::Began { shard } => {
                self.watched.insert(shard.0, Watched::default());
            }
            Job::Installed { .. } | Job::Mended { .. } => {}
            Job::Cleared { shard } => {
                self.tell_cleared(shard.0, common);
                if self.suspects.remove(&shard.0) && self.suspects.is_empty() {
                    self.clear_suspicion(common);
                }
            }
            other => unreachable!("carried out elsewhere: {other:?}"),
        }
    }

    fn write_soon(&mut self, job: WriterJob, common: &mut Common) {
        match &job {
            WriterJob::Append { shard, append } => self.watch_append(shard.0, append, common),
            WriterJob::Defer(Deferred::Install { shard, place }) => {
                let (node, shard) = (self.node, shard.0);
                common.trace.say(common.now, || {
                    format!("node {node} shard {shard} installs {place:?}")
                });
            }
            WriterJob::Defer(Deferred::Forget { shard, damaged, .. }) => {
                if *damaged {
                    sometimes("what is damaged was set aside");
                }
                let (node, shard) = (self.node, shard.0);
                common.trace.say(common.now, || {
                    format!("node {node} shard {shard} is let go of")
                });
                self.watched.remove(&shard);
                common.checks.forgetting(node, shard);
            }
            // What comes of it is a failure of the run.
            WriterJob::Defer(Deferred::Lose { .. }) => {}
        }
        self.give_writer(job, common);
    }

    fn watch_append(&mut self, shard: u16, append: &Append, common: &mut Common) {
        let watched = self.watched.get_mut(&shard).expect("it has just spoken");
        if let Some(first) = append.entries.first()
            && first.index <= watched.view.last()
        {
            sometimes("an entry was overwritten by another term's");
        }
        for entry in &append.entries {
            if entry.kind == StoredKind::Membership
                && let Ok(change) = MembershipChange::decode(&entry.data)
                && let Some(coming) = watched.membership.after(&change)
            {
                common.aims.written(shard, entry.index, coming.voters);
            }
        }
        common
            .checks
            .appended(self.node, shard, &mut watched.view, &append.entries);
        let program = (self.node, self.port.versions().knows());
        let unreadable = common.checks.appended_by(program, shard, &append.entries);
        watched.unreadable = watched.unreadable.or(unreadable);
    }

    fn applied(&mut self, shard: u16, index: u64, common: &mut Common) {
        if ShardId(shard) == ShardId::CATALOG {
            self.catalog_applied = Some(index);
        }
        let watched = self.watched.get_mut(&shard).expect("it has just spoken");
        watched.applied = index;
        if watched.unreadable.is_some_and(|first| first <= index) {
            self.cannot_read(shard, index, common);
        }
        let watched = &self.watched[&shard];
        let replica = self.host.replica(ShardId(shard));
        let within = replica.map_or(u64::MAX, |replica| replica.leader().0);
        let (view, membership) = (&watched.view, &watched.membership);
        common
            .checks
            .applied(self.node, shard, (index, within), view, membership);
        // Before it is said to lead, its time is not the shard's.
        if common.led.get(&shard) == Some(&self.node) {
            self.tell_time(shard, common);
        }
    }

    fn leadership(&mut self, shard: u16, leads: bool, common: &mut Common) {
        common
            .trace
            .numbers(&[2, self.node, shard.into(), leads.into()]);
        let (node, now) = (self.node, common.now);
        common
            .trace
            .say(now, || format!("node {node} shard {shard} leads: {leads}"));
        if leads {
            common.led.insert(shard, node);
            self.tell_time(shard, common);
            return self.hurry(common);
        }
        if common.led.get(&shard) == Some(&node) {
            common.led.remove(&shard);
        }
        self.end_copies(shard, |_| false);
    }

    fn members(&mut self, shard: u16, membership: &Membership, common: &mut Common) {
        let serves = self.serves(shard);
        let watched = self.watched.get_mut(&shard).expect("it has just spoken");
        if watched.membership.is_empty() {
            common.checks.began(self.node, shard, membership);
        }
        let promoted = |node: &u64| watched.membership.learners.contains(node);
        if membership.voters.iter().any(promoted) {
            sometimes("a learner became a voter");
        }
        if membership.is_joint() && serves {
            sometimes("a leader applied a joint membership");
        }
        let (node, now) = (self.node, common.now);
        common.trace.say(now, || {
            format!(
                "node {node} shard {shard} members {:?} learners {:?} leaving {:?}",
                membership.voters, membership.learners, membership.voters_outgoing
            )
        });
        common.checks.membership(shard, watched.applied, membership);
        watched.membership = membership.clone();
        self.end_copies(shard, |node| membership.contains(node));
    }

    /// A program that is older than what its copy of the catalog says stops there, before anything is told of it: it may have applied
    /// the entry that says so a moment before.
    fn cannot_read(&mut self, shard: u16, index: u64, common: &mut Common) {
        let catalog = self.host.replica(ShardId::CATALOG).map(Replica::shard);
        let is_too_old = catalog.is_some_and(|catalog| catalog.version() > self.knows());
        let node = self.node;
        if ShardId(shard) == ShardId::CATALOG && is_too_old {
            return self.fail(format!("entry {index} is of a newer program"));
        }
        common.checks.fail(format!(
            "node {node}, shard {shard}: applied what its program cannot read, up to entry {index}"
        ));
    }

    /// Tells the judge of a suspect that stands, and has just learnt that it lacks nothing.
    fn tell_cleared(&self, shard: u16, common: &mut Common) {
        let status = self.replica(shard).map(Replica::status);
        let standing = status.filter(|status| status.role == Role::Candidate);
        if let Some(status) = standing {
            common.checks.cleared(self.node, shard, status.term);
        }
    }

    fn clear_suspicion(&mut self, common: &mut Common) {
        sometimes("a suspect was cleared");
        self.is_noted_suspect = false;
        if let Err(error) = self.store.clear_suspicion() {
            if !matches!(error, anser_log::Error::NoSpace { .. }) {
                return self.fail_for("clearing the suspicion", &error, common);
            }
            self.is_noted_suspect = true;
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
            self.unsent.insert(to);
            return;
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

    /// A message of consensus has arrived.
    pub(super) fn peer(&mut self, shard: u16, bytes: Bytes, common: &mut Common) {
        common.trace.add(&bytes);
        match PeerMessage::decode(bytes) {
            Ok(message) => {
                let shard = ShardId(shard);
                self.tell(HostEvent::Peer { shard, message }, common);
            }
            Err(error) => {
                let text = format!("a message cannot be read: {error}");
                common.checks.fail(text);
            }
        }
    }

    fn fetch(&mut self, fetching: Fetching, common: &mut Common) {
        let Fetching {
            shard,
            request,
            range,
            bytes_max,
        } = fetching;
        let read = self.bodies.entries(shard, &range, bytes_max);
        match &read {
            Ok(_) => sometimes("a follower was fed from the log"),
            Err(Error::Compacted { .. } | Error::Missing { .. }) => {
                sometimes("a fetch found that the log had been recycled");
            }
            Err(error) if self.is_excused(error) => {
                sometimes("a follower could not be fed from a damaged log");
                if let Some(damaged) = HostEvent::damaged(shard, error) {
                    self.tell(damaged, common);
                }
            }
            Err(error) => {
                let (node, shard) = (self.node, shard.0);
                let text = format!("node {node}, shard {shard}: entries cannot be read: {error}");
                common.checks.fail(text);
            }
        }
        let fetched = HostEvent::Fetched {
            shard,
            request,
            entries: read.unwrap_or_default(),
        };
        self.tell(fetched, common);
    }

    /// Looks at the replicas whose turns have ended.
    fn look(&mut self, common: &mut Common) {
        for &shard in self.host.turned() {
            let Some(replica) = self.host.replica(shard) else {
                continue;
            };
            let watched = self.watched.get_mut(&shard.0).expect("it is here");
            let (shard, status) = (shard.0, replica.status());
            common.checks.term(self.node, shard, status.term);
            if status.role == Role::Leader {
                let now = common.now;
                common.checks.believed(shard, self.node, &status, now);
            }
            if status.role == Role::Leader && watched.led != status.term {
                if status.term > watched.led + 3 && watched.led > 0 {
                    sometimes("an election needed several terms");
                }
                watched.led = status.term;
                common
                    .checks
                    .leads(self.node, shard, &status, &watched.view);
                common.statistics.elections += 1;
                common
                    .trace
                    .numbers(&[3, self.node, shard.into(), status.term]);
            }
            let index = replica.applied().index;
            if index > 0 {
                let fingerprint = replica.shard().fingerprint();
                common
                    .checks
                    .fingerprint(self.node, shard, index, fingerprint);
            }
            if index / HASHED_EVERY != watched.hashed / HASHED_EVERY {
                watched.hashed = index;
                common.trace.numbers(&[4, self.node, shard.into(), index]);
                if index.is_multiple_of(4) {
                    self.hash_state(shard, common);
                }
            }
        }
    }

    /// The time of a shard here. Until something was done with it, it has none that anybody relies on.
    fn time_of(&self, shard: u16, now: Micros) -> Option<Timestamp> {
        let replica = self.replica(shard)?;
        let is_stamped = replica.shard().now() != Stamp::default();
        let time = self.host.time_of(ShardId(shard), &self.clock.now(now));
        time.filter(|_| is_stamped)
    }

    /// Tells the judges by what time a replica leads.
    pub(crate) fn tell_time(&self, shard: u16, common: &mut Common) {
        let serving = self.replica(shard).filter(|replica| replica.serves());
        let time = self.time_of(shard, common.now);
        if let Some((replica, time)) = serving.zip(time) {
            let (term, _) = replica.leader();
            let led = Led {
                term,
                time,
                stamp: replica.shard().now().now,
            };
            common.checks.leads_at((self.node, shard), led, common.now);
        }
    }

    /// Compares a shard's whole state with that of others.
    pub(crate) fn hash_state(&self, shard: u16, common: &mut Common) {
        let Some(replica) = self.replica(shard) else {
            return;
        };
        let image = replica.image();
        if image.applied.index == 0 {
            return;
        }
        let mut sum = image.applied.term;
        image.save(&mut |piece| sum = random::hash(sum, piece));
        common.statistics.states += 1;
        common
            .checks
            .state((self.node, shard), image.applied.index, sum, common.now);
    }
}
