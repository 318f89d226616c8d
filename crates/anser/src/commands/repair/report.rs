//! What a repair found and did, in lines for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    path::Path,
};

use anser_node::{LeftOut, MendedShard, MendedState, RepairMode, Repaired, RepairedShard};

use crate::utc;

/// Places of damage that are listed.
const PLACES_MAX: usize = 100;

pub(super) fn text(repaired: &Repaired, data: &Path, mode: RepairMode) -> String {
    let mut text = String::new();
    write(&mut text, repaired, data, mode).expect("a text takes everything");
    text.trim_end().to_owned()
}

fn write(text: &mut String, repaired: &Repaired, data: &Path, mode: RepairMode) -> fmt::Result {
    let data = data.display();
    if repaired.is_whole() {
        return writeln!(text, "{data} is whole: there is nothing to repair");
    }
    if repaired.was_cut_short {
        writeln!(
            text,
            "an earlier repair of {data} was cut short: what it said is lost is lost, and its last steps are made up for"
        )?;
    }
    writeln!(text, "damaged in {data}:")?;
    for error in repaired.damage.iter().take(PLACES_MAX) {
        writeln!(text, "  {error}")?;
    }
    if let more @ 1.. = repaired.damage.len().saturating_sub(PLACES_MAX) {
        writeln!(text, "  and {more} more places")?;
    }
    let tense = match mode {
        RepairMode::Try => "would be",
        RepairMode::Repair => "is",
    };
    let mut loses = false;
    for shard in &repaired.shards {
        loses |= write_shard(text, shard, &repaired.names, tense)?;
    }
    loses |= write_never_made(text, &repaired.never_made, tense)?;
    if repaired.unreadable_bytes > 0 {
        loses = true;
        let bytes = repaired.unreadable_bytes;
        writeln!(
            text,
            "{bytes} bytes of the log cannot be read: requests of which nothing else is known may be lost with them"
        )?;
    }
    if !loses {
        writeln!(text, "nothing {tense} lost")?;
    }
    let aside = match mode {
        RepairMode::Try => "would stay",
        RepairMode::Repair => "stays",
    };
    writeln!(
        text,
        "what is damaged {aside} beside the rest, with .damaged behind its name"
    )
}

/// Whether the shard loses anything.
fn write_shard(
    text: &mut String,
    shard: &RepairedShard,
    names: &BTreeMap<u64, (u64, String)>,
    tense: &str,
) -> Result<bool, fmt::Error> {
    let number = shard.shard;
    let mut loses = false;
    if let Some(log) = shard.log {
        loses |= log.loses();
        write_log(text, number, &log, tense)?;
        write_left_out(text, &shard.left_out, names)?;
    }
    let bodies: u64 = shard.bodies_lost.values().sum();
    if bodies > 0 {
        loses = true;
        writeln!(
            text,
            "shard {number}: the bodies of {} cannot be read, which {tense} lost",
            messages(bodies)
        )?;
        write_messages(text, &shard.bodies_lost, names)?;
    }
    if let count @ 1.. = shard.damaged_segments {
        writeln!(
            text,
            "shard {number}: what can be read of {count} damaged segments {tense} written anew"
        )?;
    }
    Ok(loses)
}

fn write_log(text: &mut String, number: u16, log: &MendedShard, tense: &str) -> fmt::Result {
    let MendedShard {
        state,
        kept,
        left_out,
        missing,
        ..
    } = *log;
    match state {
        MendedState::Lost => {
            writeln!(
                text,
                "shard {number}: its state {tense} lost, with all messages that it had: its snapshot is damaged, and the log \
                 does not reach back to its beginning; its queues {tense} empty"
            )
        }
        MendedState::Entries if left_out + missing == 0 => {
            writeln!(
                text,
                "shard {number}: its snapshot {tense} made anew from the log, which has all of its entries"
            )
        }
        _ if left_out + missing == 0 => Ok(()),
        _ => {
            writeln!(
                text,
                "shard {number}: all {tense} kept up to entry {kept}; {missing} entries behind it cannot be read, and \
                 {left_out} behind those cannot be used without them, which {tense} lost"
            )
        }
    }
}

/// What of the lost entries can be read.
fn write_left_out(
    text: &mut String,
    left_out: &LeftOut,
    names: &BTreeMap<u64, (u64, String)>,
) -> fmt::Result {
    let Some((first, last)) = left_out.times else {
        return Ok(());
    };
    let (first, last) = (utc::text(first.seconds()), utc::text(last.seconds()));
    let sent: u64 = left_out.messages.values().sum();
    let other = left_out.other_commands;
    writeln!(
        text,
        "  those that can be read are from {first} to {last}: {} and {other} other requests",
        messages(sent)
    )?;
    write_messages(text, &left_out.messages, names)?;
    // One may have been refused, because there was one of that name.
    let known: BTreeSet<_> = names.values().collect();
    let lost: Vec<_> = left_out
        .created
        .iter()
        .filter(|it| !known.contains(it))
        .collect();
    for (account, name) in lost.iter().take(PLACES_MAX) {
        writeln!(
            text,
            "  among them the creation of {name} (account {account})"
        )?;
    }
    match lost.len().saturating_sub(PLACES_MAX) {
        0 => Ok(()),
        more => writeln!(text, "  and the creation of {more} more"),
    }
}

/// What lost its name. Whether there is any.
fn write_never_made(
    text: &mut String,
    never_made: &BTreeMap<u64, u64>,
    tense: &str,
) -> Result<bool, fmt::Error> {
    if never_made.is_empty() {
        return Ok(false);
    }
    let count = never_made.len();
    writeln!(
        text,
        "the creation of {count} queues, topics or subscriptions {tense} lost, and with it all that they have:"
    )?;
    for (number, held) in never_made.iter().take(PLACES_MAX) {
        writeln!(text, "  number {number} with {}", messages(*held))?;
    }
    if let more @ 1.. = count.saturating_sub(PLACES_MAX) {
        writeln!(text, "  and {more} more")?;
    }
    Ok(true)
}

fn write_messages(
    text: &mut String,
    counts: &BTreeMap<u64, u64>,
    names: &BTreeMap<u64, (u64, String)>,
) -> fmt::Result {
    for (number, &count) in counts {
        let count = messages(count);
        match names.get(number) {
            Some((account, name)) => writeln!(text, "  {count} of {name} (account {account})")?,
            None => writeln!(
                text,
                "  {count} of a queue or topic that is not known (number {number})"
            )?,
        }
    }
    Ok(())
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message".into(),
        count => format!("{count} messages"),
    }
}

#[cfg(test)]
mod tests {
    use anser_broker::time::Timestamp;

    use super::*;

    fn says(repaired: &Repaired, expected: &[&str]) {
        let said = text(repaired, Path::new("here"), RepairMode::Try);
        for part in expected {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }

    fn lost(state: MendedState) -> MendedShard {
        MendedShard {
            state,
            kept: 5,
            left_out: 3,
            missing: 2,
            passed: 10,
            term: 1,
        }
    }

    fn shard(log: Option<MendedShard>) -> RepairedShard {
        RepairedShard {
            shard: 7,
            log,
            left_out: LeftOut::default(),
            bodies_lost: BTreeMap::new(),
            damaged_segments: 0,
        }
    }

    #[test]
    fn a_folder_without_damage_is_whole_and_one_of_which_nothing_is_lost_is_told_so() {
        says(&Repaired::default(), &["here is whole"]);
        let cut_short = Repaired {
            was_cut_short: true,
            ..Repaired::default()
        };
        says(
            &cut_short,
            &["repair of here was cut short", "nothing would be lost"],
        );
        let whole = MendedShard {
            left_out: 0,
            missing: 0,
            ..lost(MendedState::Entries)
        };
        let made_anew = Repaired {
            shards: vec![shard(Some(whole))],
            ..Repaired::default()
        };
        says(
            &made_anew,
            &[
                "shard 7: its snapshot would be made anew",
                "nothing would be lost",
            ],
        );
    }

    #[test]
    fn what_is_lost_is_told_by_shard_and_name() {
        let mut left_out = LeftOut {
            messages: BTreeMap::from([(1, 1), (2, 4)]),
            other_commands: 6,
            times: Some((Timestamp(1_000), Timestamp(2_000))),
            ..LeftOut::default()
        };
        let created = (0..=PLACES_MAX).map(|number| (12, format!("made-{number:03}")));
        left_out.created.extend(created);
        left_out.created.insert((12, "orders".into()));
        let shards = vec![
            RepairedShard {
                left_out,
                ..shard(Some(lost(MendedState::Snapshot)))
            },
            RepairedShard {
                bodies_lost: BTreeMap::from([(1, 8)]),
                damaged_segments: 2,
                ..shard(None)
            },
            shard(Some(lost(MendedState::Lost))),
        ];
        let repaired = Repaired {
            unreadable_bytes: 99,
            shards,
            never_made: BTreeMap::from([(77, 2)]),
            names: BTreeMap::from([(1, (12, "orders".into()))]),
            ..Repaired::default()
        };
        let expected = [
            "shard 7: all would be kept up to entry 5; 2 entries behind it cannot be read, and 3 behind",
            "5 messages and 6 other requests",
            "1 message of orders (account 12)",
            "4 messages of a queue or topic that is not known (number 2)",
            "the creation of made-000 (account 12)",
            "and the creation of 1 more",
            "the bodies of 8 messages cannot be read, which would be lost",
            "2 damaged segments would be written anew",
            "shard 7: its state would be lost",
            "the creation of 1 queues, topics or subscriptions would be lost",
            "number 77 with 2 messages",
            "99 bytes of the log cannot be read",
        ];
        says(&repaired, &expected);
        let said = text(&repaired, Path::new("here"), RepairMode::Try);
        assert!(!said.contains("creation of orders") && !said.contains("nothing would be lost"));
    }
}
