//! Requests to the admin port of a node.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    proof::{Change, Prover},
    token::Token,
    view::Cluster,
};
use crate::{client::Connection, exit::Exit};

/// Above the time that a node takes to agree with the others on a change.
const PATIENCE: Duration = Duration::from_secs(15);
const UNAUTHORIZED: u16 = 401;

/// Host and port of `http://HOST:PORT`; the scheme may be left out.
pub fn address_of(url: &str) -> Result<String> {
    let address = url.strip_prefix("http://").unwrap_or(url);
    let address = address.strip_suffix('/').unwrap_or(address);
    let usable = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !address.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok()
    });
    if usable {
        return Ok(address.to_owned());
    }
    Err(Exit::Configuration.error(format!(
        "\"{url}\" is no admin port: write http://HOST:PORT"
    )))
}

/// Where this machine reaches what listens there.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// What a node knows of its cluster, as it wrote it.
pub async fn status_text(address: &str) -> Result<String> {
    let head = format!("GET /cluster HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (status, body) = exchange(address, &head).await?;
    if status != 200 {
        return Err(refused(status, &body));
    }
    Ok(body)
}

/// What a node knows of its cluster.
pub async fn status(address: &str) -> Result<Cluster> {
    read(address, &status_text(address).await?)
}

/// What [`status_text`] of a node means.
pub fn read(address: &str, text: &str) -> Result<Cluster> {
    let cluster = serde_json::from_str(text);
    cluster.with_context(|| format!("{address} answered with something else than a cluster"))
}

/// Changes the state of a node: `active`, `draining` or `removed`. The token stays here.
pub async fn set_state(address: &str, token: &Token, node: u64, state: &str) -> Result<()> {
    let prover = Prover::new(token);
    let body = serde_json::json!({ "state": state }).to_string();
    let mut answer = change(address, &prover, node, &body).await?;
    if answer.0 == UNAUTHORIZED {
        // The challenge may have ended, or somebody else's change used it.
        answer = change(address, &prover, node, &body).await?;
    }
    match answer {
        (200, _) => Ok(()),
        (status, body) => Err(refused(status, &body)),
    }
}

/// Asks for a challenge, then for the change that is proved with it.
async fn change(address: &str, prover: &Prover, node: u64, body: &str) -> Result<(u16, String)> {
    let challenge = format!("GET /cluster/challenge HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (status, challenge) = exchange(address, &challenge).await?;
    if status != 200 {
        return Err(refused(status, &challenge));
    }
    let path = format!("/cluster/nodes/{node}");
    let change = Change {
        method: "POST",
        path: &path,
        body: body.as_bytes(),
    };
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        prover.authorization(&challenge, change),
        body.len()
    );
    exchange(address, &request).await
}

async fn exchange(address: &str, request: &str) -> Result<(u16, String)> {
    let answered = tokio::time::timeout(PATIENCE, async {
        let mut connection = Connection::open(address).await?;
        let answer = connection.exchange(request.as_bytes()).await?;
        let body = String::from_utf8_lossy(answer.body).into_owned();
        io::Result::Ok((answer.status, body))
    });
    let answered = match answered.await {
        Ok(answered) => answered,
        Err(elapsed) => Err(elapsed.into()),
    };
    answered.with_context(|| {
        Exit::Unreachable.reason(format!(
            "no answer from the admin port {address}: is the node running there? \
             name another with --admin"
        ))
    })
}

fn refused(status: u16, body: &str) -> anyhow::Error {
    Exit::Failed.error(format!("the node refused ({status}): {}", body.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{proof::hex, token::token_of};

    #[test]
    fn an_admin_port_is_written_with_or_without_its_scheme() {
        for text in [
            "http://127.0.0.1:9325",
            "127.0.0.1:9325",
            "http://127.0.0.1:9325/",
        ] {
            assert_eq!(address_of(text).unwrap(), "127.0.0.1:9325");
        }
        for bad in [
            "",
            "http://",
            "localhost",
            "http://a:b",
            "https://a:1",
            "a:1/metrics",
        ] {
            let error = address_of(bad).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Configuration, "{bad}");
        }
    }

    /// Answers as an admin port would, and gives back what it was told.
    fn listener(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<String>) {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = std::thread::spawn(move || {
            let mut heard = String::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).unwrap();
                heard.push_str(std::str::from_utf8(&piece[..count]).unwrap());
                let length = answer.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all((head + answer).as_bytes()).unwrap();
            }
            heard
        });
        (address, heard)
    }

    #[tokio::test]
    async fn who_listens_in_the_servers_place_learns_neither_the_token_nor_a_key() {
        let token = token_of("0123456789abcdef");
        let (address, heard) = listener(&["mine", "done"]);
        set_state(&address, &token, 2, "draining").await.unwrap();
        let heard = heard.join().unwrap();
        assert!(!heard.contains(token.text()), "{heard}");
        let key = hex(&token.key("anser admin v1"));
        assert!(!heard.contains(&key), "{heard}");
        // What it has is a proof over its own challenge, and the server gave none like it.
        let body = r#"{"state":"draining"}"#;
        let change = Change {
            method: "POST",
            path: "/cluster/nodes/2",
            body: body.as_bytes(),
        };
        let proof = Prover::new(&token).authorization("mine", change);
        assert!(heard.contains(&proof), "{heard}");
    }

    #[test]
    fn a_port_of_all_addresses_is_reached_on_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reach("[::]:1"), "[::1]:1");
        assert_eq!(reach("10.0.0.1:1"), "10.0.0.1:1");
    }
}
