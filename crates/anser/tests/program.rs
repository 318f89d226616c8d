//! The program as people run it: real processes, real files, exit codes and what they print.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

/// A user with a home of their own.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join(".local/share/anser")
    }

    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .args(words.split_whitespace());
        command
    }

    pub(crate) fn run(&self, words: &str) -> (i32, String, String) {
        let output: Output = self.command(words).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    pub(crate) fn succeeds(&self, words: &str) -> String {
        let (code, output, errors) = self.run(words);
        assert_eq!(code, 0, "{words}: {errors}");
        output
    }

    pub(crate) fn dev(&self) -> Dev {
        let mut child = self
            .command("dev --listen 127.0.0.1:0 --admin 127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("ready http://127.0.0.1:"), "{line:?}");
        Dev { child }
    }
}

pub(crate) struct Dev {
    child: Child,
}

impl Dev {
    pub(crate) fn stop(mut self) -> Option<i32> {
        anser::process::terminate(self.child.id()).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_first_message_needs_no_settings_and_survives_a_restart() {
    let home = Home::new();
    let dev = home.dev();
    let id = fs::read_to_string(home.data().join("anser.pid")).unwrap();
    assert_eq!(id.trim(), dev.child.id().to_string());
    home.succeeds("queue create orders");
    home.succeeds("queue send orders hello");
    assert_eq!(home.succeeds("queue list"), "orders\n");
    assert_eq!(dev.stop(), Some(0));
    assert!(!home.data().join("anser.pid").exists());

    let dev = home.dev();
    assert_eq!(home.succeeds("queue receive orders --delete"), "hello\n");
    let (code, _, errors) = home.run("queue receive orders");
    assert_eq!((code, errors.contains("no message")), (1, true), "{errors}");
    assert!(
        home.succeeds("queue show orders")
            .contains("ready               0\n")
    );
    let (code, _, errors) = home.run("queue send ordres hello");
    assert_eq!(
        (code, errors.contains("no such queue")),
        (1, true),
        "{errors}"
    );
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn a_topic_delivers_to_a_queue_and_says_what_became_of_its_messages() {
    let home = Home::new();
    let _dev = home.dev();
    home.succeeds("queue create inbox");
    home.succeeds("queue create lost");
    home.succeeds("topic create news");
    home.succeeds("subscription create news inbox --queue inbox --tag urgent");
    // Nobody listens there.
    home.succeeds("subscription create news web --url http://127.0.0.1:9/ --dead-letter lost");
    assert_eq!(home.succeeds("topic list"), "news\n");
    home.succeeds("topic publish news hello --tag urgent");
    let received = home.succeeds("queue receive inbox --wait 20 --delete");
    assert_eq!(received, "hello\n");
    let listed = home.succeeds("subscription list news");
    assert!(listed.contains("inbox") && listed.contains("http://127.0.0.1:9/"));

    let shown = (0..200).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        home.succeeds("subscription show news web")
    });
    let shown = shown.into_iter().find(|shown| shown.contains("failure"));
    let shown = shown.expect("the failed push is told");
    assert!(shown.contains("undelivered         1\n"), "{shown}");
    assert!(shown.contains("dead letters        lost\n"), "{shown}");
    let id = shown.lines().find_map(|line| line.strip_prefix("id "));
    let id = id.expect("a subscription has an id").trim();
    let secret = home.succeeds(&format!("key push-secret {id}"));
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!(secret, home.succeeds(&format!("key push-secret {id}")));
    assert_eq!(home.run("key push-secret inbox").0, 78);

    home.succeeds("subscription set news web --no-dead-letter --tag other");
    let (code, _, errors) = home.run("topic publish news hello");
    assert_eq!(
        (code, errors.contains("nobody wants it")),
        (1, true),
        "{errors}"
    );
    let (code, _, errors) = home.run("topic delete news");
    assert_eq!((code, errors.contains("end its subscriptions")), (1, true));
    home.succeeds("subscription delete news web");
    home.succeeds("subscription delete news inbox");
    home.succeeds("topic delete news");
    assert_eq!(home.run("topic show news").0, 1);
}

#[test]
fn one_data_directory_has_one_server() {
    let home = Home::new();
    let dev = home.dev();
    let (code, _, errors) = home.run("dev --listen 127.0.0.1:0 --admin 127.0.0.1:0");
    assert_eq!(code, 75);
    assert!(errors.contains("another server (process "), "{errors}");
    drop(dev);
    // The file of the killed server is stale and no obstacle.
    assert!(home.data().join("anser.pid").exists());
    assert_eq!(home.dev().stop(), Some(0));
}

#[test]
fn a_key_works_and_stops_working_while_the_server_runs() {
    let home = Home::new();
    let _dev = home.dev();
    let made = home.succeeds("key create --note ci");
    let word = |name| {
        made.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
    };
    let (id, secret) = (word("id"), word("secret"));
    let listed = home.succeeds("key list");
    assert!(listed.contains(id) && listed.contains("ci") && !listed.contains(secret));
    let list = format!("queue list --key {id}:{secret}");
    until_code(&home, &list, 0);
    home.succeeds(&format!("key disable {id}"));
    until_code(&home, &list, 1);
    home.succeeds(&format!("key enable {id}"));
    until_code(&home, &list, 0);
    home.succeeds(&format!("key delete {id}"));
    until_code(&home, &list, 1);
}

#[test]
fn errors_say_what_to_do_and_end_with_their_code() {
    let home = Home::new();
    let cases = [
        ("queue list", 78, "no access key"),
        (
            "queue list --key a:b --endpoint http://127.0.0.1:1",
            69,
            "is the server running",
        ),
        (
            "queue list --key a:b --endpoint ftp://x",
            78,
            "http://HOST:PORT",
        ),
        ("dev --listen 0.0.0.0:9324", 78, "--allow-remote"),
        ("dev --key a", 78, "ID:SECRET"),
        (
            "dev --listen 127.0.0.1:9 --admin 127.0.0.1:9",
            78,
            "have the same address",
        ),
        ("config --check missing.toml", 78, "missing.toml"),
        ("key disable nobody", 1, "there is no key nobody"),
        ("no-such-command", 2, "no-such-command"),
    ];
    for (words, code, text) in cases {
        let (found, _, errors) = home.run(words);
        assert!(
            found == code && errors.contains(text),
            "{words}: {found} {errors}"
        );
    }
}

#[test]
fn a_master_key_that_others_can_read_stops_everything() {
    let home = Home::new();
    home.succeeds("key create");
    let path = home.folder.path().join(".config/anser/master.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, errors) = home.run("key list");
    assert!(
        code == 77 && errors.contains("chmod 600"),
        "{code} {errors}"
    );
    let (code, _, _) = home.run("dev --listen 127.0.0.1:0 --admin 127.0.0.1:0");
    assert_eq!(code, 77);
}

#[test]
fn a_server_outlives_whoever_read_its_output() {
    let home = Home::new();
    for output in [gone, || fs::File::create("/dev/full").unwrap().into()] {
        let child = home
            .command("dev --listen 127.0.0.1:0 --admin 127.0.0.1:0")
            .env("ANSER_LOG", "info")
            .stdout(output())
            .stderr(output())
            .spawn()
            .unwrap();
        let dev = Dev { child };
        let queue = format!("queue create q{}", dev.child.id());
        until_code(&home, &queue, 0);
        assert_eq!(dev.stop(), Some(0));
    }
}

#[test]
fn an_answer_that_nobody_reads_is_no_failure() {
    let home = Home::new();
    let _dev = home.dev();
    home.succeeds("queue create orders");
    for words in ["queue list", "queue show orders", "key list"] {
        let child = home
            .command(words)
            .stdout(gone())
            .stderr(Stdio::piped())
            .spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success() && errors.is_empty(),
            "{words}: {errors}"
        );
    }
}

#[test]
fn what_is_wrong_with_data_and_key_is_said_at_the_start() {
    let home = Home::new();
    fs::create_dir_all(home.data()).unwrap();
    fs::set_permissions(home.data(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(home.dev().stop(), Some(0));
    let listed = home.succeeds("key list");
    let id = listed
        .split_whitespace()
        .find(|word| word.starts_with("AKID"));
    home.succeeds(&format!("key disable {}", id.unwrap()));

    let mut child = home
        .command("dev --listen 127.0.0.1:0 --admin 127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    anser::process::terminate(child.id()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let disabled = format!("anser key enable {}", id.unwrap());
    assert!(errors.contains(&disabled), "{errors}");
    assert!(errors.contains("chmod 700"), "{errors}");
}

#[test]
fn other_users_can_read_no_file_of_a_server() {
    let home = Home::new();
    assert_eq!(home.dev().stop(), Some(0));
    let mut folders = vec![home.data()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn an_empty_variable_is_none() {
    let home = Home::new();
    let code = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), errors)
    };
    let (found, errors) = code(home.command("queue list").env("ANSER_KEY", ""));
    assert!(found == 78 && errors.contains("no access key"), "{errors}");
    let made = code(home.command("key create").env("ANSER_MASTER_KEY_FILE", ""));
    assert_eq!(made.0, 0, "{}", made.1);
    let (found, errors) = code(home.command("key list").env("HOME", ""));
    assert!(found == 78 && errors.contains("set HOME"), "{errors}");
}

/// A pipe that nobody reads any more.
fn gone() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

#[test]
fn a_served_configuration_answers_on_both_ports() {
    let home = Home::new();
    let path = home.folder.path().join("anser.toml");
    let text = "data = \"data\"\nmaster_key_file = \"master.key\"\n\
                [api]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(&path, text).unwrap();
    let config = anser::config::Config::read(&path).unwrap();
    let clock = anser_node::Clock::system();
    let server = anser::server::Server::start(&config, clock).unwrap();
    let admin = server.admin_address().to_string();
    assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get(&admin, "/readyz").ends_with("\r\n\r\nready\n"));
    assert!(get(&admin, "/nothing").starts_with("HTTP/1.1 404"));
    let metrics = get(&admin, "/metrics");
    for text in [
        "anser_ready 1\n",
        "anser_messages_sent_total{shard=\"0\"} 0\n",
        "anser_fsync_seconds_bucket{le=\"+Inf\"}",
        "anser_process_resident_bytes ",
        "# EOF\n",
    ] {
        assert!(metrics.contains(text), "{text} is missing in {metrics}");
    }
    server.shutdown();
    assert!(
        home.succeeds(&format!("config --check {}", path.display()))
            .contains("is right")
    );
}

fn get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn until_code(home: &Home, words: &str, code: i32) {
    for _ in 0..100 {
        if home.run(words).0 == code {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("never ended with {code}: anser {words}");
}
