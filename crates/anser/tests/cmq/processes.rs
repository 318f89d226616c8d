//! What only a real process can show: it is killed, and its log is read. C48, C120.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use anser::keystore::{Key, Store};
use anser_node::Clock;

use super::{
    caller::{Caller, ID, SECRET, counts},
    world::ACCOUNT,
};

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts a server with its data in a folder; its log is appended to a file there.
    fn start(folder: &Path) -> Self {
        let settings = folder.join("anser.toml");
        if !settings.exists() {
            prepare(folder, &settings);
        }
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_anser"))
            .env_clear()
            .env("ANSER_LOG", "trace")
            .args(["serve", "--config"])
            .arg(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ready http://");
        let address = address.expect("the server got ready").parse().unwrap();
        Self { child, address }
    }

    fn caller(&self) -> Caller {
        Caller::new(self.address, Clock::system())
    }

    /// SIGKILL, and waits until it is gone.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Writes the settings and stores the key.
fn prepare(folder: &Path, settings: &Path) {
    let text = "data = \"data\"\nmaster_key_file = \"master.key\"\n\
                [api]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(settings, text).unwrap();
    let store = Store::open(&folder.join("data"), &folder.join("master.key")).unwrap();
    let key = Key::new(ID.into(), SECRET.into(), ACCOUNT, None).unwrap();
    store.add(key).unwrap();
}

/// The chaos tests show the same under load and with worse faults.
#[test]
fn c120_accepted_messages_survive_a_killed_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut sent = Vec::new();
    let mut handle: Option<String> = None;
    for round in 0..3 {
        let process = Process::start(folder.path());
        let mut caller = process.caller();
        if round == 0 {
            caller.create("q", &[("visibilityTimeout", "43200")]);
        }
        if let Some(handle) = &handle {
            // What was handed out before the kill is still held, and its handle still good.
            caller.delete("q", handle).done();
        }
        for number in 0..20 {
            let body = format!("round {round}, message {number}");
            sent.push((caller.send("q", &body), body));
        }
        let first = caller.receive("q").done();
        let message = (first.text("msgId"), first.text("msgBody"));
        let wanted = sent.remove(0);
        assert_eq!(message, (wanted.0.as_str(), wanted.1.as_str()));
        handle = Some(first.text("receiptHandle").to_owned());
        process.kill();
    }
    let process = Process::start(folder.path());
    let mut caller = process.caller();
    assert_eq!(caller.counts("q"), counts(57, 1, 0));
    let mut found = Vec::new();
    while found.len() < sent.len() {
        let received = caller.batch_receive("q", "16").done();
        let ids = received.texts("msgInfoList", "msgId");
        found.extend(
            ids.into_iter()
                .zip(received.texts("msgInfoList", "msgBody")),
        );
    }
    assert_eq!(found, sent);
}

#[test]
fn c048_neither_the_log_nor_any_answer_holds_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let mut caller = process.caller();
    caller.create("q", &[]);
    let mut signatures = Vec::new();
    let mut answers = Vec::new();
    for (secret, action) in [
        (SECRET, "SendMessage"),
        (SECRET, "ReceiveMessage"),
        ("another-secret", "SendMessage"),
        (SECRET, "NoSuchAction"),
    ] {
        let body = "a body that is nobody's business";
        let mut request = caller.request(action, &[("queueName", "q"), ("msgBody", body)]);
        request.secret = secret.into();
        signatures.push(request.signature());
        answers.extend(caller.raw(&request).body);
    }
    process.kill();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(
        log.contains("answered"),
        "the log is as talkative as it can be"
    );
    assert!(!log.contains(SECRET) && !log.contains("nobody's business"));
    let answers = String::from_utf8(answers).unwrap();
    assert!(!answers.contains(SECRET));
    for signature in signatures {
        assert!(!log.contains(&signature) && !answers.contains(&signature));
    }
}
