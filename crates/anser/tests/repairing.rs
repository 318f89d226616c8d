//! Damaged data of a server for itself, as its operator meets it: exit codes, what is said, and what helps.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::program::Home;

const START: &str = "dev --listen 127.0.0.1:0 --admin 127.0.0.1:0";

/// A stopped server with five messages, each of which was sent by itself.
fn with_messages() -> Home {
    let home = Home::new();
    let dev = home.dev();
    home.succeeds("queue create orders");
    for number in 1..=5 {
        home.succeeds(&format!("queue send orders message-{number}"));
    }
    assert_eq!(dev.stop(), Some(0));
    home
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn file(data: &Path, ending: &str, holds: &[u8]) -> PathBuf {
    let is_it = |(path, content): &(PathBuf, Vec<u8>)| {
        let mut places = content.windows(holds.len());
        path.to_string_lossy().ends_with(ending) && places.any(|bytes| bytes == holds)
    };
    files(data).into_iter().find(is_it).unwrap().0
}

fn flip(path: &Path, at: usize) {
    let mut content = fs::read(path).unwrap();
    content[at] ^= 1;
    fs::write(path, content).unwrap();
}

fn place_of(path: &Path, text: &[u8]) -> usize {
    let content = fs::read(path).unwrap();
    let mut places = content.windows(text.len());
    places.position(|bytes| bytes == text).unwrap()
}

#[test]
fn a_damaged_log_is_told_of_tried_and_repaired() {
    let home = with_messages();
    let log = file(&home.data(), ".wal", b"message-3");
    flip(&log, place_of(&log, b"message-3"));
    let (code, _, errors) = home.run(START);
    assert_eq!(code, 65, "{errors}");
    let name = log.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        errors.contains(&name) && errors.contains("anser repair --data"),
        "{errors}"
    );

    let before = files(&home.data());
    let (code, said, errors) = home.run("repair");
    assert_eq!(code, 65, "{said}{errors}");
    for text in [
        &name,
        "1 entries behind it cannot be read, and 2 behind those",
        "2 messages of orders (account 123456789012)",
        "would be lost",
    ] {
        assert!(said.contains(text), "{text} is not in {said}");
    }
    assert!(
        errors.contains("nothing was changed") && errors.contains("--yes"),
        "{errors}"
    );
    assert_eq!(files(&home.data()), before);

    let said = home.succeeds("repair --yes");
    assert!(said.contains("is lost"), "{said}");
    assert!(log.with_file_name(format!("{name}.damaged")).exists());
    let said = home.succeeds("repair");
    assert!(said.contains("there is nothing to repair"), "{said}");

    // Of an attempt that was killed.
    let scratch = home.data().join("repair.scratch");
    fs::create_dir_all(scratch.join("wal")).unwrap();
    let dev = home.dev();
    assert!(!scratch.exists());
    home.succeeds("queue send orders message-6");
    for number in [1, 2, 6] {
        let received = home.succeeds("queue receive orders --delete");
        assert_eq!(received, format!("message-{number}\n"));
    }
    assert_eq!(home.run("queue receive orders").0, 1);
    home.succeeds("queue create more");
    home.succeeds("queue set orders --visibility-timeout 5");
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn a_damaged_snapshot_of_a_young_server_costs_nothing() {
    let home = with_messages();
    for path in files(&home.data()).into_keys() {
        if path.extension().is_some_and(|it| it == "snapshot") {
            flip(&path, 70);
        }
    }
    let (code, _, errors) = home.run(START);
    assert!(
        code == 65 && errors.contains(".snapshot"),
        "{code} {errors}"
    );
    let said = home.run("repair").1;
    assert!(
        said.contains("made anew from the log") && said.contains("nothing would be lost"),
        "{said}"
    );
    home.succeeds("repair --yes");
    let _dev = home.dev();
    for number in 1..=5 {
        let received = home.succeeds("queue receive orders --delete");
        assert_eq!(received, format!("message-{number}\n"));
    }
}

#[test]
fn what_runs_is_whole_or_cannot_be_repaired_is_left_alone() {
    let home = Home::new();
    let (code, _, errors) = home.run("repair");
    assert!(
        code == 78 && errors.contains("no data directory"),
        "{errors}"
    );
    let dev = home.dev();
    assert_eq!(home.run("repair").0, 75);
    assert_eq!(dev.stop(), Some(0));
    assert!(
        home.succeeds("repair")
            .contains("there is nothing to repair")
    );
    let manifest = home.data().join("manifest");
    flip(&manifest, 40);
    for words in [START, "repair", "repair --yes"] {
        let (code, _, errors) = home.run(words);
        assert!(
            code == 65 && errors.contains("manifest is damaged"),
            "{words} {errors}"
        );
    }
    fs::remove_file(manifest).unwrap();
    let (code, _, errors) = home.run("repair --yes");
    assert!(
        code == 65 && errors.contains("Restore it from a backup"),
        "{errors}"
    );
}

/// With code 1 a service manager would start it again and again.
#[test]
fn damaged_access_keys_end_a_server_with_the_command_that_helps() {
    let home = Home::new();
    assert_eq!(home.dev().stop(), Some(0));
    let keys = home.data().join("keys.anser");
    flip(&keys, 50);
    for words in [START, "key list", "queue list"] {
        let (code, _, errors) = home.run(words);
        assert_eq!(code, 65, "{words}: {errors}");
        assert!(
            errors.contains(&format!("mv {0} {0}.damaged", keys.display())),
            "{errors}"
        );
    }
    fs::rename(&keys, keys.with_extension("anser.damaged")).unwrap();
    home.succeeds(&format!("key create --data {}", home.data().display()));
    assert_eq!(home.dev().stop(), Some(0));
}

#[test]
fn a_key_that_is_not_accepted_is_said_to_be_from_where() {
    let home = Home::new();
    home.succeeds("key create");
    let _default = home.dev();
    let other = Home::new();
    let dev = other.dev();
    // The notes of one server, and the address of another.
    let notes = fs::read_to_string(other.data().join("dev.json")).unwrap();
    let address = notes
        .split('"')
        .find(|word| word.starts_with("http://"))
        .unwrap();
    let words = format!("queue list --endpoint {address}");
    let (code, _, errors) = home.run(&words);
    assert_eq!(code, 1, "{errors}");
    let keys = home.data().join("keys.anser");
    assert!(errors.contains(&keys.display().to_string()), "{errors}");
    assert!(
        errors.contains("give this command the same --data DIR"),
        "{errors}"
    );
    drop(dev);
}
