//! What is damaged here and whole on other nodes: asking for it, giving it, and mending with it, as `anser-host` says.

use std::collections::BTreeMap;

use anser_broker::{id::ShardId, version::ClusterVersion};
use anser_host::{Attempted, Event as HostEvent, Given, Wound};
use anser_log::{Error, Stored};
use anser_replica::Replica;

use super::{Process, copies::send};
use crate::{
    coverage::sometimes,
    event::{Happening, MILLISECOND, Micros},
    world::Common,
};

/// How long an answer is waited for.
const PATIENCE: Micros = 500 * MILLISECOND;
/// About so much is given at once.
const BYTES_MAX: usize = 4 << 10;

/// What other nodes were asked for.
#[derive(Default)]
pub(super) struct Asked {
    counted: u64,
    open: BTreeMap<u64, (ShardId, Wound, u64)>,
}

impl Process {
    pub(super) fn mend_soon(
        &mut self,
        shard: ShardId,
        wound: Wound,
        given: Given,
        common: &mut Common,
    ) {
        let what = Happening::Mend {
            shard,
            wound,
            given,
        };
        self.maintain_later(what, common);
    }

    pub(super) fn mend(&mut self, shard: ShardId, wound: Wound, given: Given, common: &mut Common) {
        let indexes: Vec<u64> = given.keys().copied().collect();
        let image = self.host.image(shard);
        let attempted = match self
            .maintenance
            .host
            .mend(shard, &wound, given, image.as_ref())
        {
            Ok(attempted) => attempted,
            Err(error) => return self.fail_for("mending", &error, common),
        };
        let node = self.node;
        common.trace.say(common.now, || {
            format!("node {node} shard {}: {wound:?}: {attempted:?}", shard.0)
        });
        if !indexes.is_empty() && attempted == Attempted::Mended {
            self.check_mended(shard, &wound, &indexes, common);
            sometimes(if wound.file.starts_with("wal/") {
                "an entry was read from another node and written back"
            } else {
                "a segment was written anew with what another node has"
            });
        }
        let attempted = HostEvent::Attempted {
            shard,
            wound,
            attempted,
        };
        self.tell(attempted, common);
    }

    /// What was damaged and is called mended can be read, as far as anything of it is alive.
    fn check_mended(&self, shard: ShardId, wound: &Wound, indexes: &[u64], common: &mut Common) {
        let state = self.replica(shard.0).map(Replica::shard);
        let is_alive =
            |index: &u64| state.is_none_or(|state| !state.live_between(*index, *index).is_empty());
        for &index in indexes.iter().filter(|index| is_alive(index)) {
            let read = self.reader.read(shard.0, index).err();
            // The log may have the same entry, and that damaged too.
            let is_of_another = |error: &Error| match error {
                Error::Io { .. } => true,
                Error::Corrupt { file, .. } => file.starts_with("wal/") && file != &wound.file,
                _ => false,
            };
            if let Some(error) = read.filter(|error| !is_of_another(error)) {
                let (node, shard) = (self.node, shard.0);
                let text = format!("node {node}, shard {shard}: entry {index} was mended: {error}");
                common.checks.fail(text);
            }
        }
    }

    pub(super) fn ask_for_entries(
        &mut self,
        shard: ShardId,
        wound: Wound,
        to: u64,
        indexes: Vec<u64>,
        common: &mut Common,
    ) {
        self.asked.counted += 1;
        let number = self.asked.counted;
        self.asked.open.insert(number, (shard, wound, to));
        let late = Happening::EntriesGiven {
            number,
            entries: Vec::new(),
        };
        common.later(self.node, self.life, PATIENCE, late);
        let what = Happening::EntriesAsked {
            from: self.node,
            number,
            shard,
            indexes,
        };
        send(self.node, to, 0, what, common);
    }

    /// Another node asks for what it cannot read. A program that does not know the question gives nothing.
    pub(super) fn give_entries(
        &mut self,
        from: u64,
        number: u64,
        shard: ShardId,
        indexes: &[u64],
        common: &mut Common,
    ) {
        let applied = self
            .host
            .replica(shard)
            .map(|replica| replica.applied().index);
        let applied = applied.filter(|_| self.knows() == ClusterVersion::LATEST);
        let entries = self
            .bodies
            .give(shard, applied.unwrap_or(0), indexes, BYTES_MAX);
        let length = common.random.spread(200) * self.slowness;
        let what = Happening::EntriesGiven { number, entries };
        send(self.node, from, length, what, common);
    }

    /// A node has answered, or did not in time.
    pub(super) fn entries_given(&mut self, number: u64, entries: Vec<Stored>, common: &mut Common) {
        let Some((shard, wound, node)) = self.asked.open.remove(&number) else {
            return;
        };
        let given = HostEvent::Given {
            shard,
            wound,
            node,
            entries,
        };
        self.tell(given, common);
    }
}
