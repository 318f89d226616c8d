//! What an operator changes through the admin port, and who may not.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use anser::{
    cluster::{self, ask, token::Token},
    config::Config,
    server::Server,
};
use anser_node::Clock;

use crate::ports;

fn first_node(folder: &Path) -> (Server, Token) {
    let file = folder.join("anser.toml");
    let token = folder.join("token");
    Token::create(&token).unwrap();
    let port = ports::free(1)[0];
    let text = format!(
        "data = \"data\"\nmaster_key_file = \"master.key\"\n[storage]\nshards = 1\n\
         [api]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [cluster]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"token\"\nreplicas = 1\n"
    );
    fs::write(&file, text).unwrap();
    let config = Config::read(&file).unwrap();
    cluster::form(&config).unwrap();
    let server = Server::start(&config, Clock::system()).unwrap();
    (server, Token::read(&token).unwrap())
}

fn raw(address: &str, authorization: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /cluster/nodes/1 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}\
         Content-Length: 19\r\n\r\n{{\"state\": \"active\"}}"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_node_is_changed_by_who_has_the_token_and_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (server, token) = first_node(folder.path());
    server.wait_until_useful().await;
    let address = server.admin_address().to_string();
    let port = ask::admin_port(&address, None).unwrap();
    // Each change takes a challenge of its own.
    for _ in 0..2 {
        ask::set_state(&port, &token, 1, "active").await.unwrap();
    }
    let other = folder.path().join("other");
    Token::create(&other).unwrap();
    let other = Token::read(&other).unwrap();
    let refused = ask::set_state(&port, &other, 1, "active").await;
    let refused = format!("{:#}", refused.unwrap_err());
    assert!(refused.contains("refused (401)"), "{refused}");
    // The token itself opens nothing, and nobody has to say it.
    let bearer = format!("Authorization: Bearer {}\r\n", token.text());
    for authorization in [bearer.as_str(), "", "Authorization: Anser \r\n"] {
        let answer = raw(&address, authorization);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("www-authenticate: Anser\r\n"), "{answer}");
    }
    server.shutdown();
}
