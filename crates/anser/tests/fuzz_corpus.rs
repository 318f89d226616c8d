//! What fuzzing found, and the corpus it began with, run through the same doors.

use std::{fs, path::Path};

type Door = fn(&[u8]);

const DOORS: [(&str, Door); 6] = [
    ("form", anser_api::fuzzing::form),
    ("canonical", anser_api::fuzzing::canonical),
    ("endpoint", anser_api::fuzzing::endpoint),
    ("routing", anser_broker::fuzzing::routing),
    ("push_endpoint", anser_push::fuzzing::endpoint),
    ("address", anser_push::fuzzing::address),
];

#[test]
fn the_corpus_of_every_fuzz_target_keeps_the_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, door) in DOORS {
        let inputs: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().collect();
        assert!(!inputs.is_empty(), "{name} has a corpus");
        for input in inputs {
            door(&fs::read(input.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn every_fuzz_target_is_run_here() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let targets = fs::read_dir(targets).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    });
    let mut targets: Vec<String> = targets.collect();
    targets.sort();
    let mut doors = DOORS.map(|(name, _)| name);
    doors.sort_unstable();
    assert_eq!(targets, doors);
}
