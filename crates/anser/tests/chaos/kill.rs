//! kill -9 at random moments under load, again and again on one data directory.

use std::{thread, time::Duration};

use super::{beside_others, folder, server, story::Story, summary::conclude, workload::Chance};
use anser_check::Operation;

const ROUNDS: u64 = 8;

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let _turn = beside_others();
    let folder = folder();
    let place = server::place_in(folder.path());
    let story = Story::new("kill", ROUNDS);
    let mut chance = Chance::new(story.load.seed);
    let mut server = place.start();
    story.create_queues(&server);
    for _ in 0..story.rounds() {
        let running = story.run(&server);
        thread::sleep(Duration::from_millis(200 + chance.below(3_000)));
        let died = story.load.recorder.now();
        server.kill();
        running.join();
        server = place.start();
        story.load.recorder.add(0, "", died, Operation::Outage);
    }
    conclude(story, None, &server);
    server.stop();
}
