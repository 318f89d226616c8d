//! Bytes: what is written is read again, what was written once stays as it is, and nothing that can
//! be in a file makes the reader panic.

pub(crate) mod arbitrary;
mod batches;
mod frozen_commands;
mod frozen_states;

use anser_broker::{
    codec::{self, Batch, BatchBuilder, Encoded},
    command::Command,
    id::{QueueId, ShardId},
    shard::Shard,
    time::{Stamp, Timestamp},
};
use bytes::Bytes;
use proptest::prelude::*;

use arbitrary::a_command;
use frozen_commands::simple_attributes;

fn pack(commands: &[Command]) -> Bytes {
    let stamp = Stamp {
        now: Timestamp(7),
        wall: Timestamp(9),
        ..Stamp::default()
    };
    let mut batch = BatchBuilder::new(stamp);
    for command in commands {
        batch.push(&codec::encode(command));
    }
    batch.finish()
}

fn apply_to_a_shard(payload: &[u8]) -> Result<usize, codec::Error> {
    let mut shard = Shard::new(ShardId(0), 2);
    let queue = Command::PutQueue {
        queue: QueueId(0),
        revision: 1,
        attributes: simple_attributes(),
    };
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    shard
        .apply(1, &pack(&[queue]), &mut replies, &mut effects)
        .unwrap();
    replies.clear();
    shard.apply(2, payload, &mut replies, &mut effects)?;
    Ok(replies.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_command_is_read_as_it_was_written(command in a_command()) {
        let encoded = codec::encode(&command);
        prop_assert_eq!(codec::decode(&encoded.bytes).unwrap(), command);
        prop_assert_eq!(Encoded::from_bytes(encoded.bytes.clone()), Ok(encoded));
    }

    #[test]
    fn a_part_of_a_command_is_no_command(command in a_command()) {
        let Encoded { bytes, .. } = codec::encode(&command);
        for length in 0..bytes.len() {
            prop_assert!(codec::decode(&bytes.slice(..length)).is_err());
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert_eq!(codec::decode(&Bytes::from(longer)), Err(codec::Error::TrailingBytes));
    }

    #[test]
    fn a_batch_has_its_commands_and_finds_each_body(commands in prop::collection::vec(a_command(), 0..6)) {
        let payload = pack(&commands);
        let batch = Batch::decode(&payload).unwrap();
        prop_assert_eq!(batch.stamp, Stamp { now: Timestamp(7), wall: Timestamp(9), ..Stamp::default() });
        prop_assert_eq!(batch.commands.len(), commands.len());
        let bodies: Vec<Bytes> = commands.iter().flat_map(bodies_of).cloned().collect();
        for (ordinal, body) in (0..).zip(&bodies) {
            prop_assert_eq!(codec::body(&payload, ordinal), Some(body.clone()));
        }
        prop_assert_eq!(codec::body(&payload, u32::try_from(bodies.len()).unwrap()), None);
        let odd: Vec<u32> = (0..).take(bodies.len()).filter(|ordinal| ordinal % 2 == 1).collect();
        let kept = codec::keep(&payload, &odd).unwrap();
        for (ordinal, body) in (0..).zip(&bodies) {
            let expected = (ordinal % 2 == 1).then(|| body.clone());
            prop_assert_eq!(codec::kept_body(&kept, ordinal), expected);
        }
        let last: Vec<u32> = odd.last().copied().into_iter().collect();
        prop_assert_eq!(codec::keep_again(&kept, &last), codec::keep(&payload, &last));
        prop_assert_eq!(apply_to_a_shard(&payload), Ok(commands.len()));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..50, ordinal in 0u32..9) {
        let mut bytes = bytes;
        read_everything(&bytes, ordinal);
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        read_everything(&bytes, ordinal);
    }

    #[test]
    fn damaged_bytes_are_read_without_panic(
        commands in prop::collection::vec(a_command(), 1..4),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = pack(&commands).to_vec();
        for (place, byte) in damages {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_everything(&bytes, 1);
        if Batch::decode(&bytes).is_ok() {
            apply_to_a_shard(&bytes).unwrap();
        }
    }
}

fn bodies_of(command: &Command) -> &[Bytes] {
    match command {
        Command::SendMessages { bodies, .. }
        | Command::SendMessagesOnce { bodies, .. }
        | Command::AcceptMoved { bodies, .. }
        | Command::Publish { bodies, .. }
        | Command::AcceptPublished { bodies, .. } => bodies,
        _ => &[],
    }
}

fn read_everything(bytes: &[u8], ordinal: u32) {
    let shared = Bytes::copy_from_slice(bytes);
    let _ = codec::decode(&shared);
    let _ = Encoded::from_bytes(shared.clone());
    let _ = Batch::decode(bytes);
    let _ = codec::body(&shared, ordinal);
    let _ = codec::kept_body(&shared, ordinal);
    let _ = codec::keep(bytes, &[ordinal]);
    let _ = codec::keep_again(bytes, &[ordinal]);
    let _ = Shard::restore(bytes);
}
