//! Every number of the conformance list is shown by a test or listed with a reason.

use std::{collections::BTreeSet, fs, ops::RangeInclusive, path::Path};

/// Of the conformance list: envelope and authentication; queues, messages, rewinding, dead letters and
/// transactions, topics, subscriptions, filters and pushes, and the routes of the section on TCP;
/// limits. The others are API 3.0, the rest of TCP, and the vendor's clients.
const RANGES: [RangeInclusive<u32>; 3] = [1..=48, 68..=176, 209..=214];

#[test]
fn every_conformance_number_is_covered() {
    let wanted: BTreeSet<u32> = RANGES.into_iter().flatten().collect();
    let shown = shown();
    let listed = listed();
    let open: Vec<_> = wanted
        .iter()
        .filter(|number| !shown.contains(number) && !listed.contains(number))
        .collect();
    assert!(
        open.is_empty(),
        "write tests named after these numbers, or list them with a reason in the section \
         Conformance of docs/dialects/cmq.md: {open:?}"
    );
    let both: Vec<_> = shown.intersection(&listed).collect();
    assert!(
        both.is_empty(),
        "these have tests and are listed as not covered all the same: {both:?}"
    );
    let beyond: Vec<_> = shown.difference(&wanted).collect();
    assert!(
        beyond.is_empty(),
        "these numbers belong to other sections: {beyond:?}"
    );
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The numbers in the names of this module's tests.
fn shown() -> BTreeSet<u32> {
    let mut shown = BTreeSet::new();
    for entry in fs::read_dir(manifest().join("tests/cmq")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for (attribute, line) in text.lines().zip(text.lines().skip(1)) {
            let name = line.strip_prefix("fn c");
            if let (true, Some(name)) = (attribute == "#[test]", name) {
                shown.extend(name.get(..3).and_then(|digits| digits.parse::<u32>().ok()));
            }
        }
    }
    shown
}

/// The numbers in the first column of the table in the section "Conformance".
fn listed() -> BTreeSet<u32> {
    let page = fs::read_to_string(manifest().join("../../docs/dialects/cmq.md")).unwrap();
    let (_, section) = page
        .split_once("\n## Conformance\n")
        .expect("docs/dialects/cmq.md has a section Conformance");
    let section = section.split("\n## ").next().unwrap();
    let mut listed = BTreeSet::new();
    for line in section.lines() {
        let Some((numbers, reason)) = row(line) else {
            continue;
        };
        assert!(!reason.is_empty(), "give a reason: {line}");
        for range in numbers.split(", ") {
            let (first, last) = range.split_once('–').unwrap_or((range, range));
            listed.extend(number(first)..=number(last));
        }
    }
    listed
}

fn row(line: &str) -> Option<(&str, &str)> {
    let (numbers, reason) = line.strip_prefix("| C")?.split_once(" | ")?;
    Some((numbers, reason.trim_end_matches('|').trim()))
}

/// Of `C12`, or of `12`: the first letter of a row is taken off already.
fn number(text: &str) -> u32 {
    let digits = text.trim_start_matches('C');
    digits.parse().expect("a number such as C12")
}
