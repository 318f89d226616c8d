//! How a server becomes the first node of a cluster, and that none does so by itself.

use std::{fs, path::Path};

use anser::{
    cluster::{self, token::Token},
    config::Config,
    exit::Exit,
    keystore::{Key, Store},
    server::Server,
};
use anser_node::Clock;

use crate::ports;

const ALONE: &str = "data = \"data\"\nmaster_key_file = \"master.key\"\n[storage]\nshards = 4\n\
                     [api]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";

fn alone(folder: &Path) -> Config {
    read(folder, ALONE)
}

fn with_cluster(folder: &Path, join: &[&str]) -> Config {
    Token::create(&folder.join("token")).unwrap();
    let port = ports::free(1)[0];
    let section = format!(
        "[cluster]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"token\"\njoin = {join:?}\n"
    );
    read(folder, &format!("{ALONE}{section}"))
}

fn read(folder: &Path, text: &str) -> Config {
    let file = folder.join("anser.toml");
    fs::write(&file, text).unwrap();
    Config::read(&file).unwrap()
}

fn start(config: &Config) -> Server {
    Server::start(config, Clock::system()).unwrap()
}

fn refusal(error: &anyhow::Error) -> String {
    assert_eq!(Exit::of(error), Exit::Configuration, "{error:#}");
    format!("{error:#}")
}

#[test]
fn an_emptied_disk_forms_no_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let config = with_cluster(folder.path(), &[]);
    let error = Server::start(&config, Clock::system()).unwrap_err();
    assert!(refusal(&error).contains("anser cluster form"));
    // As a server leaves it that has asked for a place in vain.
    let asked = r#"{"version":3,"cluster":"","incarnation":"00000000000000000000000000000007","node":0,"start":1,
        "start_mark":"00000000000000000000000000000008","start_is_known":false,"has_begun":false,"shards":0,
        "peers":{},"cluster_version":1}"#;
    fs::write(config.general.data.join("node.json"), asked).unwrap();

    cluster::form(&config).unwrap();
    let again = cluster::form(&config).unwrap_err();
    assert!(refusal(&again).contains("a node already"), "{again:#}");
    let first = start(&config);
    assert_eq!(first.node().cluster_status().node, 1);
    first.shutdown();

    fs::remove_dir_all(&config.general.data).unwrap();
    let error = Server::start(&config, Clock::system()).unwrap_err();
    assert!(refusal(&error).contains("nobody to ask"), "{error:#}");
}

/// Users' cases, D5: the advice was to choose an empty folder.
#[test]
fn a_server_alone_becomes_the_first_node_with_all_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let config = alone(folder.path());
    let store = Store::open(&config.general.data, &config.master_key_file().unwrap()).unwrap();
    let key = Key::new("AKIDEXAMPLE0".into(), "secret-of-a-test".into(), 7, None).unwrap();
    store.add(key).unwrap();
    let server = start(&config);
    let shards = server.node().status().shards.len();
    server.shutdown();
    assert!(refusal(&cluster::form(&config).unwrap_err()).contains("cluster.listen"));

    // Nodes to ask are not asked by one that has a place.
    let config = with_cluster(folder.path(), &["127.0.0.1:1"]);
    let error = Server::start(&config, Clock::system()).unwrap_err();
    let advice = "to keep this data, make the server the first node of a new cluster with `anser cluster form`";
    assert!(refusal(&error).contains(advice), "{error:#}");
    cluster::form(&config).unwrap();
    let first = start(&config);
    assert_eq!(first.node().cluster_status().node, 1);
    assert_eq!(first.node().status().shards.len(), shards);
    assert!(store.find("AKIDEXAMPLE0").unwrap().is_some());
    first.shutdown();

    let refused = Server::start(&alone(folder.path()), Clock::system()).unwrap_err();
    assert!(
        refusal(&refused).contains("that of a node of a cluster"),
        "{refused:#}"
    );
}

/// Core review, finding 6: it did, and stayed a voter that counts for nothing.
/// An empty log would pass for all that the node has promised.
#[test]
fn a_node_whose_log_is_gone_does_not_begin_anew() {
    let folder = tempfile::tempdir().unwrap();
    let config = with_cluster(folder.path(), &[]);
    cluster::form(&config).unwrap();
    start(&config).shutdown();
    start(&config).shutdown();
    let data = &config.general.data;
    fs::remove_file(data.join("manifest")).unwrap();
    fs::remove_dir_all(data.join("wal")).unwrap();
    fs::remove_dir_all(data.join("shards")).unwrap();
    let error = Server::start(&config, Clock::system()).unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Damaged, "{error:#}");
    let text = format!("{error:#}");
    assert!(
        text.contains("this is node 1") && text.contains("anser cluster remove 1"),
        "{text}"
    );
    assert!(!data.join("manifest").exists(), "nothing was made");
}
