//! A client that says exactly what a test wants to say. It signs with code of its own, so that it
//! agrees with the server only if both agree with the documents.

use std::{collections::BTreeMap, mem, net::SocketAddr};

use anser_node::Clock;
use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use super::{
    answer::Answer,
    connection::{Connection, Response},
    servers,
};

pub(crate) const ID: &str = "EXAMPLE-ID-0000000000000000000000001";
pub(crate) const SECRET: &str = "example-secret-not-real-0000001";
pub(crate) const PATH: &str = "/v2/index.php";

/// One client, with one connection to each server that it has asked. Before each request it takes any of
/// the servers, unless an answer is still to come.
#[derive(Debug)]
pub(crate) struct Caller {
    /// To the server that was taken last.
    pub(crate) connection: Connection,
    servers: Vec<SocketAddr>,
    /// The place of that server among them.
    current: usize,
    others: BTreeMap<usize, Connection>,
    unanswered: usize,
    host: String,
    clock: Clock,
    nonce: u64,
}

/// A request before it is signed. What is signed is what is sent, unless a test says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) signed_method: Option<&'static str>,
    pub(crate) signed_path: Option<String>,
    pub(crate) signed_host: Option<String>,
    /// Values that begin with `@` are not signed.
    pub(crate) leaves_at_out: bool,
    pub(crate) secret: String,
    /// Lines, each with its end.
    pub(crate) headers: String,
    /// All but the signature.
    pub(crate) parameters: Vec<(String, String)>,
}

/// The numbers of messages in a queue by their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) active: u64,
    pub(crate) inactive: u64,
    pub(crate) delayed: u64,
    pub(crate) rewindable: u64,
}

pub(crate) fn counts(active: u64, inactive: u64, delayed: u64) -> Counts {
    Counts {
        active,
        inactive,
        delayed,
        rewindable: 0,
    }
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, clock: Clock) -> Self {
        Self::of_any(vec![address], clock)
    }

    /// A client of all nodes of a cluster. What it signs is the first one's address, which is the same to
    /// a server as any other name that clients have for it.
    pub(crate) fn of_any(servers: Vec<SocketAddr>, clock: Clock) -> Self {
        let current = servers::any(servers.len());
        Self {
            connection: Connection::open(servers[current]),
            host: servers[0].to_string(),
            servers,
            current,
            others: BTreeMap::new(),
            unanswered: 0,
            clock,
            nonce: 0,
        }
    }

    /// Another client, of only the server that this one took last: what it asks comes later than what this
    /// one asked, wherever the two go from there.
    pub(crate) fn neighbour(&self) -> Self {
        Self::new(self.servers[self.current], self.clock.clone())
    }

    /// The name it has for the server.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    fn take_any_server(&mut self) {
        let next = servers::any(self.servers.len());
        if next == self.current {
            return;
        }
        let address = self.servers[next];
        let known = self.others.remove(&next);
        let connection = known.unwrap_or_else(|| Connection::open(address));
        let left = mem::replace(&mut self.connection, connection);
        self.others
            .insert(mem::replace(&mut self.current, next), left);
    }

    /// A request as most clients send it.
    pub(crate) fn request(&mut self, action: &str, parameters: &[(&str, &str)]) -> Request {
        self.nonce += 1;
        let mut request = Request {
            method: "POST",
            path: PATH.into(),
            host: self.host.clone(),
            signed_method: None,
            signed_path: None,
            signed_host: None,
            leaves_at_out: false,
            secret: SECRET.into(),
            headers: "Content-Type: application/x-www-form-urlencoded\r\n".into(),
            parameters: Vec::new(),
        };
        request.set("Action", action);
        request.set("SecretId", ID);
        request.set("Timestamp", &self.clock.wall().seconds().to_string());
        request.set("Nonce", &self.nonce.to_string());
        for (name, value) in parameters {
            request.set(name, value);
        }
        request
    }

    pub(crate) fn raw(&mut self, request: &Request) -> Response {
        self.start(request);
        self.read()
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        Answer::new(&self.raw(request))
    }

    #[track_caller]
    pub(crate) fn call(&mut self, action: &str, parameters: &[(&str, &str)]) -> Answer {
        let request = self.request(action, parameters);
        self.ask(&request)
    }

    /// Sends a request whose answer is read later.
    pub(crate) fn start(&mut self, request: &Request) {
        if self.unanswered == 0 {
            self.take_any_server();
        }
        self.unanswered += 1;
        self.connection.write(&request.bytes());
    }

    /// The answer to a request that was started.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> Answer {
        Answer::new(&self.read())
    }

    fn read(&mut self) -> Response {
        let response = self.connection.read();
        // A test may have written the request itself.
        self.unanswered = self.unanswered.saturating_sub(1);
        response
    }

    #[track_caller]
    pub(crate) fn create(&mut self, queue: &str, attributes: &[(&str, &str)]) -> Answer {
        let mut parameters = vec![("queueName", queue)];
        parameters.extend(attributes);
        self.call("CreateQueue", &parameters).done()
    }

    #[track_caller]
    pub(crate) fn set(&mut self, queue: &str, attributes: &[(&str, &str)]) -> Answer {
        let mut parameters = vec![("queueName", queue)];
        parameters.extend(attributes);
        self.call("SetQueueAttributes", &parameters)
    }

    #[track_caller]
    pub(crate) fn delete_queue(&mut self, queue: &str) -> Answer {
        self.call("DeleteQueue", &[("queueName", queue)])
    }

    /// Sends a message; its id.
    #[track_caller]
    pub(crate) fn send(&mut self, queue: &str, body: &str) -> String {
        let answer = self.call("SendMessage", &[("queueName", queue), ("msgBody", body)]);
        answer.done().text("msgId").to_owned()
    }

    #[track_caller]
    pub(crate) fn batch_send(&mut self, queue: &str, bodies: &[&str]) -> Answer {
        let named = numbered("msgBody", bodies);
        let mut parameters = vec![("queueName", queue)];
        parameters.extend(borrowed(&named));
        self.call("BatchSendMessage", &parameters)
    }

    /// What is there now, without a wait.
    #[track_caller]
    pub(crate) fn receive(&mut self, queue: &str) -> Answer {
        let parameters = [("queueName", queue), ("pollingWaitSeconds", "0")];
        self.call("ReceiveMessage", &parameters)
    }

    #[track_caller]
    pub(crate) fn batch_receive(&mut self, queue: &str, count: &str) -> Answer {
        let parameters = [("queueName", queue), ("numOfMsg", count)];
        self.call("BatchReceiveMessage", &parameters)
    }

    /// A message that is due: the server notices a moment after the clock has moved.
    #[track_caller]
    pub(crate) fn receive_due(&mut self, queue: &str) -> Answer {
        let parameters = [("queueName", queue), ("pollingWaitSeconds", "30")];
        self.call("ReceiveMessage", &parameters).done()
    }

    /// As [`Caller::receive_due`], up to 16 of them.
    #[track_caller]
    pub(crate) fn batch_receive_due(&mut self, queue: &str) -> Answer {
        let count = ("numOfMsg", "16");
        let parameters = [("queueName", queue), count, ("pollingWaitSeconds", "30")];
        self.call("BatchReceiveMessage", &parameters).done()
    }

    #[track_caller]
    pub(crate) fn delete(&mut self, queue: &str, handle: &str) -> Answer {
        let parameters = [("queueName", queue), ("receiptHandle", handle)];
        self.call("DeleteMessage", &parameters)
    }

    #[track_caller]
    pub(crate) fn batch_delete(&mut self, queue: &str, handles: &[&str]) -> Answer {
        let named = numbered("receiptHandle", handles);
        let mut parameters = vec![("queueName", queue)];
        parameters.extend(borrowed(&named));
        self.call("BatchDeleteMessage", &parameters)
    }

    /// Receives a message and deletes it; its id.
    #[track_caller]
    pub(crate) fn consume(&mut self, queue: &str) -> String {
        let received = self.receive(queue).done();
        self.delete(queue, received.text("receiptHandle")).done();
        received.text("msgId").to_owned()
    }

    #[track_caller]
    pub(crate) fn attributes(&mut self, queue: &str) -> Answer {
        self.call("GetQueueAttributes", &[("queueName", queue)])
            .done()
    }

    /// Everything that can be seen of a queue, for before and after.
    #[track_caller]
    pub(crate) fn picture(&mut self, queue: &str) -> Map<String, Value> {
        self.attributes(queue).fields()
    }

    #[track_caller]
    pub(crate) fn counts(&mut self, queue: &str) -> Counts {
        let attributes = self.attributes(queue);
        Counts {
            active: attributes.number("activeMsgNum"),
            inactive: attributes.number("inactiveMsgNum"),
            delayed: attributes.number("delayMsgNum"),
            rewindable: attributes.number("rewindMsgNum"),
        }
    }
}

/// `name.1` and on.
pub(crate) fn numbered(name: &str, values: &[&str]) -> Vec<(String, String)> {
    let values = values.iter().enumerate();
    values
        .map(|(place, value)| (format!("{name}.{}", place + 1), (*value).to_owned()))
        .collect()
}

pub(crate) fn borrowed(parameters: &[(String, String)]) -> Vec<(&str, &str)> {
    let parameters = parameters.iter();
    parameters
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

impl Request {
    /// Puts a parameter in the place of the one of that name, or adds it.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.parameters.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.parameters.retain(|(given, _)| given != name);
    }

    /// The text that is signed.
    pub(crate) fn text(&self) -> String {
        let mut signed = self.parameters.clone();
        signed.retain(|(_, value)| !(self.leaves_at_out && value.starts_with('@')));
        signed.sort();
        let pairs = signed.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{}={value}", name.replace('_', ".")))
            .collect();
        format!(
            "{}{}{}?{}",
            self.signed_method.unwrap_or(self.method),
            self.signed_host.as_ref().unwrap_or(&self.host),
            self.signed_path.as_ref().unwrap_or(&self.path),
            pairs.join("&")
        )
    }

    pub(crate) fn signature(&self) -> String {
        self.signature_of(&self.text())
    }

    pub(crate) fn signature_of(&self, text: &str) -> String {
        let named = |(name, _): &&(String, String)| name == "SignatureMethod";
        let method = self.parameters.iter().find(named);
        let algorithm = match method.map(|(_, value)| value.as_str()) {
            Some("HmacSHA256" | "sha256") => hmac::HMAC_SHA256,
            _ => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        };
        let key = hmac::Key::new(algorithm, self.secret.as_bytes());
        BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()))
    }

    /// The parameters with their signature, as they travel.
    pub(crate) fn form(&self) -> String {
        self.form_with(&self.signature())
    }

    pub(crate) fn form_with(&self, signature: &str) -> String {
        let mut pairs = self.parameters.clone();
        pairs.push(("Signature".into(), signature.into()));
        encode(&pairs)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_of(&self.form())
    }

    pub(crate) fn bytes_of(&self, form: &str) -> Vec<u8> {
        let Self {
            method,
            path,
            host,
            headers,
            ..
        } = self;
        let request = if *method == "GET" {
            format!("GET {path}?{form} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        } else {
            let length = form.len();
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\
                 Content-Length: {length}\r\n\r\n{form}"
            )
        };
        request.into_bytes()
    }
}

pub(crate) fn encode(pairs: &[(String, String)]) -> String {
    let pairs = pairs.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.join("&")
}

fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a text takes all");
        }
    }
    escaped
}
