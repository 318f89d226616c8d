//! How much goes into a batch, and what is none.

use anser_broker::{
    codec::{self, BatchBuilder, Encoded},
    command::Command,
    id::{QueueId, ShardId},
    limits,
    shard::Shard,
    time::Stamp,
};
use bytes::Bytes;

#[test]
fn a_batch_is_full_by_bytes_messages_or_leases() {
    let mut batch = BatchBuilder::new(Stamp::default());
    let huge = codec::encode(&Command::SendMessages {
        queue: QueueId(1),
        delay: None,
        bodies: vec![Bytes::from(vec![0; limits::ENTRY_BYTES])],
    });
    assert!(
        batch.fits(&huge),
        "the first command may be larger than an entry should be"
    );
    batch.push(&codec::encode(&Command::Settle));
    assert!(!batch.fits(&huge));

    let receive = codec::encode(&Command::ReceiveMessages {
        queue: QueueId(1),
        max: 64,
        visibility: None,
    });
    let many = codec::encode(&Command::SendMessages {
        queue: QueueId(1),
        delay: None,
        bodies: vec![Bytes::from_static(b"x"); 64],
    });
    for _ in 0..16 {
        assert!(batch.fits(&receive) && batch.fits(&many));
        batch.push(&receive);
        batch.push(&many);
    }
    assert!(!batch.fits(&receive) && !batch.fits(&many));
    let size = batch.size();
    assert_eq!(batch.finish().len(), size);
}

#[test]
fn a_command_from_elsewhere_fits_an_empty_batch() {
    let send = |bodies| {
        codec::encode(&Command::SendMessages {
            queue: QueueId(1),
            delay: None,
            bodies: vec![Bytes::from_static(b"x"); bodies],
        })
    };
    let most = Encoded::from_bytes(send(1024).bytes).unwrap();
    assert!(BatchBuilder::new(Stamp::default()).fits(&most));
    let too_many = send(1025).bytes;
    assert_eq!(Encoded::from_bytes(too_many), Err(codec::Error::BadValue));
}

#[test]
fn a_payload_that_is_no_batch_changes_only_what_was_applied() {
    let mut shard = Shard::new(ShardId(1), 2);
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    assert!(
        shard
            .apply(5, b"nonsense", &mut replies, &mut effects)
            .is_err()
    );
    assert_eq!(shard.applied(), 5);
    shard.apply(6, b"", &mut replies, &mut effects).unwrap();
    assert_eq!((shard.applied(), replies.len(), effects.len()), (6, 0, 0));
}
