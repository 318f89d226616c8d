//! Copies of shards on their way through the simulated network: what they are, and what comes next, `anser-host`
//! says.

use std::{collections::BTreeMap, sync::Arc};

use anser_broker::id::ShardId;
use anser_host::{
    Attempt, COPY_INTERVAL, CopyAnswer, CopyError, Deferred, Event as HostEvent, Incoming,
    InstallError, Missing, Next, Offers, RETRY_INTERVAL, Sending, Sendings, offer_of,
};
use anser_log::{Export, Reader, Store, disk::simulated::SimulatedDisk};
use anser_replica::{PeerMessage, Place};
use bytes::Bytes;

use super::{Process, maintenance::since_the_beginning};
use crate::{
    checks::LogView,
    coverage::sometimes,
    event::{CopyAsk, Event, Happening, MILLISECOND, micros},
    world::Common,
};

const CHUNK_BYTES: usize = 8 << 10;
/// Of one copy in five: so slow that much is written while it is on its way.
const SLOW_CHUNK_BYTES: usize = 512;
const SLOW_PAUSE: u64 = 100 * MILLISECOND;
/// How long an answer is waited for.
const PATIENCE: u64 = 500 * MILLISECOND;

pub(super) struct Copies {
    pub(super) offers: Offers<SimulatedDisk>,
    sendings: Sendings,
    outgoing: BTreeMap<u64, Outgoing>,
    counted: u64,
    incoming: Incoming<SimulatedDisk>,
}

struct Outgoing {
    shard: ShardId,
    to: u64,
    export: Arc<Export<SimulatedDisk>>,
    message: Bytes,
    sending: Sending,
    /// Counts the questions, so that an old timeout is known.
    asked: u64,
    is_slow: bool,
}

impl Outgoing {
    /// Once the chaos has ended all come as fast as they can.
    fn is_slow_now(&self, common: &Common) -> bool {
        self.is_slow && common.healed.is_none()
    }
}

impl Copies {
    pub(super) fn new(
        store: Store<SimulatedDisk>,
        reader: Reader<SimulatedDisk>,
        reserve_bytes: u64,
    ) -> Self {
        Self {
            offers: Offers::default(),
            sendings: Sendings::default(),
            outgoing: BTreeMap::new(),
            counted: 0,
            incoming: Incoming::new(store, reader, reserve_bytes),
        }
    }

    /// How many are on their way from here.
    pub(super) fn outgoing(&self) -> usize {
        self.outgoing.len()
    }

    /// How much came of a shard that no replica has accepted.
    pub(super) fn coming_bytes(&self, shard: ShardId) -> u64 {
        self.incoming.coming_bytes(shard)
    }

    /// How many came that no replica has accepted.
    pub(super) fn unaccepted(&self) -> usize {
        self.incoming.unaccepted()
    }
}

impl Process {
    /// Sends the files of the offer, then the message.
    pub(super) fn send_copy(
        &mut self,
        shard: ShardId,
        to: u64,
        place: Place,
        message: &PeerMessage,
        common: &mut Common,
    ) {
        let now = since_the_beginning(common);
        let holds = &mut self.maintenance.holds;
        holds.copying(shard.0, to, place.index, now);
        let Some(export) = self.copies.offers.take(shard, place.index, now) else {
            let arrived = false;
            return self.tell(HostEvent::SnapshotSent { shard, to, arrived }, common);
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.copies.counted += 1;
        let transfer = self.copies.counted;
        let outgoing = Outgoing {
            shard,
            to,
            export,
            message: bytes.into(),
            sending: self.copies.sendings.begin(shard, to),
            asked: 0,
            is_slow: common.random.permille(200),
        };
        self.copies.outgoing.insert(transfer, outgoing);
        self.go_on(transfer, &Next::Begin, common);
    }

    fn go_on(&mut self, transfer: u64, next: &Next, common: &mut Common) {
        let Some(outgoing) = self.copies.outgoing.get(&transfer) else {
            return;
        };
        let shard = outgoing.shard;
        let ask = match *next {
            Next::Begin => CopyAsk::Begin {
                shard,
                offer: offer_of(&outgoing.export),
            },
            // The time that was waited for an answer was long enough.
            Next::BeginAgain => {
                sometimes("a copy was resumed after a broken connection");
                CopyAsk::Begin {
                    shard,
                    offer: offer_of(&outgoing.export),
                }
            }
            Next::Chunk(file, offset) => {
                let most = if outgoing.is_slow_now(common) {
                    SLOW_CHUNK_BYTES
                } else {
                    CHUNK_BYTES
                };
                let bytes = match outgoing.export.read(file, offset, most) {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        let text = format!("node {}: a copy cannot be read: {error}", self.node);
                        if !self.is_excused(&error) {
                            common.checks.fail(text);
                        }
                        return self.end_copy(transfer, false, common);
                    }
                };
                CopyAsk::Chunk {
                    shard,
                    file,
                    offset,
                    bytes: bytes.into(),
                }
            }
            Next::End => CopyAsk::End {
                shard,
                message: outgoing.message.clone(),
            },
            Next::Arrived => return self.end_copy(transfer, true, common),
            Next::GivenUp(_) => return self.end_copy(transfer, false, common),
            Next::Dropped => {
                sometimes("a copy was dropped for a newer one");
                self.copies.outgoing.remove(&transfer);
                return;
            }
        };
        self.ask(transfer, ask, common);
    }

    fn ask(&mut self, transfer: u64, ask: CopyAsk, common: &mut Common) {
        let Some(outgoing) = self.copies.outgoing.get_mut(&transfer) else {
            return;
        };
        outgoing.asked += 1;
        let attempt = outgoing.asked;
        let to = outgoing.to;
        let pause = if outgoing.is_slow_now(common) {
            SLOW_PAUSE
        } else {
            0
        };
        let length = pause + micros(COPY_INTERVAL) + PATIENCE;
        let late = Happening::CopyLate { transfer, attempt };
        common.later(self.node, self.life, length, late);
        let from = self.node;
        let what = Happening::Copy {
            from,
            transfer,
            ask,
        };
        send(from, to, pause, what, common);
    }

    /// The other side did not answer in time.
    pub(super) fn copy_late(&mut self, transfer: u64, attempt: u64, common: &mut Common) {
        let outgoing = self.copies.outgoing.get_mut(&transfer);
        if let Some(outgoing) = outgoing.filter(|outgoing| outgoing.asked == attempt) {
            let next = outgoing.sending.heard(Err("no answer".into()));
            self.go_on(transfer, &next, common);
        }
    }

    pub(super) fn told(&mut self, transfer: u64, told: CopyAnswer, common: &mut Common) {
        if let Some(outgoing) = self.copies.outgoing.get_mut(&transfer) {
            let next = outgoing.sending.heard(Ok(told));
            self.go_on(transfer, &next, common);
        }
    }

    /// Breaks off the copies of a shard, but for those to nodes that `stay`.
    pub(super) fn end_copies(&mut self, shard: u16, stay: impl Fn(u64) -> bool) {
        self.copies.sendings.end(ShardId(shard), stay);
    }

    fn end_copy(&mut self, transfer: u64, arrived: bool, common: &mut Common) {
        let Some(Outgoing { shard, to, .. }) = self.copies.outgoing.remove(&transfer) else {
            return;
        };
        if !arrived {
            sometimes("a copy was given up");
        }
        self.tell(HostEvent::SnapshotSent { shard, to, arrived }, common);
    }

    /// Takes in what another node sends, and answers.
    pub(super) fn take_copy(
        &mut self,
        from: u64,
        transfer: u64,
        ask: CopyAsk,
        common: &mut Common,
    ) {
        let incoming = &mut self.copies.incoming;
        let before = incoming.taken;
        let missing = |missing: Result<Missing, CopyError>| missing.map(CopyAnswer::Missing);
        let taken = match ask {
            CopyAsk::Begin { shard, offer } => missing(incoming.begin(from, shard, offer)),
            CopyAsk::Chunk {
                shard,
                file,
                offset,
                bytes,
            } => missing(incoming.chunk(from, shard, file, offset, &bytes)),
            CopyAsk::End { shard, message } => {
                let ended = incoming.end(from, shard, &message);
                ended.map(|message| {
                    self.tell(HostEvent::Peer { shard, message }, common);
                    CopyAnswer::Reached
                })
            }
        };
        let after = self.copies.incoming.taken;
        if after.repeated > before.repeated {
            sometimes("a copy that had arrived did not come again");
        }
        if after.renewed > before.renewed {
            sometimes("a newer copy went on with the segments of one that was broken off");
        }
        if matches!(taken, Err(CopyError::NoRoom { .. })) {
            sometimes("a copy was refused for lack of room");
        }
        let told = taken.unwrap_or_else(|reason| CopyAnswer::Refused(reason.to_string()));
        let length = common.random.spread(200) * self.slowness;
        let what = Happening::Told { transfer, told };
        send(self.node, from, length, what, common);
    }

    /// What was to be done after all appends before it.
    pub(super) fn deferred(&mut self, deferred: Deferred, common: &mut Common) {
        let attempt = self.copies.incoming.take(deferred);
        self.tried(deferred.shard(), attempt, common);
    }

    /// What could not be done with a shard is tried again.
    pub(super) fn try_again(&mut self, shard: ShardId, common: &mut Common) {
        let attempt = self.copies.incoming.try_again(shard);
        self.tried(shard, attempt, common);
    }

    fn tried(&mut self, shard: ShardId, attempt: Attempt<u64>, common: &mut Common) {
        match attempt {
            Attempt::Done(event) => {
                match &event {
                    HostEvent::Installed { place, .. } => {
                        self.watch_install(shard.0, *place, common);
                    }
                    _ => self.watch_forgetting(shard.0, common),
                }
                self.tell(event, common);
            }
            Attempt::Again(_) => {
                sometimes("a copy, or the end of a replica, waited for the disk");
                let what = Happening::TryAgain { shard };
                common.later(self.node, self.life, micros(RETRY_INTERVAL), what);
            }
            Attempt::Void => {}
            Attempt::Failed(error) => {
                let what = format!("a copy of shard {}", shard.0);
                if let InstallError::Log(error) = &error {
                    return self.fail_for(&what, error, common);
                }
                let text = format!("node {}: {what}: {error}", self.node);
                common.checks.fail(text);
                self.fail(what);
            }
        }
    }

    fn watch_install(&mut self, shard: u16, place: Place, common: &mut Common) {
        common.checks.installed(self.node, shard, place);
        sometimes("a snapshot was installed");
        let replica = self.replica(shard);
        if replica.is_some_and(|replica| replica.applied().index > 0) {
            sometimes("a snapshot was installed over an older state");
        }
        if self.forgotten.contains(&shard) {
            sometimes("a node that was forgotten came again");
        }
        if !common.led.contains_key(&shard) {
            sometimes("a snapshot was installed while its shard had no leader");
        }
        let node = self.node;
        common.trace.say(common.now, || {
            format!("node {node} shard {shard} has installed {place:?}")
        });
        if let Some(watched) = self.watched.get_mut(&shard) {
            watched.view = LogView::new(place.index, place.term);
            watched.applied = place.index;
        }
    }

    fn watch_forgetting(&mut self, shard: u16, common: &mut Common) {
        sometimes("a removed replica was forgotten");
        self.forgotten.insert(shard);
        common.checks.forgotten(self.node, shard);
    }
}

/// Something of a copy goes to a node, unless it is lost.
pub(super) fn send(from: u64, to: u64, pause: u64, what: Happening, common: &mut Common) {
    let Some(&life) = common.lives.get(&to) else {
        return;
    };
    let arrivals = common
        .network
        .arrivals(from, to, common.now, &mut common.random);
    if let Some(&at) = arrivals.first() {
        let node = to;
        common
            .agenda
            .add(at + pause, Event::Node { node, life, what });
    }
}
