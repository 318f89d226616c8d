//! Machines for a test: a network namespace each, with a link for clients and one to the other machines
//! that can be cut. Needs root and the program `ip`.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// An address of a link that is given to no interface.
const NOBODY: &str = "02:00:00:00:00:99";

/// Machines `1..=count`. Clients reach machine k at [`Network::outer`], machines each other at
/// [`Network::inner`].
#[derive(Debug)]
pub(crate) struct Network {
    tag: String,
    made: Vec<String>,
}

impl Network {
    /// Fails with what this machine does not allow.
    pub(crate) fn new(count: u16) -> Result<Self, String> {
        let tag = format!("anser{}", std::process::id());
        let made = Vec::new();
        // From here on dropping it takes everything away again.
        let mut network = Self { tag, made };
        let switch = network.name("s");
        network.add(&switch)?;
        ip(&format!("-n {switch} link add bridge type bridge"))?;
        ip(&format!("-n {switch} link set bridge up"))?;
        for node in 1..=count {
            let place = network.name(&node.to_string());
            network.add(&place)?;
            ip(&format!("-n {place} link set lo up"))?;
            ip(&format!(
                "-n {switch} link add port{node} type veth peer name inner netns {place}"
            ))?;
            ip(&format!("-n {switch} link set port{node} master bridge up"))?;
            ip(&format!(
                "-n {place} addr add {}/24 dev inner",
                Self::inner(node)
            ))?;
            ip(&format!("-n {place} link set inner up"))?;
            // Interfaces have short names.
            let outside = format!("a{}x{node}", std::process::id());
            ip(&format!(
                "link add {outside} type veth peer name outer netns {place}"
            ))?;
            ip(&format!("addr add 10.213.{node}.1/30 dev {outside}"))?;
            ip(&format!("link set {outside} up"))?;
            ip(&format!(
                "-n {place} addr add {}/30 dev outer",
                Self::outer(node)
            ))?;
            ip(&format!("-n {place} link set outer up"))?;
        }
        Ok(network)
    }

    pub(crate) fn outer(node: u16) -> String {
        format!("10.213.{node}.2")
    }

    pub(crate) fn inner(node: u16) -> String {
        format!("10.213.0.{node}")
    }

    /// From now on nothing passes between this machine and the others. Nobody is told.
    pub(crate) fn cut(&self, node: u16) {
        self.set(node, "down");
    }

    pub(crate) fn mend(&self, node: u16) {
        self.set(node, "up");
    }

    /// From now on nothing that `from` says comes to `to`; what `to` says comes. Frames go to an address of the link that no
    /// machine has, so nobody is told.
    pub(crate) fn cut_one_way(&self, from: u16, to: u16) {
        let (place, to) = (self.name(&from.to_string()), Self::inner(to));
        ip(&format!(
            "-n {place} neigh replace {to} lladdr {NOBODY} dev inner nud permanent"
        ))
        .unwrap();
    }

    pub(crate) fn mend_one_way(&self, from: u16, to: u16) {
        let (place, to) = (self.name(&from.to_string()), Self::inner(to));
        ip(&format!("-n {place} neigh del {to} dev inner")).unwrap();
    }

    /// Whether a new connection between these comes about, which needs both directions.
    pub(crate) fn connects(&self, from: u16, to: u16) -> bool {
        let place = self.name(&from.to_string());
        let opens = format!("exec 3<>/dev/tcp/{}/9326", Self::inner(to));
        let tried = Command::new("ip")
            .args([
                "netns", "exec", &place, "timeout", "1", "bash", "-c", &opens,
            ])
            .stderr(Stdio::null())
            .status();
        tried.unwrap().success()
    }

    /// Our program, to be started on a machine.
    pub(crate) fn command(&self, node: u16, home: &Path, errors: std::fs::File) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name(&node.to_string())])
            .arg(env!("CARGO_BIN_EXE_anser"))
            .env_clear()
            .env("HOME", home)
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        command
    }

    fn set(&self, node: u16, state: &str) {
        let switch = self.name("s");
        ip(&format!("-n {switch} link set port{node} {state}")).unwrap();
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.tag)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        ip(&format!("netns add {name}"))?;
        self.made.push(name.to_owned());
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With a namespace its interfaces go, and with them their other ends.
        for name in &self.made {
            ip(&format!("netns del {name}")).ok();
        }
    }
}

/// Processes that end with the test.
#[derive(Debug, Default)]
pub(crate) struct Processes(pub(crate) Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn ip(words: &str) -> Result<(), String> {
    let done = Command::new("ip").args(words.split(' ')).output();
    let done = done.map_err(|error| format!("ip does not run: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&done.stderr);
    Err(format!("ip {words}: {}", why.trim()))
}
