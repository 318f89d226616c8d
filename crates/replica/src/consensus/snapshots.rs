//! Snapshots: asked for, sent to those who are too far behind, and taken over.

use raft::{Ready, SnapshotStatus};

use super::{Consensus, Installing, PREPARE_TICKS};
use crate::{
    Membership, SnapshotOffer,
    settling::{Settled, Settling},
    tail::Place,
};

impl Consensus {
    pub(crate) fn snapshot_ready(&mut self, offer: SnapshotOffer) {
        self.preparing = None;
        if offer.place.index > self.node.raft.raft_log.applied {
            return;
        }
        self.node.mut_store().offer(offer);
        let first = self.node.raft.raft_log.first_index();
        self.send_to(|next| next < first);
    }

    pub(crate) fn snapshot_sent(&mut self, to: u64, arrived: bool) {
        let status = if arrived {
            SnapshotStatus::Finish
        } else {
            self.node.mut_store().withdraw_offer();
            SnapshotStatus::Failure
        };
        self.node.report_snapshot(to, status);
    }

    /// Whether the snapshot at this place is the one that is being installed, with these members.
    pub(crate) fn awaits(&self, place: Place) -> Option<&Membership> {
        let installing = self.installing.as_ref()?;
        (installing.place == place).then_some(&installing.membership)
    }

    /// The awaited snapshot is durable and in use.
    pub(crate) fn installed(&mut self) {
        let installing = self.installing.take().expect("a snapshot is awaited");
        self.membership = installing.membership;
        self.settling = Settling::new(Settled {
            membership: self.membership.clone(),
            index: installing.place.index,
        });
        self.restored = Some(installing.place.index);
        self.differs = false;
        self.persist();
    }

    /// The index that a snapshot must cover, if one is to be prepared.
    pub(crate) fn take_wanted_snapshot(&mut self) -> Option<u64> {
        let at_least = self.node.mut_store().take_wanted_snapshot()?;
        let is_asked = |since| since + PREPARE_TICKS > self.ticks;
        if self.preparing.is_some_and(is_asked) {
            return None;
        }
        self.preparing = Some(self.ticks);
        Some(at_least)
    }

    /// A snapshot was accepted and is not in use yet.
    pub(super) fn is_installing(&self) -> bool {
        self.installing.is_some() || self.restored.is_some() || self.node.raft.snap().is_some()
    }

    pub(super) fn install_of(&mut self, ready: &Ready) -> Option<Place> {
        let metadata = ready.snapshot().get_metadata();
        if metadata.index == 0 {
            return None;
        }
        let place = Place {
            index: metadata.index,
            term: metadata.term,
        };
        self.node.mut_store().install(place);
        self.installing = Some(Installing {
            turn: ready.number(),
            place,
            membership: Membership::from_raft(metadata.get_conf_state()),
        });
        Some(place)
    }
}
