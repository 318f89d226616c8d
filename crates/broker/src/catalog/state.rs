//! The catalog in a snapshot: what cannot be worked out from the rest.

use crate::{
    catalog::{Catalog, Record},
    codec::{
        Error,
        wire::{Reader, Sink},
    },
    command::Placed,
    id::QueueId,
    limits,
};

impl Catalog {
    pub(crate) fn save(&self, sink: &mut impl Sink) {
        sink.u64(self.next);
        sink.u64(self.queues.len() as u64);
        for (queue, record) in &self.queues {
            sink.u64(queue.0);
            sink.u64(record.account.0);
            sink.name(&record.name);
            sink.u16(record.shard.0);
            sink.u64(record.revision);
            sink.attributes(&record.attributes);
            sink.u64(record.created.0);
            sink.u64(record.modified.0);
        }
        sink.u64(self.ending.len() as u64);
        for (queue, placed) in &self.ending {
            sink.u64(queue.0);
            sink.u64(placed.account.0);
            sink.name(&placed.name);
            sink.u16(placed.shard.0);
            sink.u64(placed.revision);
        }
        sink.u64(self.unsettled.len() as u64);
        for queue in &self.unsettled {
            sink.u64(queue.0);
        }
        sink.u64(self.deletions.order.len() as u64);
        for deletion in &self.deletions.order {
            sink.u64(deletion.account.0);
            sink.slice(deletion.name.as_bytes());
            sink.u64(deletion.at.0);
        }
    }

    pub(crate) fn restore(reader: &mut Reader<'_>, shards: u16) -> Result<Self, Error> {
        let mut catalog = Self::new(shards);
        catalog.next = reader.u64()?;
        for _ in 0..reader.long_count(64)? {
            let queue = reader.queue()?;
            let record = Record {
                account: reader.account()?,
                name: reader.name()?,
                shard: reader.shard()?,
                revision: reader.u64()?,
                attributes: reader.attributes()?,
                created: reader.timestamp()?,
                modified: reader.timestamp()?,
            };
            catalog.check_restored(queue, &record)?;
            catalog.insert(queue, record);
        }
        catalog.check_policies()?;
        for _ in 0..reader.long_count(28)? {
            let queue = reader.queue()?;
            let placed = Placed {
                account: reader.account()?,
                name: reader.name()?,
                queue,
                shard: reader.shard()?,
                revision: reader.u64()?,
                attributes: None,
            };
            if catalog.queues.contains_key(&queue) || queue.0 >= catalog.next {
                return Err(Error::BadValue);
            }
            catalog.ending.insert(queue, placed);
        }
        for _ in 0..reader.long_count(8)? {
            let queue = reader.queue()?;
            if !catalog.queues.contains_key(&queue) && !catalog.ending.contains_key(&queue) {
                return Err(Error::BadValue);
            }
            catalog.unsettled.insert(queue);
        }
        catalog.restore_deletions(reader)?;
        Ok(catalog)
    }

    fn check_restored(&self, queue: QueueId, record: &Record) -> Result<(), Error> {
        let is_new = self
            .queues
            .last_key_value()
            .is_none_or(|(last, _)| *last < queue);
        let is_valid = queue.0 < self.next
            && usize::from(record.shard.0) < self.loads.len()
            && self.find(record.account, &record.name).is_none()
            && record.attributes.check().is_ok();
        if is_new && is_valid {
            Ok(())
        } else {
            Err(Error::BadValue)
        }
    }

    fn check_policies(&self) -> Result<(), Error> {
        let all_live = self
            .sources
            .keys()
            .all(|queue| self.queues.contains_key(queue));
        if all_live {
            Ok(())
        } else {
            Err(Error::BadValue)
        }
    }

    fn restore_deletions(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let count = reader.long_count(20)?;
        if count > limits::DELETED_NAMES_MAX as u64 {
            return Err(Error::BadValue);
        }
        for _ in 0..count {
            let account = reader.account()?;
            let name = std::str::from_utf8(reader.slice()?).map_err(|_| Error::BadValue)?;
            let name = name.to_owned();
            self.deletions.add(account, name, reader.timestamp()?);
        }
        Ok(())
    }
}
