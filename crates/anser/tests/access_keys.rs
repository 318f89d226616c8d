//! Access keys at rest: what a thief of the data directory finds, and who may read what.

use std::{fs, path::Path, time::Duration};

use anser::keystore::{Key, Store, watch::Watcher};
use anser_api::KeyStore;

fn open(folder: &Path) -> Store {
    Store::open(&folder.join("data"), &folder.join("settings/master.key")).unwrap()
}

#[test]
fn the_data_directory_alone_reveals_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let keys: Vec<Key> = (0..5).map(|_| Key::generate(1, None).unwrap()).collect();
    for key in &keys {
        store.add(key.clone()).unwrap();
    }
    store.set_enabled(&keys[0].id, false).unwrap();
    store.delete(&keys[1].id).unwrap();
    let master = fs::read_to_string(folder.path().join("settings/master.key")).unwrap();
    let master = master.trim_end().rsplit_once(' ').unwrap().1;

    let mut files = 0;
    for entry in fs::read_dir(folder.path().join("data")).unwrap() {
        let content = fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        let has = |secret: &str| {
            content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        };
        assert!(keys.iter().all(|key| !has(&key.secret) && !has(&key.id)));
        assert!(!has(master));
    }
    assert!(files >= 1);
}

#[test]
fn a_running_server_follows_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = Key::generate(1, None).unwrap();
    store.add(first.clone()).unwrap();
    let watcher = Watcher::start(open(folder.path())).unwrap();
    let keys = watcher.keys();
    assert!(keys.find(&first.id).unwrap().enabled());

    let second = Key::generate(2, None).unwrap();
    store.add(second.clone()).unwrap();
    until(|| keys.find(&second.id).is_some());
    store.set_enabled(&first.id, false).unwrap();
    until(|| !keys.find(&first.id).unwrap().enabled());
    store.delete(&first.id).unwrap();
    until(|| keys.find(&first.id).is_none());

    // A damaged file changes nothing for those who are known.
    fs::write(folder.path().join("data/keys.anser"), b"noise").unwrap();
    std::thread::sleep(Duration::from_millis(600));
    assert!(keys.find(&second.id).is_some());
}

/// The promise is one second; a busy machine gets as much as it wants.
fn until(condition: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the change was not noticed");
}
