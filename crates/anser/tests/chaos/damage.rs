//! The damage matrix: each kind of damage to each kind of file of one node of three, while it is down and while it runs,
//! under load.
//!
//! Nothing is lost, the other nodes serve, and the damaged one says which file it is. `damage/outcome.rs` has the table of
//! what is accepted of it. `CHAOS_CELL` names cells, as in `CHAOS_CELL='flip wal'`.

mod cell;
mod harm;
mod outcome;
mod round;

use std::{collections::BTreeMap, env, time::Duration};

pub(crate) use self::cell::drawn;
use self::{
    cell::{Cell, KINDS, Kind, TARGETS, Target, When},
    round::{Round, Stage},
};
use super::{
    beside_others, fleet::Fleet, folder, node_kill::SHARDS, probes::Probes, say, story::Story,
    summary::conclude, workload::Chance,
};

/// Small files, so that there are some of each kind soon, and are recycled.
const SETTINGS: &str = "[storage]\nwal_file_bytes = \"8 MiB\"\nwal_budget_bytes = \"32 MiB\"\nsegment_bytes = \"1 MiB\"\n";
const BULK_QUEUES: usize = 2 * SHARDS as usize;
/// What each of those holds, to be looked for in each round.
const BATCHES: u64 = 1;
const BODY_BYTES: usize = 48_000;
const EVEN_WITHIN: Duration = Duration::from_secs(120);
const PATIENT: Duration = Duration::from_secs(10);
/// A gap is known this much too short or too long.
const PROBED_EVERY: Duration = Duration::from_millis(250);
/// The promise is 3 s, and the figure is said. All processes of a test may stand still together for 20 s on a machine that gives
/// them a fifth of its time; this bounds what is never served again.
const GAP_MAX: Duration = Duration::from_secs(60);
/// Those of every test run: one of bytes, one of a file that is gone.
const FEW: [Cell; 2] = [
    Cell {
        target: Target::Wal,
        kind: Kind::Flip,
        when: When::Down,
    },
    Cell {
        target: Target::Snapshot,
        kind: Kind::Missing,
        when: When::Down,
    },
];

/// Plays these cells, or as many that chance draws.
pub(crate) fn play(
    name: &'static str,
    rounds: u64,
    choose: impl FnOnce(usize, &mut Chance) -> Vec<Cell>,
) {
    let _turn = beside_others();
    let folder = folder();
    let story = Story::with_bulk(name, rounds, BULK_QUEUES);
    let mut chance = Chance::new(story.load.seed);
    let cells = choose(usize::try_from(story.rounds()).unwrap(), &mut chance);
    let fleet = Fleet::start(folder.path(), 3, 3, SETTINGS);
    fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
    story.create_queues(&fleet);
    story.fill_each(&fleet, BATCHES, BODY_BYTES);
    let probes = Probes::start_every(PROBED_EVERY, &fleet, SHARDS, PATIENT);
    let running = story.run(&fleet);
    let mut stage = Stage {
        fleet,
        story,
        probes,
        chance,
    };
    let mut played = Vec::new();
    for cell in cells {
        let round = stage.play(cell);
        say(&round.to_string());
        round.assert_kept(&stage.fleet);
        played.push(round);
    }
    running.join();
    say_table(&played);
    stage.probes.rest();
    conclude(stage.story, Some(stage.probes), &stage.fleet);
    let accepted = |round: &&Round| round.outcome.is_accepted_of(round.cell.target);
    let others = played.iter().filter(|round| !accepted(round));
    let others: Vec<String> = others.map(Round::to_string).collect();
    assert_eq!(others, [""; 0], "these came out as they must not");
}

/// The cells whose names have these words in them, drawn by chance.
pub(crate) fn play_drawn(name: &'static str, rounds: u64, words: &str) {
    play(name, rounds, |count, chance| drawn(words, count, chance));
}

fn say_table(played: &[Round]) {
    let mut cells: BTreeMap<Cell, Vec<String>> = BTreeMap::new();
    for round in played {
        let code = round
            .code
            .map_or(String::new(), |code| format!(" ({code})"));
        let text = format!(
            "{:?}{code} {:.0?} lost {}",
            round.outcome,
            round.whole_after,
            round.lost.len()
        );
        cells.entry(round.cell).or_default().push(text);
    }
    say("| file | damage | while down | while running |\n|---|---|---|---|");
    for target in TARGETS {
        for kind in KINDS {
            let of = |when| {
                let cell = Cell { target, kind, when };
                cells
                    .get(&cell)
                    .map_or("-".to_owned(), |all| all.join("; "))
            };
            let (down, running) = (of(When::Down), of(When::Running));
            if (down.as_str(), running.as_str()) != ("-", "-") {
                say(&format!("| {target:?} | {kind:?} | {down} | {running} |"));
            }
        }
    }
}

#[test]
fn nothing_is_lost_when_a_file_of_one_node_is_damaged() {
    play("damage-few", FEW.len() as u64, |count, _| {
        FEW.into_iter().cycle().take(count).collect()
    });
}

#[test]
#[ignore = "by command: scripts/chaos damage"]
fn nothing_is_lost_whatever_is_damaged_of_one_node() {
    let words = env::var("CHAOS_CELL").unwrap_or_default();
    play_drawn("damage-all", 84, &words);
}
