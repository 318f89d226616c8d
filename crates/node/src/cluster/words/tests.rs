//! The bytes of words: programs of different versions talk to each other, so none may change.

use std::fmt::Write;

use anser_broker::{
    attributes::{Acknowledge, FilterKind, TopicAttributes},
    command::{NodeStart, PlacedTopic, TopicRecord},
    id::{AccountId, Sequence, TopicId},
    name::{QueueName, TopicName},
    time::Timestamp,
};
use anser_host::{Led, PeerReport, ReplicaReport, Step, Unfit};

use super::*;

fn report() -> NodeReport {
    NodeReport {
        node: 2,
        full: true,
        free_bytes: 300,
        data_bytes: 4,
        sync_micros: 5,
        replicas: vec![ReplicaReport {
            shard: 6,
            term: 7,
            leader: Some(2),
            applied: 8,
            bytes: 9,
            led: Some(Led {
                last: 10,
                voters: vec![1, 2],
                learners: vec![3],
                settled_at: 300,
                joint: true,
                peers: vec![PeerReport {
                    node: 1,
                    matched: 11,
                    active: true,
                    copying: false,
                    is_blank: true,
                }],
            }),
            marks: vec![Mark {
                index: 8,
                fingerprint: 12,
            }],
        }],
        knows: ClusterVersion(2),
        leaves: true,
        damaged: vec![(6, "manifest".into())],
        unfit: Some(Unfit::Full),
    }
}

fn notes() -> Vec<Note> {
    let shard = 4;
    vec![
        Note::Consensus(vec![
            (ShardId(1), Bytes::from_static(b"ab")),
            (ShardId(258), Bytes::from_static(b"c")),
        ]),
        Note::Report(report()),
        Note::Shared {
            revision: 3,
            bytes: Bytes::from_static(b"keys"),
        },
        Note::Order(Order::Change {
            shard,
            steps: vec![Step::AddVoter(1), Step::AddLearner(2), Step::Remove(3)],
        }),
        Note::Order(Order::Transfer { shard, to: 5 }),
        Note::Order(Order::Forget { shard, decided: 6 }),
    ]
}

fn asks() -> Vec<Ask> {
    let shard = 1;
    let forwarded = |request| Ask::Shard { shard, request };
    vec![
        forwarded(Forwarded::Propose(Bytes::from_static(b"command"))),
        forwarded(Forwarded::Receive {
            queue: QueueId(2),
            max: 3,
            visibility: Some(Millis(4)),
            wait: None,
        }),
        forwarded(Forwarded::Read(Query::Queue {
            account: AccountId(5),
            name: QueueName::new("orders").unwrap(),
        })),
        forwarded(Forwarded::Read(Query::Nodes)),
        Ask::Change {
            command: Bytes::from_static(b"command"),
        },
        Ask::CatalogIndex,
        Ask::CatalogReached { index: 300 },
        Ask::Join(Join {
            incarnation: *b"a disk's own id.",
            start: NodeStart {
                number: 3,
                mark: *b"drawn at a start",
            },
            address: "a:1".into(),
            host: "h".into(),
            zone: "z".into(),
            knows: ClusterVersion(2),
        }),
        Ask::Copy(CopyAsk::Begin {
            shard,
            offer: Offer {
                snapshot: OfferedSnapshot {
                    index: 1,
                    term: 2,
                    bytes: 3,
                    id: 4,
                    checksum: 5,
                },
                segments: vec![OfferedSegment {
                    id: 6,
                    first_index: 7,
                    last_index: 8,
                    bytes: 9,
                    records: 10,
                }],
            },
        }),
        Ask::Copy(CopyAsk::Chunk {
            shard,
            file: CopyFile::Segment(6),
            offset: 7,
            bytes: Bytes::from_static(b"part"),
        }),
        Ask::Copy(CopyAsk::End {
            shard,
            message: Bytes::from_static(b"message"),
        }),
        Ask::Failures {
            subscription: SubscriptionId(9),
        },
        Ask::Entries {
            shard,
            indexes: vec![2, 300],
        },
    ]
}

fn attributes(acknowledge: Acknowledge) -> TopicAttributes {
    TopicAttributes {
        body_bytes_max: 1,
        retention: Millis(2),
        filter: FilterKind::RoutingKey,
        acknowledge,
    }
}

fn topic(acknowledge: Acknowledge) -> Told {
    Told::Answer(Answer::Topic(Box::new(TopicRecord {
        topic: TopicId(1),
        shard: ShardId(2),
        name: TopicName::new("news").unwrap(),
        attributes: attributes(acknowledge),
        subscriptions: 3,
        created: Timestamp(4),
        modified: Timestamp(5),
    })))
}

fn tolds() -> Vec<Told> {
    vec![
        Told::Reply(Reply::Sent {
            messages: vec![Sequence::new(1, 2)],
        }),
        topic(Acknowledge::Majority),
        topic(Acknowledge::All),
        Told::Messages(Vec::new()),
        Told::Refused(Error::Unavailable),
        Told::Refused(Error::NeedsVersion(ClusterVersion(2))),
        Told::NotLeader,
        Told::Placed(Placed::Topic(PlacedTopic {
            account: AccountId(1),
            name: TopicName::new("news").unwrap(),
            topic: TopicId(2),
            shard: ShardId(3),
            revision: 4,
            attributes: None,
            floor: 1,
        })),
        Told::CatalogIndex(300),
        Told::Reached,
        Told::Joined {
            cluster: *b"the cluster's id",
            node: NodeId(3),
            shards: 16,
            peers: vec![JoinedPeer {
                node: NodeId(1),
                address: "a:1".into(),
                incarnation: *b"a disk's own id.",
            }],
            version: ClusterVersion(2),
        },
        Told::CopyMissing(Some((CopyFile::Snapshot, 4))),
        Told::CopyRefused("full".into()),
        Told::Unintelligible,
        Told::Failures(Vec::new()),
        Told::WorksAt(ClusterVersion(3)),
        Told::Entries(vec![
            GivenEntry::Whole {
                index: 2,
                term: 3,
                kind: GivenKind::ChangeV2,
                data: Bytes::from_static(b"entry"),
            },
            GivenEntry::Kept {
                index: 300,
                term: 4,
                payload: Bytes::from_static(b"kept"),
            },
        ]),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A line is added for new words, none is changed.
#[test]
fn the_bytes_of_words_are_frozen() {
    let notes = notes().into_iter().map(|note| note.encode());
    let asks = asks().into_iter().map(|ask| ask.encode());
    let tolds = tolds().into_iter().map(|told| told.encode());
    let lines: Vec<String> = notes
        .chain(asks)
        .chain(tolds)
        .map(|bytes| hex(&bytes))
        .collect();
    let frozen: Vec<&str> = include_str!("../golden/words.hex").lines().collect();
    assert_eq!(lines, frozen, "\n{}\n", lines.join("\n"));
}

#[test]
fn words_are_read_as_they_were_written() {
    for note in notes() {
        let read = Note::decode(note.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{note:?}"));
    }
    for ask in asks() {
        let read = Ask::decode(&ask.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{ask:?}"));
    }
    for told in tolds() {
        let read = Told::decode(&told.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{told:?}"));
    }
}

/// What words had before there were versions, and how they were read then: to their end and no further.
fn without_trailing(bytes: &[u8]) -> &[u8] {
    let trailing = postcard::to_stdvec(&Trailing::of(ClusterVersion(2))).unwrap();
    bytes.strip_suffix(&trailing[..]).unwrap()
}

#[test]
fn a_node_that_says_no_version_knows_the_first() {
    let bytes = Note::Report(report()).encode();
    let mut without_marks = report();
    without_marks.replicas[0].marks.clear();
    let said = bytes.strip_suffix(&[1, 1, 8, 12]).unwrap();
    let Some(Note::Report(read)) = Note::decode(Bytes::copy_from_slice(said)) else {
        panic!("no report")
    };
    assert_eq!(read, without_marks);
    let without_unfit = said.strip_suffix(&[1, 1]).unwrap();
    let Some(Note::Report(read)) = Note::decode(Bytes::copy_from_slice(without_unfit)) else {
        panic!("no report")
    };
    assert_eq!((read.damaged.len(), read.unfit), (1, None));
    let damaged = postcard::to_stdvec(&report().damaged).unwrap();
    let without_damaged = without_unfit.strip_suffix(&damaged[..]).unwrap();
    let Some(Note::Report(read)) = Note::decode(Bytes::copy_from_slice(without_damaged)) else {
        panic!("no report")
    };
    assert_eq!((read.leaves, read.damaged), (true, Vec::new()));
    let without_leaves = without_damaged.strip_suffix(&[1]).unwrap();
    let Some(Note::Report(read)) = Note::decode(Bytes::copy_from_slice(without_leaves)) else {
        panic!("no report")
    };
    assert_eq!((read.knows, read.leaves), (ClusterVersion(2), false));
    let old = Bytes::copy_from_slice(without_trailing(without_leaves));
    let Some(Note::Report(read)) = Note::decode(old.clone()) else {
        panic!("no report")
    };
    assert_eq!(read.knows, ClusterVersion::FIRST);
    assert_eq!(read.replicas, without_marks.replicas);
    // As programs from before read it.
    let then: NodeReport = postcard::from_bytes(&bytes[1..]).unwrap();
    assert_eq!(postcard::to_stdvec(&then).unwrap(), old[1..]);

    let join = asks().swap_remove(7).encode();
    let Some(Ask::Join(read)) = Ask::decode(without_trailing(&join)) else {
        panic!("no request for a place")
    };
    assert_eq!(read.knows, ClusterVersion::FIRST);
    assert!(matches!(postcard::from_bytes(&join), Ok(Ask::Join(_))));

    let joined = tolds().swap_remove(10).encode();
    let Some(Told::Joined { version, .. }) = Told::decode(without_trailing(&joined)) else {
        panic!("no place")
    };
    assert_eq!(version, ClusterVersion::FIRST);
    let then = postcard::from_bytes(&joined);
    assert!(matches!(then, Ok(Told::Joined { .. })));
}

/// What is added later follows what is there now.
#[test]
fn what_follows_is_left_to_newer_programs() {
    let mut bytes = Note::Report(report()).encode().to_vec();
    bytes.extend_from_slice(b"of a later program");
    let Some(Note::Report(read)) = Note::decode(bytes.into()) else {
        panic!("no report")
    };
    assert_eq!(read, report());
}

/// Attributes as they were before topics had acknowledgement policies.
#[test]
fn a_topic_of_the_usual_policy_is_said_as_ever() {
    #[derive(Serialize, Deserialize)]
    struct Then {
        body_bytes_max: u32,
        retention: Millis,
        filter: FilterThen,
    }
    #[derive(Serialize, Deserialize)]
    enum FilterThen {
        Tags,
        RoutingKey,
    }
    for (filter, then) in [
        (FilterKind::Tags, FilterThen::Tags),
        (FilterKind::RoutingKey, FilterThen::RoutingKey),
    ] {
        let now = TopicAttributes {
            filter,
            ..attributes(Acknowledge::Majority)
        };
        let then = Then {
            body_bytes_max: 1,
            retention: Millis(2),
            filter: then,
        };
        let bytes = postcard::to_stdvec(&then).unwrap();
        assert_eq!(postcard::to_stdvec(&now).unwrap(), bytes);
        assert_eq!(postcard::from_bytes(&bytes), Ok(now));
    }
    let all = postcard::to_stdvec(&attributes(Acknowledge::All)).unwrap();
    assert!(postcard::from_bytes::<Then>(&all).is_err());
    let read = postcard::from_bytes(&all);
    assert_eq!(read, Ok(attributes(Acknowledge::All)));
}
