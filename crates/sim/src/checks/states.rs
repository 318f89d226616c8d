//! Whether all replicas of a shard make the same of its log: the judge's own comparison, of whole states, beside the
//! product's, of fingerprints.

use super::Checks;
use crate::{
    event::{Micros, SECOND},
    planted::is_planted,
};

/// How long, in peace, a state may differ from the others' until its replica is replaced. Only for planted bugs: without
/// one no state ever differs.
const DIFFERS_AT_MOST: Micros = 15 * SECOND;

/// The node of which planted bugs spoil the state.
const SPOILT: u64 = 2;

/// Whether a planted bug makes the states differ, and others have to find it.
fn differs_on_purpose() -> bool {
    is_planted("an apply that differs on one node")
        || is_planted("a catalog that differs on one node")
        || is_planted("an apply that differs on one node and is mended")
        || is_planted("states are not compared")
}

impl Checks {
    /// A replica's whole state after an index.
    pub(crate) fn state(&mut self, (node, shard): (u64, u16), index: u64, sum: u64, now: Micros) {
        let on_purpose = differs_on_purpose();
        let states = &mut self.shard(shard).states;
        let known = match states.get(&index) {
            Some(&known) => known,
            None if on_purpose && node == SPOILT => return,
            None => *states.entry(index).or_insert(sum),
        };
        if known == sum {
            self.differing.remove(&(node, shard));
        } else if on_purpose {
            self.differing.entry((node, shard)).or_insert(now);
        } else {
            self.fail(format!(
                "node {node}, shard {shard}: the state after entry {index} differs from another replica's"
            ));
        }
    }

    /// A replica's fingerprint after an index.
    pub(crate) fn fingerprint(&mut self, node: u64, shard: u16, index: u64, fingerprint: u64) {
        let fingerprints = &mut self.shard(shard).fingerprints;
        let known = *fingerprints.entry(index).or_insert(fingerprint);
        if known != fingerprint && !differs_on_purpose() {
            self.fail(format!(
                "node {node}, shard {shard}: the fingerprint after entry {index} differs from another replica's"
            ));
        }
    }

    /// The product says that states differ.
    pub(crate) fn said_to_differ(&mut self, shard: u16, what: &str) {
        if !is_planted("an apply that differs on one node and is mended") {
            self.fail(format!("shard {shard}: {what}"));
        }
    }

    /// In peace a replica whose state differs is soon replaced, if those of the others that are up are a majority.
    pub(crate) fn differing_is_mended(
        &mut self,
        peace: Micros,
        is_up: impl Fn(u64) -> bool,
        now: Micros,
    ) {
        let lasting = self.differing.iter().find(|&(&(node, shard), &since)| {
            let members = self.memberships(shard);
            let voters = members.first().map_or(&[][..], |members| &members.voters);
            let others = voters
                .iter()
                .filter(|&&voter| voter != node && is_up(voter));
            let is_outvoted = others.count() > voters.len() / 2;
            is_outvoted && is_up(node) && now > since.max(peace) + DIFFERS_AT_MOST
        });
        if let Some((&(node, shard), _)) = lasting {
            self.fail(format!(
                "node {node}, shard {shard}: the state has differed from others' for long"
            ));
        }
    }
}
