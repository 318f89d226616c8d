//! Requests to the admin port of a node.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    proof::{Change, Prover},
    token::Token,
    view::Cluster,
};
use crate::{
    client::{self, Connection, Endpoint},
    exit::Exit,
};

/// Above the time that a node takes to agree with the others on a change.
const PATIENCE: Duration = Duration::from_secs(15);
const UNAUTHORIZED: u16 = 401;

/// The admin port of `http://HOST:PORT`, of which the scheme may be left out, or of `https://HOST:PORT`, whose
/// certificate is believed by the roots of a file, or else by the system's.
pub fn admin_port(url: &str, roots: Option<&Path>) -> Result<Endpoint> {
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let tls = client::tls_of(&whole, roots)?;
    let endpoint = Endpoint::read(&whole, tls.as_ref());
    // A port stands in both, or it was not written.
    let endpoint = endpoint.filter(|endpoint| endpoint.host() == endpoint.address());
    endpoint.ok_or_else(|| {
        Exit::Configuration.error(format!(
            "\"{url}\" is no admin port: write http://HOST:PORT or https://HOST:PORT"
        ))
    })
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
pub async fn status_text(port: &Endpoint) -> Result<String> {
    let head = format!("GET /cluster HTTP/1.1\r\nHost: {}\r\n\r\n", port.host());
    let (status, body) = exchange(port, &head).await?;
    if status != 200 {
        return Err(refused(status, &body));
    }
    Ok(body)
}

/// What a node knows of its cluster.
pub async fn status(port: &Endpoint) -> Result<Cluster> {
    read(port, &status_text(port).await?)
}

/// What [`status_text`] of a node means.
pub fn read(port: &Endpoint, text: &str) -> Result<Cluster> {
    let cluster = serde_json::from_str(text);
    let address = port.address();
    cluster.with_context(|| format!("{address} answered with something else than a cluster"))
}

/// Changes the state of a node: `active`, `draining` or `removed`. The token stays here.
pub async fn set_state(port: &Endpoint, token: &Token, node: u64, state: &str) -> Result<()> {
    let prover = Prover::new(token);
    let body = serde_json::json!({ "state": state }).to_string();
    let mut answer = change(port, &prover, node, &body).await?;
    if answer.0 == UNAUTHORIZED {
        // The challenge may have ended, or somebody else's change used it.
        answer = change(port, &prover, node, &body).await?;
    }
    match answer {
        (200, _) => Ok(()),
        (status, body) => Err(refused(status, &body)),
    }
}

/// Asks for a challenge, then for the change that is proved with it.
async fn change(port: &Endpoint, prover: &Prover, node: u64, body: &str) -> Result<(u16, String)> {
    let address = port.host();
    let challenge = format!("GET /cluster/challenge HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (status, challenge) = exchange(port, &challenge).await?;
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
    exchange(port, &request).await
}

async fn exchange(port: &Endpoint, request: &str) -> Result<(u16, String)> {
    let answered = tokio::time::timeout(PATIENCE, async {
        let mut connection = Connection::open(port).await?;
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
            "no answer from the admin port {}: is the node running there, and does it speak {}? \
             name another with --admin",
            port.address(),
            port.scheme()
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
            assert_eq!(admin_port(text, None).unwrap().address(), "127.0.0.1:9325");
        }
        let secure = admin_port("https://node-1.example:9325", None).unwrap();
        assert_eq!(
            (secure.scheme(), secure.host()),
            ("https", "node-1.example:9325")
        );
        for bad in [
            "",
            "http://",
            "localhost",
            "http://a:b",
            "https://a",
            "ftp://a:1",
            "a:1/metrics",
        ] {
            let error = admin_port(bad, None).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Configuration, "{bad}");
        }
    }

    /// Answers as an admin port would, and gives back what it was told.
    fn listener(answers: &'static [&'static str]) -> (Endpoint, std::thread::JoinHandle<String>) {
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
        (admin_port(&address, None).unwrap(), heard)
    }

    /// Security, finding 5: the token was sent as it is to whoever listened.
    #[tokio::test]
    async fn who_listens_in_the_servers_place_learns_neither_the_token_nor_a_key() {
        let token = token_of("0123456789abcdef");
        let (port, heard) = listener(&["mine", "done"]);
        set_state(&port, &token, 2, "draining").await.unwrap();
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
