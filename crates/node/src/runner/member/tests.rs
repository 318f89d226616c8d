//! What becomes of copies on their way when their sender's part in the shard ends, or their receiver's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
};

use anser_broker::{
    command::NodeStart,
    time::{Millis, Timestamp},
    version::ClusterVersion,
};
use anser_host::{CopyAnswer, Next, Sending};
use anser_replica::Membership;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::{
    clock::Clock,
    cluster::{
        copies::Copies,
        members::Members,
        peers::{Beginning, Cluster},
    },
    event::Event,
    failure::Failed,
    member::Member,
    version::Versions,
};

const SHARD: ShardId = ShardId(1);
const OTHER: ShardId = ShardId(2);

/// The runner of node 1, without any shard, and its copies. Nobody hears what it says to other threads.
fn member() -> (Runner, Copies) {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let version = ClusterVersion(1);
    let versions = Arc::new(Versions::new(version, version));
    let cluster = Cluster::new(Beginning {
        id: [1; 16],
        node: 1,
        incarnation: [2; 16],
        start: NodeStart::default(),
        shards: 3,
        members: Members::new(&BTreeMap::new()),
        versions: Arc::clone(&versions),
        suspects: BTreeSet::new(),
        all_cleared: Box::new(|| {}),
        clock: clock.clone(),
    });
    let copies = Copies::new(mpsc::channel().0, unbounded_channel().0);
    let (chores, questions) = (mpsc::channel().0, unbounded_channel().0);
    let member = Member::new(Arc::new(cluster), copies.clone(), chores, questions);
    let beginning = anser_host::Beginning {
        node: 1,
        shards: 3,
        run: 1,
        cache_bytes: 0,
        time_off_max: Millis(0),
        replicas: Vec::new(),
        damaged: Vec::new(),
        closed: Vec::new(),
    };
    let (itself, inbox): (mpsc::Sender<Event>, _) = mpsc::channel();
    let runner = Runner {
        host: anser_host::Runner::new(beginning, &clock.now()),
        inbox,
        itself,
        writer: mpsc::channel().0,
        body_readers: Vec::new(),
        errands: unbounded_channel().0,
        routes: Arc::default(),
        versions,
        announcements: Arc::default(),
        counters: Arc::default(),
        failed: Failed::new(),
        clock,
        member: Some(member),
    };
    (runner, copies)
}

/// What comes next in a copy of which everything has arrived.
fn next(sending: &mut Sending) -> Next {
    sending.heard(Ok(CopyAnswer::Missing(None)))
}

fn leadership(term: u64, leads: bool) -> Job<Responder> {
    Job::Leadership {
        shard: SHARD,
        term,
        leads,
    }
}

fn members(voters: &[u64], learners: &[u64]) -> Job<Responder> {
    Job::Members {
        shard: SHARD,
        membership: Membership {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            ..Membership::default()
        },
    }
}

/// Core review, finding 1: the copy of a leader of before, which comes late, says what was so in its time.
#[test]
fn copies_end_when_their_sender_leads_no_more() {
    let (mut runner, copies) = member();
    runner.carry_out(leadership(2, true));
    let mut sending = copies.begin_sending(SHARD, 2);
    let mut of_another_shard = copies.begin_sending(OTHER, 2);
    runner.carry_out(leadership(3, true));
    assert_eq!(next(&mut sending), Next::End);
    runner.carry_out(leadership(4, false));
    assert_eq!(next(&mut sending), Next::Dropped);
    assert_eq!(next(&mut of_another_shard), Next::End);
}

/// Core review, finding 1: the shard's members have let go of the receiver, and a copy that comes late revives its
/// replica.
#[test]
fn a_copy_ends_when_the_shard_s_members_let_go_of_its_receiver() {
    let (mut runner, copies) = member();
    let mut to_voter = copies.begin_sending(SHARD, 2);
    let mut to_learner = copies.begin_sending(SHARD, 3);
    runner.carry_out(members(&[1, 2], &[3]));
    assert_eq!(next(&mut to_learner), Next::End);
    runner.carry_out(members(&[1, 2], &[]));
    assert_eq!(next(&mut to_learner), Next::Dropped);
    assert_eq!(next(&mut to_voter), Next::End);
}
