//! The bounds of the core. A dialect may be stricter, never looser.

use crate::time::Millis;

/// Characters of a name.
pub const NAME_CHARACTERS_MAX: usize = 80;
/// Bytes of one message body.
pub const BODY_BYTES_MAX: u32 = 1 << 20;
/// Messages in one send, receive or delete.
pub const BATCH_MESSAGES_MAX: usize = 64;
/// Bytes of the bodies of one send together.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// The longest delay of a message: 400 days.
pub const DELAY_MAX: Millis = Millis::from_seconds(400 * 86_400);
/// The longest time a lease may run.
pub const VISIBILITY_MAX: Millis = Millis::from_seconds(86_400);
/// The longest retention: 400 days.
pub const RETENTION_MAX: Millis = Millis::from_seconds(400 * 86_400);
/// The longest wait of a receive.
pub const WAIT_MAX: Millis = Millis::from_seconds(60);
/// Sources that may share one dead-letter queue.
pub const DEAD_LETTER_SOURCES_MAX: usize = 6;
/// Bytes of commands packed into one log entry; a single larger command has an entry of its own.
pub const ENTRY_BYTES: usize = 256 << 10;
/// Copies of messages, one for each subscription of the topic that it is published to, up to which a leader
/// packs publishes into one entry; a single larger publish has an entry of its own. This bounds how long
/// an entry takes to apply: some ten milliseconds.
pub const ENTRY_COPIES: u64 = 32_768;
/// Due messages that one entry settles; the rest waits for the next entry.
pub const SETTLED_PER_ENTRY: usize = 2_000;
/// The longest time for which a deleted queue's name can be kept from new use.
pub const REUSE_AFTER_MAX: Millis = Millis::from_seconds(600);
/// Names of deleted queues that are remembered for it; beyond, the oldest are forgotten.
pub const DELETED_NAMES_MAX: usize = 10_000;
/// Ended queues, topics and subscriptions that a shard remembers one by one, so that a command that comes too
/// late revives none. With so many, none ends until the catalog's floor has risen.
pub const DROPPED_MAX: usize = 10_000;
/// Characters of one tag.
pub const TAG_CHARACTERS_MAX: usize = 64;
/// Tags of one message, and tags of one subscription's filter.
pub const TAGS_MAX: usize = 10;
/// Bytes of a routing key or a binding key.
pub const KEY_BYTES_MAX: usize = 64;
/// Dots of a routing key or a binding key.
pub const KEY_DOTS_MAX: usize = 15;
/// Binding keys of one subscription.
pub const BINDING_KEYS_MAX: usize = 10;
/// Bytes of the URL of an HTTP endpoint.
pub const URL_BYTES_MAX: usize = 500;
/// The longest retention of a topic: 399 days, so that a lease can outlast it.
pub const TOPIC_RETENTION_MAX: Millis = Millis::from_seconds(399 * 86_400);
/// Messages of one subscription that its pusher may have taken or hold back at once.
pub const OUTBOX_IN_FLIGHT_MAX: u64 = 100_000;
/// Messages of one subscription that are on their way to its queue at once.
pub const DELIVERY_LANE_MAX: u64 = 256;
/// Undelivered messages of a topic, over all subscriptions, up to which they are counted one by one.
pub const UNDELIVERED_COUNTED_MAX: u64 = 10_000;
/// Subscriptions that one topic can have at all; operations set lower bounds.
pub const SUBSCRIPTIONS_MAX: u64 = 10_000;
/// Nodes that a cluster remembers, the removed ones included.
pub const NODES_MAX: usize = 1000;
/// Bytes of a node's address.
pub const NODE_ADDRESS_BYTES_MAX: usize = 255;
/// Bytes of the name of a node's machine, and of its zone.
pub const NODE_PLACE_BYTES_MAX: usize = 64;
/// For how long after a send with a token a repeat of it is recognised.
pub const TOKEN_WINDOW: Millis = Millis::from_seconds(300);
/// Tokens that one queue remembers; a send with one more is refused as [`crate::error::Error::Busy`].
pub const TOKENS_MAX: usize = 1_000_000;
