//! What a runner does about damage that other nodes may help to mend.

use anser_broker::id::ShardId;
use anser_log::Stored;

use super::Runner;
use crate::{
    clock::Now,
    job::Job,
    mending::{Attempted, Next, Wound},
    writer::entry_of,
};

impl<T> Runner<T> {
    /// What others may have is asked of them first. It is no damage as long as that may help.
    pub(super) fn met_damage(
        &mut self,
        now: &Now,
        shard: ShardId,
        what: String,
        may_pass: bool,
        wound: Option<&Wound>,
    ) {
        let Some(wound) = wound.filter(|_| !may_pass) else {
            return self.note_damage(now, shard, what, may_pass);
        };
        let Some(replica) = self.replica(shard) else {
            return;
        };
        if self.damaged.contains_key(&shard) {
            return;
        }
        // What it has in memory is asked for first.
        let voters = replica.status().membership.voters.into_iter();
        let others = voters.filter(|&node| node != self.node);
        let holders = others.chain([self.node]).collect();
        let next = self.mending.begin(shard, wound, &what, holders);
        self.go_on_mending(now, shard, wound, next);
    }

    pub(super) fn attempted(
        &mut self,
        now: &Now,
        shard: ShardId,
        wound: &Wound,
        attempted: Attempted,
    ) {
        let next = self.mending.attempted(shard, wound, attempted);
        self.go_on_mending(now, shard, wound, next);
    }

    pub(super) fn given(
        &mut self,
        now: &Now,
        shard: ShardId,
        wound: &Wound,
        node: u64,
        entries: Vec<Stored>,
    ) {
        let next = self.mending.given(shard, wound, node, entries);
        self.go_on_mending(now, shard, wound, next);
    }

    /// What is not applied yet nobody else gives, but the replica has it in memory.
    fn remembered(&self, shard: ShardId, indexes: &[u64]) -> Vec<Stored> {
        let Some(replica) = self.replica(shard) else {
            return Vec::new();
        };
        let entries = indexes
            .iter()
            .filter_map(|&index| replica.remembered(index));
        entries
            .map(|entry| Stored::Entry(entry_of(entry)))
            .collect()
    }

    fn go_on_mending(&mut self, now: &Now, shard: ShardId, wound: &Wound, next: Option<Next>) {
        let wound = wound.clone();
        let job = match next {
            None => return,
            Some(Next::GiveUp(what)) => return self.note_damage(now, shard, what, false),
            Some(Next::Attempt(given)) => Job::Mend {
                shard,
                wound,
                given,
            },
            Some(Next::Ask { node, indexes }) if node == self.node => {
                let entries = self.remembered(shard, &indexes);
                return self.given(now, shard, &wound, node, entries);
            }
            Some(Next::Ask { node, indexes }) => Job::AskEntries {
                shard,
                wound,
                to: node,
                indexes,
            },
            Some(Next::Mended) => Job::Mended { shard, wound },
        };
        self.jobs.push_back(job);
    }
}
