//! The bounds of CMQ, as its clients know them.

/// Members of a batch.
pub(crate) const BATCH_MEMBERS: usize = 16;
/// Bytes of the bodies of one batch together.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// A receive that asks to wait longer waits this long: the Java client asks for 30,000 seconds.
pub(crate) const WAIT_SECONDS: u64 = 30;
pub(crate) const VISIBILITY_SECONDS: u64 = 43_200;
pub(crate) const MESSAGE_BYTES_LEAST: u64 = 1_024;
pub(crate) const MESSAGE_BYTES_MOST: u64 = 1 << 20;
pub(crate) const RETENTION_SECONDS_LEAST: u64 = 60;
pub(crate) const RETENTION_SECONDS_MOST: u64 = 1_296_000;
pub(crate) const BACKLOG_LEAST: u64 = 1_000_000;
pub(crate) const BACKLOG_MOST: u64 = 1_000_000_000;
/// A message may be delayed this long whatever its queue's retention.
pub(crate) const DELAY_SECONDS_ALWAYS: u64 = 3_600;
/// And no longer than this.
pub(crate) const DELAY_SECONDS_MOST: u64 = 6_048_000;
pub(crate) const DEAD_LETTER_RECEIVES_MOST: u64 = 1_000;
pub(crate) const DEAD_LETTER_SECONDS_LEAST: u64 = 300;
pub(crate) const DEAD_LETTER_SECONDS_MOST: u64 = 43_200;
pub(crate) const PAGE: u64 = 20;
/// A larger page is cut to this size.
pub(crate) const PAGE_MOST: u64 = 50;
/// A `startConsumeTime` from here on is in milliseconds.
pub(crate) const MILLISECONDS_FROM: u64 = 100_000_000_000;
/// A larger page of subscriptions is cut to this size.
pub(crate) const SUBSCRIPTIONS_PAGE_MOST: u64 = 100;
/// Characters of a name.
pub(crate) const NAME_CHARACTERS: usize = 64;
/// Bytes of a short text, such as a search word.
pub(crate) const TEXT_BYTES: usize = 256;
/// Bytes of a dead-letter policy.
pub(crate) const POLICY_BYTES: usize = 4_096;
/// Tags of one message, and of one subscription.
pub(crate) const TAGS: usize = 5;
pub(crate) const TAG_CHARACTERS: usize = 16;
/// Binding keys of one subscription.
pub(crate) const BINDING_KEYS: usize = 5;
/// Bytes and dots of a routing key or a binding key.
pub(crate) const KEY_BYTES: usize = 64;
pub(crate) const KEY_DOTS: usize = 15;
/// Characters of the URL of an endpoint.
pub(crate) const URL_CHARACTERS: usize = 500;
/// How long a topic keeps messages, unless it is told to keep them shorter.
pub(crate) const TOPIC_RETENTION_SECONDS: u64 = 86_400;
/// The default settings of a queue; a topic's messages may be as large.
pub(crate) const BACKLOG: u64 = 100_000_000;
pub(crate) const RETENTION_SECONDS: u64 = 345_600;
pub(crate) const VISIBILITY_SECONDS_DEFAULT: u64 = 30;
pub(crate) const MESSAGE_BYTES: u32 = 65_536;
