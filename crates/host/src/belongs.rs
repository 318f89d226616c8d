//! To whom a log belongs, by what it says itself: the nodes that its shards' memberships name.
//!
//! The file that says which node a data folder is may be gone, and the log must not be taken for that of a server for
//! itself then: it has promised votes, and holds copies of what others decide.

use std::collections::BTreeSet;

use anser_log::{Disk, Entry, EntryKind, Opened, Reader, RecoveredShard};
use anser_replica::{Membership, MembershipChange, MembershipStep};

use crate::snapshots;

/// Bytes of entries read at once.
const READ_BYTES: u64 = 8 << 20;

/// Every node that any membership names, committed or not. What cannot be read says nothing.
pub fn nodes_of<D: Disk>(log: &Opened<D>) -> BTreeSet<u64> {
    let mut nodes = BTreeSet::new();
    for recovered in &log.shards {
        if let Ok(Some((state, _))) = snapshots::read(&log.reader, recovered.shard) {
            nodes.extend(members(&state.membership));
        }
        add_changes(&log.reader, recovered, &mut nodes);
    }
    nodes
}

fn members(membership: &Membership) -> impl Iterator<Item = u64> {
    let Membership {
        voters,
        learners,
        voters_outgoing,
        learners_next,
        ..
    } = membership;
    let all = [voters, learners, voters_outgoing, learners_next];
    all.into_iter().flatten().copied()
}

/// Adds the nodes that changes of the membership in the shard's entries name.
fn add_changes<D: Disk>(reader: &Reader<D>, recovered: &RecoveredShard, to: &mut BTreeSet<u64>) {
    let (shard, last) = (recovered.shard, recovered.last_index);
    let mut next = recovered.first_index;
    while next <= last {
        let Ok(entries) = reader.entries(shard, next, last + 1, READ_BYTES) else {
            return;
        };
        for entry in entries {
            next = entry.index + 1;
            to.extend(named_by(&entry));
        }
    }
}

/// The nodes that an entry names, if it is a change of the membership.
pub(crate) fn named_by(entry: &Entry) -> Vec<u64> {
    if entry.kind == EntryKind::Normal {
        return Vec::new();
    }
    let Ok(change) = MembershipChange::decode(&entry.data) else {
        return Vec::new();
    };
    let nodes = change.steps.iter().map(|step| match *step {
        MembershipStep::AddVoter(node)
        | MembershipStep::AddLearner(node)
        | MembershipStep::Remove(node) => node,
    });
    nodes.collect()
}

#[cfg(test)]
mod tests {
    use anser_broker::{id::ShardId, shard::Shard};
    use anser_log::{Change, Log, Options, Write, disk::simulated::SimulatedDisk};
    use anser_replica::{Image, Place};

    use super::*;

    /// A log of one shard, whose snapshot has these voters, with a change behind it.
    fn log_of(voters: &[u64], change: Option<MembershipStep>) -> Opened<SimulatedDisk> {
        let disk = SimulatedDisk::default();
        let open = || Log::open(disk.clone(), Options::default()).unwrap();
        let membership = Membership {
            voters: voters.to_vec(),
            ..Membership::default()
        };
        let place = Place { index: 1, term: 1 };
        let image = Image::initial(place, membership, Shard::new(ShardId(0), 1));
        let mut log = open();
        let snapshot = snapshots::save(&log.store, 0, &image).unwrap();
        let snapshot = Change {
            snapshot: Some(snapshot),
            ..Change::default()
        };
        log.store.commit(0, snapshot).unwrap();
        let entries = change.map(|step| Entry {
            index: 2,
            term: 1,
            kind: EntryKind::ChangeV2,
            data: MembershipChange { steps: vec![step] }.encode(),
        });
        let write = Write {
            shard: 0,
            hard_state: None,
            entries: entries.into_iter().collect(),
        };
        log.appender.append(&[write]).unwrap();
        drop(log);
        open()
    }

    #[test]
    fn a_log_names_the_nodes_that_it_belongs_to() {
        let nodes = |voters: &[u64], change| Vec::from_iter(nodes_of(&log_of(voters, change)));
        assert_eq!(nodes(&[1], None), [1]);
        assert_eq!(nodes(&[1, 2, 3], None), [1, 2, 3]);
        assert_eq!(nodes(&[1], Some(MembershipStep::AddLearner(2))), [1, 2]);
        let empty = Log::open(SimulatedDisk::default(), Options::default()).unwrap();
        assert!(nodes_of(&empty).is_empty());
    }
}
