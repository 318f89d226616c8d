//! Bugs planted on purpose, to see that the simulator finds them (`anser_broker::sabotage`).

use anser_broker::{
    sabotage::is_planted,
    shard::{Receivable, Shard},
};
use raft::{
    Config, RawNode, ReadOnlyOption, StateRole,
    eraftpb::{HardState, MessageType},
};

use crate::{Membership, MembershipChange, tail::Tail};

/// Messages that do not wait for the disk.
pub(crate) fn leaves_early(kind: MessageType) -> bool {
    kind == MessageType::MsgAppendResponse && is_planted("sync only on the leader")
        || kind == MessageType::MsgRequestVoteResponse && is_planted("vote without sync")
}

/// What is written of a promise.
pub(crate) fn to_be_written(mut hard_state: HardState) -> HardState {
    if is_planted("vote not written") {
        hard_state.vote = 0;
    }
    hard_state
}

/// Whether what fell due is left to receives that were under way before.
pub(crate) fn hides(receivable: &Receivable) -> bool {
    is_planted("hidden by a claim") && matches!(receivable, Receivable::Ready(_))
}

/// Applies a change of several steps without a joint state between.
pub(crate) fn apply_at_once(
    node: &mut RawNode<Tail>,
    change: &MembershipChange,
) -> Option<Membership> {
    if change.steps.len() < 2 || !is_planted("change in one step") {
        return None;
    }
    let mut membership = None;
    for &step in &change.steps {
        let change = MembershipChange { steps: vec![step] };
        let applied = node.apply_conf_change(&change.to_raft()).ok()?;
        membership = Some(Membership::from_raft(&applied));
    }
    membership
}

/// A leader that takes its own log for everybody's.
pub(crate) fn before_ready(node: &mut RawNode<Tail>) {
    if node.raft.state == StateRole::Leader && is_planted("applied before commit") {
        let last = node.raft.raft_log.last_index();
        node.raft.raft_log.commit_to(last);
    }
}

/// What raft-rs is told.
pub(crate) fn configured(mut config: Config) -> Config {
    if is_planted("no pre-vote") {
        config.pre_vote = false;
    }
    if is_planted("lease kept over pause") {
        config.read_only_option = ReadOnlyOption::LeaseBased;
    }
    config
}

/// One node makes something else of one entry, which no client sees. What it replays after a restart it applies like the
/// others.
pub(crate) fn spoil(shard: &mut Shard, node: u64, index: u64) {
    let is_planted = is_planted("an apply that differs on one node")
        || is_planted("an apply that differs on one node and is mended")
        || is_planted("states are not compared");
    if is_planted && node == 2 && index == 100 {
        shard.spoil();
    }
    if anser_broker::sabotage::is_planted("a catalog that differs on one node")
        && node == 2
        && index == 100
    {
        shard.spoil_catalog();
    }
}
