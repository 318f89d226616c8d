//! Every form of every format that outlives a process or crosses the network, and the version of the cluster from
//! which a program may write it. Whoever gives a format a new form has to give it a row's entry here, and so to say
//! how the way back to the former program stays open until the cluster has risen (`docs/formats/README.md`).

use std::{fs, path::Path};

use anser_broker::version::ClusterVersion;

struct Format {
    /// As `docs/formats/README.md` calls it.
    what: &'static str,
    /// Where the number of the form that is written stands.
    source: &'static str,
    constant: &'static str,
    /// The forms that this program can write, the newest last, each with the version of the cluster from which it does.
    forms: &'static [(u32, u32)],
}

const fn format(
    what: &'static str,
    source: &'static str,
    constant: &'static str,
    forms: &'static [(u32, u32)],
) -> Format {
    Format {
        what,
        source,
        constant,
        forms,
    }
}

const FORMATS: &[Format] = &[
    format("batch", "broker/src/codec.rs", "BATCH", &[(1, 1)]),
    format("kept bodies", "broker/src/codec.rs", "KEPT", &[(2, 1)]),
    format(
        "state of a shard",
        "broker/src/codec.rs",
        "STATE",
        &[(8, 1)],
    ),
    format(
        "snapshot of a replica",
        "replica/src/snapshot.rs",
        "VERSION",
        &[(1, 1)],
    ),
    format(
        "membership change",
        "replica/src/membership.rs",
        "VERSION",
        &[(1, 1)],
    ),
    format(
        "message between replicas",
        "replica/src/message.rs",
        "VERSION",
        &[(2, 1)],
    ),
    format(
        "`node.json`",
        "node/src/cluster/identity.rs",
        "VERSION",
        &[(4, 1)],
    ),
    format(
        "`crashes.json`",
        "node/src/crashes.rs",
        "VERSION",
        &[(1, 1)],
    ),
    format(
        "record of the write-ahead log",
        "log/src/record.rs",
        "VERSION",
        &[(1, 1)],
    ),
    format("mark", "log/src/marks.rs", "VERSION", &[(3, 1)]),
    format("segment", "log/src/segment/format.rs", "VERSION", &[(1, 1)]),
    format("snapshot file", "log/src/snapshot.rs", "VERSION", &[(1, 1)]),
    format("manifest", "log/src/manifest.rs", "VERSION", &[(5, 1)]),
    format(
        "key store",
        "anser/src/keystore/format.rs",
        "VERSION",
        &[(2, 1)],
    ),
    format(
        "key store between nodes",
        "anser/src/keystore/format.rs",
        "SHARED_VERSION",
        &[(1, 1)],
    ),
];

/// Core review, finding 30: the log's files were written in their newest form, whatever the cluster's version.
#[test]
fn no_format_has_a_form_that_is_written_from_no_version_on() {
    for format in FORMATS {
        let source = format.source;
        let (newest, _) = *format.forms.last().unwrap();
        let written = constants(source)
            .into_iter()
            .find(|(name, _)| name == format.constant);
        assert_eq!(
            written.map(|(_, number)| number),
            Some(newest),
            "{} in crates/{source} is not the newest form of the {} in tests/formats.rs: say there from which version \
             of the cluster the new form is written, and read docs/formats/README.md first",
            format.constant,
            format.what,
        );
    }
}

/// Only the first form is written before the cluster has risen at all; each other one came with a version of its own.
#[test]
fn each_form_but_the_first_came_with_a_version_of_the_cluster() {
    for Format { what, forms, .. } in FORMATS {
        assert_eq!(forms[0].1, ClusterVersion::FIRST.0, "{what}");
        let rise = forms
            .is_sorted_by(|(form, since), (next, next_since)| form < next && since < next_since);
        assert!(rise, "{what}: {forms:?}");
        let last = forms[forms.len() - 1].1;
        assert!(
            last <= ClusterVersion::LATEST.0,
            "{what}: no cluster of this program works at {last}"
        );
    }
}

#[test]
fn every_number_of_a_format_has_a_row() {
    let sources = FORMATS.iter().map(|format| format.source);
    let folders = ["broker", "replica", "log", "node", "anser", "host"];
    let mut found: Vec<String> = sources.map(str::to_owned).collect();
    for folder in folders {
        list(&format!("{folder}/src"), &mut found);
    }
    found.sort();
    found.dedup();
    for source in found {
        for (name, _) in constants(&source) {
            let is_listed = FORMATS
                .iter()
                .any(|format| format.source == source && format.constant == name);
            let is_version = name.ends_with("VERSION") || source == "broker/src/codec.rs";
            assert!(
                is_listed || !is_version,
                "give {name} of crates/{source} a row in tests/formats.rs and in docs/formats/README.md"
            );
        }
    }
}

#[test]
fn the_page_of_formats_tells_what_is_written() {
    let page = fs::read_to_string(crates().join("../docs/formats/README.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for Format { what, forms, .. } in FORMATS {
        let row = rows.iter().find(|cells| cells[1] == *what);
        let row = row.unwrap_or_else(|| panic!("the page has no row for: {what}"));
        let (newest, since) = forms[forms.len() - 1];
        assert_eq!(row[4], newest.to_string(), "form of the {what}");
        assert_eq!(row[5], since.to_string(), "version for the {what}");
    }
}

fn crates() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The constants of a file that are plain numbers of at most 32 bits.
fn constants(source: &str) -> Vec<(String, u32)> {
    let text = fs::read_to_string(crates().join(source)).unwrap();
    let parse = |line: &str| {
        let (name, rest) = line.split_once("const ")?.1.split_once(':')?;
        let (_, value) = rest.split_once("= ")?;
        let number = value.trim_end_matches(';').parse().ok()?;
        Some((name.to_owned(), number))
    };
    text.lines().filter_map(parse).collect()
}

/// The sources in a folder of `crates`.
fn list(folder: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(crates().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            list(&path, found);
        } else if entry.path().extension().is_some_and(|of| of == "rs") {
            found.push(path);
        }
    }
}
