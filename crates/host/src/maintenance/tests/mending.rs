//! What is damaged is mended with what another node has, which did the same.

use anser_broker::id::ShardId;
use anser_log::{Error, Stored};

use super::{
    rig::{Rig, options},
    scrub,
};
use crate::{
    bodies::BodyReader,
    maintenance::Damage,
    mending::{Attempted, Given},
};

/// Two nodes that have the same shards and the same log, and segments of them if they have run so long.
fn two(messages: usize, fills: usize) -> [Rig; 2] {
    [(); 2].map(|()| {
        let mut rig = Rig::new(2);
        rig.maintenance = rig.maintenance.among_others();
        for _ in 0..messages {
            rig.send(1, 300);
        }
        for _ in 0..fills {
            rig.fill(0, 1_000);
            rig.round();
        }
        rig
    })
}

/// Flips a bit in the middle of the body of the first message that stands in a file of this kind.
fn flip(rig: &Rig, kind: &str) -> String {
    let files = rig.disk.contents().files;
    let body = |content: &[u8]| {
        let mut stretches = content.windows(300);
        stretches.position(|bytes| bytes.iter().all(|&byte| byte == b'x'))
    };
    let mut found = files.iter().filter(|(path, _)| path.contains(kind));
    let (path, at) = found
        .find_map(|(path, content)| Some((path.clone(), body(content)?)))
        .expect("there is one");
    assert!(rig.disk.damage(&path, |bytes| bytes[at + 150] ^= 1));
    path
}

/// One wound after the other, with what the other node has; what came of each.
fn mend(rig: &mut Rig, peer: &Rig) -> Vec<Attempted> {
    let damaged = rig.maintenance.take_damaged();
    let mend = |damage: Damage| {
        let image = rig.image(1);
        let wound = damage.wound.expect("its place is known");
        let mut attempt = |given| {
            let attempted = rig
                .maintenance
                .mend(damage.shard, &wound, given, Some(&image));
            attempted.expect("the disk works")
        };
        match attempt(Given::new()) {
            Attempted::Needs(needs) => {
                let given = peer.give(1, &needs).into_iter();
                attempt(given.map(|stored| (stored.index(), stored)).collect())
            }
            other => other,
        }
    };
    damaged.into_iter().map(mend).collect()
}

#[test]
fn a_damaged_record_of_a_segment_is_taken_from_another_node() {
    let [mut rig, peer] = two(8, 600);
    let path = flip(&rig, ".segment");
    assert_eq!(scrub_until_met(&mut rig), path);
    assert_eq!(mend(&mut rig, &peer), [Attempted::Mended]);
    assert_eq!(rig.bodies(1), [300; 8]);
    assert!(!rig.store.is_damaged(1));
    let paths = rig.disk.paths();
    assert!(!paths.contains(&path) && paths.contains(&format!("{path}.damaged")));
    assert_eq!(scrub(&mut rig), [""; 0]);
    assert_eq!(rig.reopened().bodies(1), [300; 8]);
}

#[test]
fn a_damaged_record_of_the_log_is_taken_from_another_node() {
    let [mut rig, peer] = two(8, 100);
    let path = flip(&rig, ".wal");
    assert_eq!(scrub_until_met(&mut rig), path);
    assert_eq!(mend(&mut rig, &peer), [Attempted::Mended]);
    assert_eq!(rig.bodies(1), [300; 8]);
    assert_eq!(scrub(&mut rig), [""; 0]);
}

/// Also if the other one has recycled its log, and has only kept what is alive.
#[test]
fn recycling_waits_for_what_another_node_has() {
    for is_recycled in [false, true] {
        let [mut rig, mut peer] = two(8, 0);
        if is_recycled {
            (0..600).for_each(|_| {
                peer.fill(0, 1_000);
                peer.round();
            });
        }
        flip(&rig, ".wal");
        let mut rounds = 0;
        while rig.store.segments(1).is_empty() {
            rig.fill(0, 1_000);
            if let Err(error) = rig.try_round() {
                assert!(matches!(error, Error::Missing { .. }), "{error}");
                let expected = if is_recycled {
                    Attempted::Settled
                } else {
                    Attempted::Mended
                };
                assert_eq!(mend(&mut rig, &peer), [expected]);
                rounds += 1;
            }
        }
        assert_eq!(rounds, 1);
        assert!(rig.maintenance.take_damaged().is_empty());
        assert!(!rig.store.is_damaged(1) && !rig.maintenance.waits_for_reads());
        assert_eq!(rig.bodies(1), [300; 8]);
    }
}

/// In the end the log goes round without it, and the replica is known to be damaged.
#[test]
fn recycling_does_not_wait_for_ever() {
    let [mut rig, _peer] = two(8, 0);
    flip(&rig, ".wal");
    while rig.store.segments(1).is_empty() {
        rig.fill(0, 1_000);
        drop(rig.try_round());
    }
    let damaged = rig.maintenance.take_damaged();
    assert_eq!(damaged.len(), 16);
    assert!(damaged[15].wound.is_none() && damaged[14].wound.is_some());
    assert!(rig.store.is_damaged(1));
    assert!(rig.store.wal_bytes_in_use() < 2 * options().wal_budget_bytes);
}

/// The other one's state is newer, so it keeps less.
#[test]
fn what_another_node_has_kept_no_more_is_not_left_out() {
    let [mut rig, mut peer] = two(8, 600);
    (0..8).for_each(|_| peer.consume(1, 10));
    (0..8).for_each(|_| peer.sweep());
    let path = flip(&rig, ".segment");
    scrub_until_met(&mut rig);
    let [attempted] = &mend(&mut rig, &peer)[..] else {
        panic!("one place is damaged")
    };
    assert_eq!(attempted, &Attempted::Needs(vec![3]));
    assert!(rig.disk.paths().contains(&path), "nothing was changed");
    let of_another = Given::from([(3, peer.give(1, &[11]).remove(0))]);
    scrub_until_met(&mut rig);
    let damage = rig.maintenance.take_damaged().remove(0);
    let (image, wound) = (rig.image(1), damage.wound.expect("its place is known"));
    let attempted = rig
        .maintenance
        .mend(damage.shard, &wound, of_another, Some(&image));
    let attempted = attempted.expect("the disk works");
    assert!(matches!(attempted, Attempted::Hopeless(_)), "{attempted:?}");
    assert!(rig.disk.paths().contains(&path), "nothing was changed");
}

#[test]
fn what_only_this_node_has_is_not_asked_for() {
    let [mut rig, peer] = two(8, 600);
    let paths = rig.disk.paths();
    let path = paths
        .iter()
        .rfind(|path| path.contains("00001/") && path.contains(".snapshot"));
    assert!(
        rig.disk
            .damage(path.expect("there is one"), |bytes| bytes[100] ^= 1)
    );
    scrub_until_met(&mut rig);
    let attempted = mend(&mut rig, &peer);
    assert!(
        matches!(attempted[..], [Attempted::Hopeless(_)]),
        "{attempted:?}"
    );
}

#[test]
fn a_node_gives_what_it_can_read_and_has_applied() {
    let [rig, _] = two(8, 0);
    let reader = BodyReader::new(rig.reader(), 0);
    let give = |applied, bytes_max| {
        let given = reader.give(ShardId(1), applied, &[3, 4, 99, 5], bytes_max);
        given.iter().map(Stored::index).collect::<Vec<_>>()
    };
    assert_eq!(give(100, 1 << 20), [3, 4, 5]);
    assert_eq!(give(4, 1 << 20), [3, 4]);
    assert_eq!(give(100, 1), [3]);
    flip(&rig, ".wal");
    assert_eq!(give(100, 1 << 20), [4, 5]);
}

/// The file in which the scrub meets damage, once.
fn scrub_until_met(rig: &mut Rig) -> String {
    for _ in 0..1_000 {
        rig.maintenance.scrub().expect("damage is passed over");
        if let Some(Damage {
            error: Error::Corrupt { file, .. },
            ..
        }) = rig.maintenance.damaged.first()
        {
            let file = file.clone();
            // The round is so small that one look meets it twice.
            rig.maintenance.damaged.truncate(1);
            return file;
        }
    }
    panic!("it is met")
}
