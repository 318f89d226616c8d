//! What no linter knows about this house, and what to do about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anser::config::reference;

/// Who may import whom. Cargo enforces it; this table is what Cargo's files are held against.
const IMPORTS: &[(&str, &[&str])] = &[
    ("broker", &[]),
    ("log", &[]),
    ("replica", &["broker", "raft"]),
    ("network", &[]),
    ("transport", &["network"]),
    ("host", &["broker", "log", "replica"]),
    (
        "node",
        &["broker", "host", "log", "raft", "replica", "transport"],
    ),
    ("sim", &["broker", "check", "host", "log", "replica"]),
    ("api", &["broker", "network"]),
    ("push", &["broker", "network"]),
    ("check", &[]),
    ("anser", &["api", "broker", "network", "node", "push"]),
];

/// Who may import a room, a module with its folder, of a crate; besides the crate's root and tests. What is not here,
/// all of the crate may import.
const WALLS: &[(&str, &str, &[&str])] = &[
    // The port knows no dialect, and what all dialects share knows none of them.
    ("api", "cmq", &["fuzzing", "server", "tongues"]),
    // No dialect knows the port, nor does what they share.
    ("api", "http", &["server", "tongues"]),
    ("api", "tongues", &["server"]),
    // A key is no signature's.
    ("api", "auth", &["cmq", "http"]),
    // The way to the service is a dialect's.
    ("api", "front", &["cmq", "server", "tongues"]),
];

/// What the crates that must be simulated may not even see.
const PURE: &[&str] = &["broker", "replica", "log", "host", "sim"];
const IMPURE: &[&str] = &[
    "tokio",
    "rand",
    "hyper",
    "tracing",
    "getrandom",
    "fastrand",
    "async",
];

#[test]
fn crates_import_only_what_the_map_allows() {
    let known: BTreeSet<&str> = IMPORTS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<String> = crates().into_keys().collect();
    let unlisted: Vec<_> = found
        .iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(
        unlisted.is_empty(),
        "give {unlisted:?} a row in the import table of tests/tidy.rs"
    );
    for (name, allowed) in IMPORTS {
        let Some(manifest) = crates().remove(*name) else {
            continue;
        };
        let ours = manifest
            .iter()
            .filter_map(|dependency| match dependency.as_str() {
                "raft" => Some("raft"),
                other => other.strip_prefix("anser-"),
            });
        let beyond: Vec<&str> = ours.filter(|import| !allowed.contains(import)).collect();
        assert!(
            beyond.is_empty(),
            "crates/{name} imports {beyond:?}, the map allows {allowed:?}: \
             move the code, or change the map and say why"
        );
    }
}

#[test]
fn rooms_are_imported_only_through_the_doors_that_they_have() {
    for (name, room, allowed) in WALLS {
        let root = root().join("crates").join(name).join("src");
        for (path, text) in sources() {
            let Ok(within) = path.strip_prefix(&root) else {
                continue;
            };
            let within = within.with_extension("");
            let parts: Vec<_> = within.iter().filter_map(|part| part.to_str()).collect();
            let from = parts[0];
            let is_exempt = ["lib", *room].contains(&from) || parts.contains(&"tests");
            if is_exempt || allowed.contains(&from) {
                continue;
            }
            assert!(
                !imported_rooms(&text).contains(room),
                "{} imports {room}, which only {allowed:?} may: move the code, or change \
                 the walls of tests/tidy.rs and say why",
                path.display()
            );
        }
    }
}

/// The modules of the crate's root that a file names, in paths and in groups of imports. What its unit tests name does
/// not count.
fn imported_rooms(text: &str) -> BTreeSet<&str> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let mut rooms = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(group) => rooms.extend(first_names(group)),
            None => rooms.extend(name_at_start(part)),
        }
    }
    rooms
}

/// The first names of the paths in a group of imports.
fn first_names(group: &str) -> Vec<&str> {
    let (mut depth, mut names) = (0_usize, Vec::new());
    let mut is_start = true;
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            letter if is_start && !letter.is_whitespace() => {
                names.extend(name_at_start(&group[place..]));
                is_start = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at_start(text: &str) -> Option<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    (end > 0).then_some(&text[..end])
}

#[test]
fn what_a_file_imports_is_found_in_paths_and_in_groups() {
    let text = "use crate::{\n    alpha::{beta, gamma},\n    delta::Epsilon,\n    zeta,\n};\n\
        fn f() { crate::eta::theta() }\n#[cfg(test)]\nmod tests { use crate::iota; }";
    let found: Vec<&str> = imported_rooms(text).into_iter().collect();
    assert_eq!(found, ["alpha", "delta", "eta", "zeta"]);
}

#[test]
fn the_pure_crates_see_no_clock_network_or_chance() {
    let crates = crates();
    for name in PURE {
        let seen: Vec<&String> = crates[*name]
            .iter()
            .filter(|dependency| IMPURE.iter().any(|impure| dependency.starts_with(impure)))
            .collect();
        assert!(
            seen.is_empty(),
            "crates/{name} is pure, but sees {seen:?}: take it as input"
        );
    }
}

#[test]
fn every_source_file_says_what_it_owns() {
    let silent: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(
        silent.is_empty(),
        "begin these files with //! and what they own: {silent:#?}"
    );
}

/// Long files are a question, not a failure.
#[test]
#[expect(
    clippy::print_stdout,
    reason = "a list for whoever runs it with --nocapture"
)]
fn long_files_are_listed() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > 500 {
            println!(
                "{lines} lines, is there a second idea in it? {}",
                path.display()
            );
        }
    }
}

#[test]
fn no_marks_are_left_over() {
    // Written in pieces, so that this file does not find itself.
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
    ];
    let mut left = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
            if words.any(|word| marks.iter().any(|mark| mark == word)) {
                left.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(
        left.is_empty(),
        "do it, or write an issue, and remove the mark: {left:#?}"
    );
}

#[test]
fn the_map_names_every_crate_and_no_other() {
    let Ok(map) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        return;
    };
    let mut named = BTreeSet::new();
    for part in map.split("crates/").skip(1) {
        let name: String = part.chars().take_while(char::is_ascii_lowercase).collect();
        if !name.is_empty() {
            named.insert(name);
        }
    }
    let there: BTreeSet<String> = crates().into_keys().collect();
    let absent: Vec<_> = there.difference(&named).collect();
    assert!(
        absent.is_empty(),
        "ARCHITECTURE.md does not mention crates/{absent:?}"
    );
    let gone: Vec<_> = named.difference(&there).collect();
    assert!(
        gone.is_empty(),
        "ARCHITECTURE.md mentions crates/{gone:?}, which are not there"
    );
}

#[test]
fn generated_documents_are_fresh() {
    let path = root().join("docs/configuration.md");
    let page = reference::page();
    if std::env::var_os("ANSER_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/configuration.md is stale: run ANSER_UPDATE_DOCS=1 cargo test -p anser tidy"
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The crates by folder, each with the dependencies its users get.
fn crates() -> BTreeMap<String, Vec<String>> {
    let mut crates = BTreeMap::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(path.join("Cargo.toml")) else {
            continue;
        };
        let manifest: toml::Table = toml::from_str(&text).unwrap();
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        let names = dependencies
            .into_iter()
            .flatten()
            .map(|(name, details)| part_of(name, details))
            .collect();
        crates.insert(
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            names,
        );
    }
    crates
}

/// The name of a dependency; of tokio's channels alone, which need no runtime, another.
fn part_of(name: &str, details: &toml::Value) -> String {
    let features = details.get("features").and_then(toml::Value::as_array);
    let mut features = features.into_iter().flatten();
    let is_pure = features.all(|feature| matches!(feature.as_str(), Some("sync" | "macros")));
    if name == "tokio" && is_pure {
        return "channels of tokio".to_owned();
    }
    name.to_owned()
}

/// Every Rust file of ours, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    files.sort();
    files
}
