//! The numbers that are part of apply. A log outlives programs, and while a cluster is upgraded replicas run different
//! ones: with another limit they would make different states of one log, and a minority of them would be replaced for nothing
//! (`docs/decisions/0015-states-are-compared.md`).

use std::{collections::BTreeMap, fs, path::Path};

/// What to do when a number is to be another one.
const ADVICE: &str = "is not what tests/golden/limits.txt says. It is part of apply: replicas of the former program would make \
    something else of the same log. Give the number with the command (a new kind, with the version of the cluster from which \
    it may be proposed, `codec/kind.rs`), so that all replicas change over at the same entry, and keep the former one for the \
    former kind. Only if it has the same value, or nothing was released since it came, write it there.";

/// Every constant of the core, by file and name, as it is written.
fn constants() -> BTreeMap<(String, String), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![source.clone()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = path.strip_prefix(&source).unwrap().to_str().unwrap();
            // Kinds of commands are frozen with their bytes, and tests are no part of apply.
            if file == "codec/kind.rs" || file.ends_with("tests.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let constants = text.lines().filter_map(constant);
            found.extend(constants.map(|(name, value)| ((file.to_owned(), name), value)));
        }
    }
    found
}

/// Name and value of a constant, of whatever visibility.
fn constant(line: &str) -> Option<(String, String)> {
    let (before, rest) = line.trim_start().split_once("const ")?;
    let (name, rest) = rest.split_once(": ")?;
    let (_, value) = rest.split_once(" = ")?;
    let is_name = name
        .chars()
        .all(|it| matches!(it, 'A'..='Z' | '0'..='9' | '_'));
    let is_item = before.is_empty() || before.starts_with("pub");
    (is_name && is_item).then(|| (name.to_owned(), value.trim_end_matches(';').to_owned()))
}

/// As the golden file has them; without a value: it may be any.
fn frozen() -> BTreeMap<(String, String), Option<String>> {
    let lines = include_str!("golden/limits.txt").lines();
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &str| {
        let (place, value) = match line.split_once(" = ") {
            Some((place, value)) => (place, Some(value.to_owned())),
            None => (line, None),
        };
        let (file, name) = place.split_once(' ').unwrap();
        ((file.to_owned(), name.to_owned()), value)
    };
    rows.map(row).collect()
}

/// Core review, finding 9: another value in a newer program made replicas differ without a word.
#[test]
fn limits_that_are_part_of_apply_are_frozen() {
    let frozen = frozen();
    for ((file, name), value) in constants() {
        let Some(known) = frozen.get(&(file.clone(), name.clone())) else {
            panic!(
                "give {name} of src/{file} a line in tests/golden/limits.txt: is it part of apply?"
            )
        };
        if let Some(known) = known {
            assert_eq!(value, *known, "{name} of src/{file} {ADVICE}");
        }
    }
}

#[test]
fn every_frozen_limit_is_there() {
    let constants = constants();
    for (file, name) in frozen().into_keys() {
        let is_there = constants.contains_key(&(file.clone(), name.clone()));
        assert!(
            is_there,
            "{name} of src/{file} is gone: what do logs mean now that were written with it?"
        );
    }
}
