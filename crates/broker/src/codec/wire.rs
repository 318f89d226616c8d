//! Reading and writing numbers. A [`Reader`] never goes beyond its bytes; a [`Sink`] is written to
//! twice, first to learn the size and then to fill a buffer of exactly that size.

use crate::{
    attributes::{Acknowledge, DeadLetterAfter, DeadLetterPolicy, QueueAttributes, RetentionFrom},
    codec::Error,
    id::{AccountId, QueueId, Sequence, ShardId},
    name::QueueName,
    time::{Millis, Timestamp},
};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(Error::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Error> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(Error::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes with their length before them.
    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// How many items follow, each of at least `item_bytes_min` bytes.
    pub(crate) fn count(&mut self, item_bytes_min: usize) -> Result<u32, Error> {
        let count = self.u32()?;
        if (count as usize).saturating_mul(item_bytes_min) > self.remaining() {
            return Err(Error::Truncated);
        }
        Ok(count)
    }

    /// Like [`Reader::count`], for what may be more than 2^32.
    pub(crate) fn long_count(&mut self, item_bytes_min: u64) -> Result<u64, Error> {
        let count = self.u64()?;
        if count.saturating_mul(item_bytes_min) > self.remaining() as u64 {
            return Err(Error::Truncated);
        }
        Ok(count)
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Error::BadValue),
        }
    }

    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Error::TrailingBytes)
        }
    }

    pub(crate) fn millis(&mut self) -> Result<Millis, Error> {
        self.u64().map(Millis)
    }

    pub(crate) fn timestamp(&mut self) -> Result<Timestamp, Error> {
        self.u64().map(Timestamp)
    }

    pub(crate) fn queue(&mut self) -> Result<QueueId, Error> {
        self.u64().map(QueueId)
    }

    pub(crate) fn account(&mut self) -> Result<AccountId, Error> {
        self.u64().map(AccountId)
    }

    pub(crate) fn shard(&mut self) -> Result<ShardId, Error> {
        ShardId::try_from(self.u16()?).map_err(|_| Error::BadValue)
    }

    /// Shards, in ascending order.
    pub(crate) fn shards(&mut self) -> Result<Vec<ShardId>, Error> {
        let count = self.u16()?;
        let shards = (0..count).map(|_| self.shard());
        let shards: Vec<ShardId> = shards.collect::<Result<_, _>>()?;
        let ascend = shards.is_sorted_by(|one, next| one < next);
        ascend.then_some(shards).ok_or(Error::BadValue)
    }

    pub(crate) fn sequence(&mut self) -> Result<Sequence, Error> {
        Sequence::from_number(self.u64()?).ok_or(Error::BadValue)
    }

    /// A text with the length of a slice before it.
    pub(crate) fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.slice()?).map_err(|_| Error::BadValue)
    }

    /// A text of at most 255 bytes.
    pub(crate) fn short_text(&mut self) -> Result<&'a str, Error> {
        let length = self.u8()?;
        let bytes = self.take(usize::from(length))?;
        std::str::from_utf8(bytes).map_err(|_| Error::BadValue)
    }

    pub(crate) fn name(&mut self) -> Result<QueueName, Error> {
        QueueName::new(self.short_text()?).map_err(|_| Error::BadValue)
    }

    pub(crate) fn dead_letter_after(&mut self) -> Result<DeadLetterAfter, Error> {
        match self.u8()? {
            1 => self.u32().map(DeadLetterAfter::Receives),
            2 => self.millis().map(DeadLetterAfter::Age),
            _ => Err(Error::BadValue),
        }
    }

    pub(crate) fn acknowledge(&mut self) -> Result<Acknowledge, Error> {
        match self.u8()? {
            1 => Ok(Acknowledge::Majority),
            2 => Ok(Acknowledge::All),
            _ => Err(Error::BadValue),
        }
    }

    /// Attributes and what came later.
    pub(crate) fn acknowledged_attributes(&mut self) -> Result<QueueAttributes, Error> {
        let mut attributes = self.attributes()?;
        attributes.acknowledge = self.acknowledge()?;
        Ok(attributes)
    }

    /// Attributes without what came later.
    pub(crate) fn attributes(&mut self) -> Result<QueueAttributes, Error> {
        Ok(QueueAttributes {
            backlog_max: self.u64()?,
            wait: self.millis()?,
            visibility: self.millis()?,
            body_bytes_max: self.u32()?,
            retention: self.millis()?,
            retention_from: match self.u8()? {
                1 => RetentionFrom::Sent,
                2 => RetentionFrom::Visible,
                _ => return Err(Error::BadValue),
            },
            rewind: self.millis()?,
            delay: self.millis()?,
            delay_max: self.millis()?,
            delayed_max: self.u64()?,
            in_flight_max: self.u64()?,
            dead_letter: self.option(|reader| {
                Ok(DeadLetterPolicy {
                    queue: reader.queue()?,
                    after: reader.dead_letter_after()?,
                })
            })?,
            acknowledge: Acknowledge::default(),
        })
    }
}

/// Where bytes go.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn shards(&mut self, shards: &[ShardId]) {
        self.u16(u16::try_from(shards.len()).expect("no more than a cluster has"));
        for shard in shards {
            self.u16(shard.0);
        }
    }

    fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("what is counted was bounded before"));
    }

    fn slice(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.put(bytes);
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T))
    where
        Self: Sized,
    {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }

    /// A name, a tag or a key.
    fn short_text(&mut self, text: &str) {
        self.u8(u8::try_from(text.len()).expect("a short text is at most 255 bytes long"));
        self.put(text.as_bytes());
    }

    fn name(&mut self, name: &QueueName) {
        self.short_text(name.as_str());
    }

    fn dead_letter_after(&mut self, after: DeadLetterAfter) {
        match after {
            DeadLetterAfter::Receives(receives) => {
                self.u8(1);
                self.u32(receives);
            }
            DeadLetterAfter::Age(age) => {
                self.u8(2);
                self.u64(age.0);
            }
        }
    }

    fn acknowledge(&mut self, acknowledge: Acknowledge) {
        self.u8(match acknowledge {
            Acknowledge::Majority => 1,
            Acknowledge::All => 2,
        });
    }

    /// Attributes as a state has them.
    fn whole_attributes(&mut self, attributes: &QueueAttributes)
    where
        Self: Sized,
    {
        self.attributes(attributes);
        self.acknowledge(attributes.acknowledge);
    }

    /// Attributes without what came later.
    fn attributes(&mut self, attributes: &QueueAttributes)
    where
        Self: Sized,
    {
        self.u64(attributes.backlog_max);
        self.u64(attributes.wait.0);
        self.u64(attributes.visibility.0);
        self.u32(attributes.body_bytes_max);
        self.u64(attributes.retention.0);
        self.u8(match attributes.retention_from {
            RetentionFrom::Sent => 1,
            RetentionFrom::Visible => 2,
        });
        self.u64(attributes.rewind.0);
        self.u64(attributes.delay.0);
        self.u64(attributes.delay_max.0);
        self.u64(attributes.delayed_max);
        self.u64(attributes.in_flight_max);
        self.option(attributes.dead_letter.as_ref(), |sink, policy| {
            sink.u64(policy.queue.0);
            sink.dead_letter_after(policy.after);
        });
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what is written.
#[derive(Debug, Default)]
pub(crate) struct Size(pub(crate) usize);

impl Sink for Size {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}
