//! The bytes between replicas.

use anser_replica::{MembershipChange, MembershipStep, PeerMessage};
use bytes::Bytes;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Sketch {
    kind: u8,
    flags: u8,
    numbers: [u64; 9],
    priority: i64,
    run: u64,
    life: u64,
    context: Vec<u8>,
    entries: Vec<(Option<u64>, Vec<u8>)>,
}

impl Sketch {
    /// The bytes as `docs/formats/peer-messages.md` has them.
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![2, self.kind, self.flags];
        let mut numbers = self.numbers;
        (numbers[0], numbers[1]) = (numbers[0].max(1), numbers[1].max(1));
        // An entry's term is no later than the message's.
        numbers[2] = numbers[2].max(numbers[3]).max(1);
        for number in numbers {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.priority.to_le_bytes());
        out.extend(self.run.to_le_bytes());
        out.extend(self.life.to_le_bytes());
        out.push(length(&self.context)[0]);
        out.extend(&self.context);
        if self.kind == 9 {
            out.extend(7_u64.to_le_bytes());
            out.extend(3_u64.to_le_bytes());
            out.push(0);
            for nodes in [&[1_u64, 2][..], &[3], &[], &[]] {
                out.extend(length(nodes));
                out.extend(nodes.iter().flat_map(|node| node.to_le_bytes()));
            }
        }
        let entries = if self.kind == 1 {
            &self.entries[..]
        } else {
            &[]
        };
        out.extend(length(entries));
        let mut index = numbers[4];
        for (node, data) in entries {
            index += 1;
            let change = node.map(|node| {
                let steps = vec![MembershipStep::AddLearner(node)];
                MembershipChange { steps }.encode().to_vec()
            });
            out.push(u8::from(change.is_some()));
            out.extend(index.to_le_bytes());
            out.extend(numbers[2].to_le_bytes());
            let data = change.as_ref().unwrap_or(data);
            out.extend(length(data));
            out.extend(data);
        }
        out
    }
}

prop_compose! {
    fn sketch()(
        kind in 1_u8..=10,
        flags in prop::sample::select(vec![0_u8, 1, 2, 3, 6, 7]),
        numbers in prop::array::uniform9(0_u64..1 << 61),
        priority in any::<i64>(),
        run in any::<u64>(),
        life in any::<u64>(),
        context in prop::collection::vec(any::<u8>(), 0..=64),
        entries in prop::collection::vec(
            (prop::option::of(1_u64..9), prop::collection::vec(any::<u8>(), 0..40)),
            0..6,
        ),
    ) -> Sketch {
        Sketch { kind, flags, numbers, priority, run, life, context, entries }
    }
}

fn length<T>(of: &[T]) -> [u8; 4] {
    u32::try_from(of.len()).expect("it is short").to_le_bytes()
}

fn encoded(message: &PeerMessage) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn what_is_encoded_is_decoded(sketch in sketch()) {
        let bytes = sketch.bytes();
        let message = PeerMessage::decode(bytes.clone().into()).unwrap();
        prop_assert_eq!(message.to(), sketch.numbers[0].max(1));
        prop_assert_eq!(message.from(), sketch.numbers[1].max(1));
        prop_assert_eq!(encoded(&message), bytes);
    }

    #[test]
    fn bytes_that_are_too_few_or_too_many_are_refused(sketch in sketch(), at in any::<prop::sample::Index>()) {
        let mut bytes = sketch.bytes();
        let short = bytes[..at.index(bytes.len())].to_vec();
        prop_assert!(PeerMessage::decode(short.into()).is_err());
        bytes.push(0);
        prop_assert!(PeerMessage::decode(bytes.into()).is_err());
    }

    #[test]
    fn damaged_bytes_are_refused_or_mean_something(
        sketch in sketch(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = sketch.bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = PeerMessage::decode(bytes.clone().into()) {
            prop_assert_eq!(encoded(&message), bytes);
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), known in any::<bool>()) {
        if known && bytes.len() > 2 {
            bytes[0] = 2;
            bytes[1] = 1 + bytes[1] % 10;
            bytes[2] &= 7;
        }
        PeerMessage::decode(bytes.into()).ok();
    }
}

#[test]
fn the_bytes_of_a_message_are_frozen() {
    let sketch = Sketch {
        kind: 1,
        flags: 0,
        numbers: [2, 1, 5, 4, 9, 8, 0, 0, 0],
        priority: 0,
        run: 6,
        life: 7,
        context: b"c".to_vec(),
        entries: vec![(None, b"batch".to_vec()), (Some(3), Vec::new())],
    };
    let golden = include_str!("golden/peer-message.hex");
    let byte = |at: usize| u8::from_str_radix(&golden[at..at + 2], 16).unwrap();
    let golden: Vec<u8> = (0..golden.trim().len()).step_by(2).map(byte).collect();
    assert_eq!(sketch.bytes(), golden);
    let message = PeerMessage::decode(sketch.bytes().into()).unwrap();
    assert_eq!(encoded(&message), sketch.bytes());
}

#[test]
fn messages_that_no_replica_sends_are_refused() {
    let good = Sketch {
        kind: 7,
        flags: 0,
        numbers: [2, 1, 5, 4, 9, 8, 0, 0, 0],
        priority: 0,
        run: 6,
        life: 7,
        context: Vec::new(),
        entries: Vec::new(),
    }
    .bytes();
    assert!(PeerMessage::decode(good.clone().into()).is_ok());
    for (at, byte) in [
        (0, 1),
        (0, 3),
        (1, 0),
        (1, 11),
        (2, 4),
        (2, 8),
        (3, 0),
        (11, 0),
        (19, 0),
        (99, 65),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        let refused = PeerMessage::decode(Bytes::from(bad)).is_err();
        assert!(refused, "byte {at} as {byte}");
    }
}
