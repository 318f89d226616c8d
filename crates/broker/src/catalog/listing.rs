//! Reading the catalog.

use crate::{
    catalog::Catalog,
    command::{Answer, QueueRecord},
    error::Error,
    id::{AccountId, QueueId},
    name::QueueName,
    op::QueueListing,
    turn::WallOffset,
};

/// Which part of a list is wanted.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) search: &'a str,
    pub(crate) offset: u64,
    pub(crate) limit: u64,
}

impl Catalog {
    pub(crate) fn queue(&self, account: AccountId, name: &QueueName, wall: WallOffset) -> Answer {
        let Some(queue) = self.find(account, name) else {
            return Answer::Refused(Error::NoSuchQueue);
        };
        let record = &self.queues[&queue];
        let policy = record.attributes.dead_letter;
        Answer::Queue(Box::new(QueueRecord {
            queue,
            shard: record.shard,
            name: record.name.clone(),
            attributes: record.attributes.clone(),
            dead_letter: policy.map(|policy| (self.queues[&policy.queue].name.clone(), policy)),
            created: wall.wall(record.created),
            modified: wall.wall(record.modified),
        }))
    }

    pub(crate) fn queues(&self, account: AccountId, page: &Page<'_>) -> Answer {
        let queues = self.accounts.get(&account).into_iter().flatten();
        self.page(queues.copied(), page)
    }

    pub(crate) fn dead_letter_sources(
        &self,
        account: AccountId,
        name: &QueueName,
        page: &Page<'_>,
    ) -> Answer {
        let Some(queue) = self.find(account, name) else {
            return Answer::Refused(Error::NoSuchQueue);
        };
        let sources = self.sources.get(&queue).into_iter().flatten();
        self.page(sources.copied(), page)
    }

    fn page(&self, queues: impl Iterator<Item = QueueId>, page: &Page<'_>) -> Answer {
        let search = page.search.to_ascii_lowercase();
        let mut total = 0;
        let mut found = Vec::new();
        for queue in queues {
            let name = &self.queues[&queue].name;
            if !search.is_empty() && !name.folded().contains(&search) {
                continue;
            }
            if total >= page.offset && (found.len() as u64) < page.limit {
                found.push(QueueListing {
                    queue,
                    name: name.clone(),
                });
            }
            total += 1;
        }
        Answer::Queues {
            total,
            queues: found,
        }
    }
}
