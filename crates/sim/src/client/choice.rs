//! What a client does next.

use anser_broker::{
    attributes::{AttributeChanges, DeadLetterAfter, QueueAttributes},
    id::AccountId,
    time::Millis,
};
use anser_check::{Body, SentBody};
use bytes::Bytes;

use super::{
    Clients, Lease, QUEUES_MAX, account_of,
    queues::{self, Gets},
    work::Work,
};
use crate::{
    plan::{Fault, Plan},
    world::Common,
};

/// Queues that are remembered, the deleted ones included.
const REMEMBERED_MAX: usize = 40;

impl Clients {
    /// `None`: nothing more to do, ever.
    pub(super) fn choose(&mut self, client: usize, common: &Common) -> Option<Work> {
        if self.healed.is_some() {
            return self.choose_at_the_end(client, common);
        }
        let names = self.all[client].names;
        let room = queues::living(&self.queues) < QUEUES_MAX && self.queues.len() < REMEMBERED_MAX;
        let is_free = !self.all[client].free_names.is_empty();
        let wants_more = room && self.random.permille(if is_free { 30 } else { 6 });
        if names == 0 || self.queues.is_empty() || wants_more {
            return Some(self.create(client, &common.plan));
        }
        if common.plan.publishes
            && self.random.permille(120)
            && let Some(work) = self.choose_topic(client)
        {
            return Some(work.into());
        }
        // Changes that follow each other closely may overtake each other on their way to the home.
        if let Some(queue) = self.all[client].changes_again.take()
            && self.queues[queue].lives()
        {
            return Some(self.change(queue, &common.plan));
        }
        let queue = self.pick_queue(&common.plan);
        if self.random.permille(common.plan.restlessness)
            && let Some(work) = self.manage(client, queue, &common.plan)
        {
            return Some(work);
        }
        let leases = self.all[client].leases.len();
        Some(match self.random.below(100) {
            0..36 => self.send(client, queue, &common.plan),
            36..58 if leases > 0 => self.delete(client),
            58..62 if leases > 0 => self.extend(client, &common.plan),
            62..70 => Work::Count { queue },
            _ => self.receive(queue),
        })
    }

    /// One of the living queues; now and then one that was deleted. Where clients crowd it is mostly the first, which
    /// stays.
    fn pick_queue(&mut self, plan: &Plan) -> usize {
        if self.random.permille(plan.crowding) {
            return 0;
        }
        for _ in 0..8 {
            let queue = self.random.place(self.queues.len());
            if self.queues[queue].lives() || self.random.permille(60) {
                return queue;
            }
        }
        0
    }

    /// Something that concerns a whole queue, if it is one for that.
    fn manage(&mut self, client: usize, queue: usize, plan: &Plan) -> Option<Work> {
        let of = &self.queues[queue];
        let ends = of.lives() && of.is_fleeting && of.owner == client;
        match self.random.below(10) {
            0..2 => Some(Work::Describe { queue }),
            2..5 if !of.is_fleeting => Some(self.change(queue, plan)),
            2..5 if ends => Some(Work::End { queue }),
            5 if self.random.permille(300) => Some(Work::Purge { queue }),
            6 if !of.is_fleeting && of.dead_letter().is_some() && self.random.permille(300) => {
                Some(Work::Unbind { queue })
            }
            _ if of.attributes.rewind > Millis(0) => {
                let last = of.last_sent?;
                let to_seconds = last - self.random.below(6);
                Some(Work::Rewind { queue, to_seconds })
            }
            _ => None,
        }
    }

    fn change(&mut self, queue: usize, plan: &Plan) -> Work {
        let of = &self.queues[queue].attributes;
        let mut changes = AttributeChanges::default();
        let random = &mut self.random;
        if random.permille(400) {
            let visibility = random.between(plan.visibility / 2, plan.visibility * 3 / 2);
            changes.visibility = Some(Millis(visibility));
        }
        if random.permille(250) {
            changes.delay = Some(Millis(100 * random.below(21)));
        }
        // Only where it ends within a run anyway, for others are to be drained.
        if random.permille(400) && of.retention < Millis::from_seconds(60) {
            changes.retention = Some(Millis(queues::retention(random)));
        }
        if random.permille(300) && of.rewind > Millis(0) {
            changes.rewind = Some(Millis(random.between(4_000, 40_000)));
        }
        if random.permille(400) && queues::backlog(of.backlog_max) < u64::MAX {
            changes.backlog_max = Some(random.between(2, 40));
        }
        Work::Change { queue, changes }
    }

    /// Every client sends once more; then every queue is emptied.
    fn choose_at_the_end(&mut self, client: usize, common: &Common) -> Option<Work> {
        let next = self.all[client].sent_last;
        if next < self.queues.len() {
            self.all[client].sent_last += 1;
            let mine = next % self.all.len() == client || next == 0;
            let of = &self.queues[next];
            if mine && of.lives() && !of.is_everywhere() && !self.is_given_up(of) {
                return Some(self.send_plain(client, next));
            }
            return self.choose_at_the_end(client, common);
        }
        let sending = self
            .all
            .iter()
            .any(|client| client.sent_last < self.queues.len());
        let is_busy = |client: &super::Client| {
            let work = client.now.as_ref().map(|doing| &doing.work);
            work.is_some_and(|work| {
                !matches!(
                    work,
                    Work::Count { .. } | Work::Receive { .. } | Work::Delete { .. }
                )
            })
        };
        let mut queues = self.queues.iter();
        let Some(at_hand) = queues.position(|queue| !self.is_given_up(queue)) else {
            let new = self.ruined.is_empty();
            return new.then(|| self.create(client, &common.plan));
        };
        if !self.all[client].leases.is_empty() {
            return Some(self.delete_newest(client));
        }
        if sending || self.all.iter().any(is_busy) {
            return Some(Work::Count { queue: at_hand });
        }
        let clients = self.all.len();
        let mine = (0..self.queues.len()).filter(|queue| queue % clients == client);
        let mine = mine.filter(|&queue| {
            let queue = &self.queues[queue];
            queue.lives() && queue.drain.ended.is_none() && !self.is_given_up(queue)
        });
        let queue = mine.min_by_key(|&queue| self.queues[queue].drain.empty)?;
        self.queues[queue].drain.begun.get_or_insert(common.now);
        let wait = if self.queues[queue].drain.empty > 0 {
            400
        } else {
            0
        };
        Some(Work::Receive {
            queue,
            max: 16,
            wait,
        })
    }

    /// A name that is free again is used again.
    fn create(&mut self, client: usize, plan: &Plan) -> Work {
        let account = account_of(client);
        let is_again = self.random.permille(700);
        let free_names = &mut self.all[client].free_names;
        let again = if is_again { free_names.pop() } else { None };
        let name = again.unwrap_or_else(|| {
            self.all[client].names += 1;
            format!("q{}-{}", client / 2, self.all[client].names)
        });
        let mut attributes = queues::attributes(plan, &mut self.random);
        // A queue that waits for a shard without a quorum is not asked to be drained.
        let alone = plan.has(Fault::LostQuorum);
        let dead_letter = if alone {
            None
        } else {
            self.choose_dead_letter(account, &mut attributes)
        };
        Work::Create {
            account,
            name,
            attributes: Box::new(attributes),
            dead_letter,
            reuse_after: self.random.below(3) * 2_000,
        }
    }

    /// Another queue of the account for the dead letters of one that is to be made, now and then.
    fn choose_dead_letter(
        &mut self,
        account: AccountId,
        attributes: &mut QueueAttributes,
    ) -> Option<(String, DeadLetterAfter)> {
        if !self.random.permille(250) {
            return None;
        }
        let queues = self.queues.iter().enumerate();
        let targets = queues
            .filter(|(_, queue)| queue.account == account && queue.can_get(Gets::DeadLetters));
        let targets: Vec<usize> = targets.map(|(place, _)| place).collect();
        let target = self.random.pick(&targets)?;
        let target = &mut self.queues[target];
        (target.gets, target.is_used) = (Gets::DeadLetters, true);
        attributes.rewind = Millis(0);
        let after = if self.random.permille(350) {
            let age = self.random.between(2_000, 12_000);
            DeadLetterAfter::Age(Millis(age.min(attributes.retention.0 / 2)))
        } else {
            let most = u32::try_from(self.random.between(1, 3)).expect("a small number");
            DeadLetterAfter::Receives(most)
        };
        Some((target.name.clone(), after))
    }

    fn send(&mut self, client: usize, queue: usize, plan: &Plan) -> Work {
        let count = if self.random.permille(250) {
            self.random.between(2, 6)
        } else {
            1
        };
        let delay = match self.random.below(10) {
            0 => Some(self.random.between(10, 2_500)),
            1..4 => Some(0),
            _ => None,
        };
        let once = self.random.permille(300) && !plan.may_forget_sends();
        self.bodies(client, queue, count, delay, once)
    }

    fn send_plain(&mut self, client: usize, queue: usize) -> Work {
        self.bodies(client, queue, 1, Some(0), true)
    }

    fn bodies(
        &mut self,
        client: usize,
        queue: usize,
        count: u64,
        delay: Option<u64>,
        once: bool,
    ) -> Work {
        let (bodies, sent) = self.new_bodies(client, count);
        self.queues[queue].is_used = true;
        Work::Send {
            queue,
            delay,
            bodies,
            sent,
            once,
        }
    }

    pub(super) fn new_bodies(&mut self, client: usize, count: u64) -> (Vec<Bytes>, Vec<SentBody>) {
        let producer = u32::try_from(client).expect("few clients");
        let new = |_| {
            let body = Body::new(1, producer, self.all[client].bodies);
            self.all[client].bodies += 1;
            let bytes = 60 + self.random.place(self.body_bytes);
            let text = body.text(bytes);
            let sent = body.sent(&text);
            (Bytes::from(text), sent)
        };
        (0..count).map(new).unzip()
    }

    fn receive(&mut self, queue: usize) -> Work {
        let wait = if self.random.permille(300) {
            self.random.between(100, 3_000)
        } else {
            0
        };
        Work::Receive {
            queue,
            max: u32::try_from(self.random.between(1, 10)).expect("a small number"),
            wait,
        }
    }

    fn delete(&mut self, client: usize) -> Work {
        let leases = &mut self.all[client].leases;
        let place = self.random.place(leases.len());
        let Lease { queue, receipt } = leases.swap_remove(place);
        let mut receipts = vec![receipt];
        if self.random.permille(400) {
            let more = leases.extract_if(.., |lease| lease.queue == queue).take(7);
            receipts.extend(more.map(|lease| lease.receipt));
        }
        Work::Delete { queue, receipts }
    }

    fn delete_newest(&mut self, client: usize) -> Work {
        let leases = &mut self.all[client].leases;
        let queue = leases.last().expect("there are some").queue;
        let receipts = leases.extract_if(.., |lease| lease.queue == queue).take(16);
        let receipts = receipts.map(|lease| lease.receipt).collect();
        Work::Delete { queue, receipts }
    }

    fn extend(&mut self, client: usize, plan: &Plan) -> Work {
        let leases = &self.all[client].leases;
        let Lease { queue, receipt } = leases[self.random.place(leases.len())];
        let visibility = match self.random.below(3) {
            0 => 0,
            1 => self.random.between(1, plan.visibility),
            _ => self.random.between(plan.visibility, plan.visibility * 2),
        };
        Work::Extend {
            queue,
            receipt,
            visibility,
        }
    }
}
