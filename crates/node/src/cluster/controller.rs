//! Looks at the cluster twice a second: says how this node is and, where the catalog is led, has the next
//! steps of placement taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anser_broker::{command::NodeState, id::ShardId};
use tracing::info;

use super::{
    peers::Cluster,
    placement::{self, Action, Deed, NodeView, PeerView, ShardView, View, Wish},
    survey::{self, Heard, Survey},
    words::{Note, Order},
};
use crate::{event::Event, inboxes::Inboxes};

/// A disk is slow if its syncs take so many times as long as most others' do, and longer than this.
const SLOW_FACTOR: u64 = 10;
const SLOW_MICROS: u64 = 20_000;

/// How long after a node came or went leaders are not spread: surveys are older than elections.
const SETTLING: Duration = Duration::from_secs(2);

/// What the operator has asked of placement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) replicas: usize,
    pub(crate) moves_max: usize,
    pub(crate) grace: Duration,
}

pub(crate) struct Controller {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) inboxes: Inboxes,
    pub(crate) policy: Policy,
    /// What was decided last, for whoever asks.
    pub(crate) decided: Arc<Mutex<Vec<Action>>>,
    /// Since when this node leads the catalog: before, silence says nothing.
    pub(crate) since: Option<Instant>,
    /// The nodes that were up at the last look, and since when these.
    pub(crate) up: (BTreeSet<u64>, Instant),
}

impl Controller {
    /// Takes a look, and the next steps.
    pub(crate) fn step(&mut self) {
        if !self.cluster.leaders.serves_here(ShardId::CATALOG) {
            self.since = None;
            self.decided().clear();
            return;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let heard = self.cluster.surveys.all();
        let mut view = self.view(&heard, since);
        view.is_unsettled = self.is_unsettled(&view);
        view.is_complete = view.shards.len() == usize::from(self.cluster.shards);
        let actions = placement::plan(&view);
        for action in &actions {
            self.carry_out(action);
        }
        *self.decided() = actions;
        self.clear_away(&heard, &view);
    }

    fn is_unsettled(&mut self, view: &View) -> bool {
        let up = view.nodes.iter().filter(|(_, node)| node.up);
        let up: BTreeSet<u64> = up.map(|(&node, _)| node).collect();
        if up != self.up.0 {
            self.up = (up, Instant::now());
        }
        self.up.1.elapsed() < SETTLING
    }

    fn carry_out(&self, action: &Action) {
        let shard = action.shard;
        let order = match &action.deed {
            Deed::Wait(_) => return,
            Deed::Change(steps) => Order::Change {
                shard,
                steps: steps.clone(),
            },
            Deed::Transfer(to) => Order::Transfer { shard, to: *to },
        };
        let is_new = !self.decided().contains(action);
        if is_new {
            info!(shard, deed = ?action.deed, why = %action.why, "placement");
        }
        self.give(action.leader, order);
    }

    fn give(&self, node: u64, order: Order) {
        if node == self.cluster.node {
            let shard = ShardId(order.shard());
            drop(self.inboxes.of(shard).send(Event::Order(order)));
        } else {
            // An order that is lost is given again: the next look sees what is still to be done.
            self.cluster.send(node, Note::Order(order).encode());
        }
    }

    /// Replicas that their shards' members have let go of are taken off the disks they are on.
    fn clear_away(&self, heard: &BTreeMap<u64, Heard>, view: &View) {
        for (&node, Heard { survey, .. }) in heard {
            for replica in &survey.replicas {
                let Some(shard) = view.shards.get(&replica.shard) else {
                    continue;
                };
                let is_member = shard.voters.contains(&node) || shard.learners.contains(&node);
                if is_member || shard.joint {
                    continue;
                }
                let leader = heard.get(&shard.leader);
                let known = leader.and_then(|leader| {
                    let replicas = leader.survey.replicas.iter();
                    replicas.clone().find(|known| known.shard == replica.shard)
                });
                if let Some(known) = known {
                    let order = Order::Forget {
                        shard: replica.shard,
                        decided: known.applied,
                    };
                    self.give(node, order);
                }
            }
        }
    }

    fn view(&self, heard: &BTreeMap<u64, Heard>, since: Instant) -> View {
        let mut view = View {
            replicas: self.policy.replicas,
            moves_max: self.policy.moves_max,
            ..View::default()
        };
        let usual = usual_sync_micros(heard);
        for (number, record) in self.cluster.members.all() {
            let silent = match heard.get(&number) {
                Some(heard) => heard.at.elapsed().min(since.elapsed() + survey::SILENCE),
                None => since.elapsed(),
            };
            let is_heard = heard.contains_key(&number);
            let sync_micros = heard
                .get(&number)
                .map_or(0, |heard| heard.survey.sync_micros);
            let node = NodeView {
                host: record.host,
                zone: record.zone,
                wish: match record.state {
                    NodeState::Active => Wish::Used,
                    NodeState::Draining => Wish::Emptied,
                    NodeState::Removed => Wish::Gone,
                },
                up: is_heard && silent < survey::SILENCE,
                dead: silent > self.policy.grace,
                slow: sync_micros > SLOW_MICROS && sync_micros > usual * SLOW_FACTOR
                    || heard.get(&number).is_some_and(|heard| heard.survey.full),
            };
            view.nodes.insert(number, node);
        }
        for (&number, Heard { survey, at }) in heard {
            if at.elapsed() < survey::SILENCE {
                add_led(&mut view, number, survey);
            }
        }
        view
    }

    fn decided(&self) -> std::sync::MutexGuard<'_, Vec<Action>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn usual_sync_micros(heard: &BTreeMap<u64, Heard>) -> u64 {
    let mut micros: Vec<u64> = heard
        .values()
        .map(|heard| heard.survey.sync_micros)
        .collect();
    micros.sort_unstable();
    micros
        .get(micros.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0)
}

/// Adds the shards that a node says it leads, unless one of a newer term says so too.
fn add_led(view: &mut View, node: u64, survey: &Survey) {
    for replica in &survey.replicas {
        let Some(led) = &replica.led else { continue };
        let known = view.shards.get(&replica.shard);
        if known.is_some_and(|known| known.term > replica.term) {
            continue;
        }
        let peers = led.peers.iter().map(|peer| {
            let view = PeerView {
                matched: peer.matched,
                active: peer.active,
                is_blank: peer.is_blank,
            };
            (peer.node, view)
        });
        let shard = ShardView {
            leader: node,
            term: replica.term,
            last: led.last,
            voters: led.voters.iter().copied().collect(),
            learners: led.learners.iter().copied().collect(),
            joint: led.joint,
            peers: peers.collect(),
        };
        view.shards.insert(replica.shard, shard);
    }
}
