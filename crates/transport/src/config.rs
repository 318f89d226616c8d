//! What a transport is told: who it is, where it listens, and its bounds.

use std::{io, net::SocketAddr, time::Duration};

use crate::{frame, hello::ADDRESS_BYTES_MAX, secret::Secret, tls::TlsConfig};

/// Who a node is, beyond doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, 16 random bytes, not all zero: those stand for "not yet in a cluster".
    pub cluster: [u8; 16],
    /// The node's number, from 1.
    pub node: u64,
    /// The data directory, 16 random bytes: another disk has another one.
    pub incarnation: [u8; 16],
}

/// One start of a node, as its data directory remembers it; what it means is the handler's business.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// Above that of every start before it.
    pub number: u64,
    /// Drawn with the number.
    pub mark: [u8; 16],
}

/// What [`crate::Transport::start`] needs.
#[derive(Debug, Clone)]
pub struct Config {
    pub identity: Identity,
    pub start: Start,
    /// Where other nodes dial; port 0 means any, see [`crate::Transport::address`].
    pub listen: SocketAddr,
    /// Where this node says that others reach it, at most 255 bytes; what it listens on, if `None`.
    pub advertise: Option<String>,
    /// What all nodes of the cluster share and nobody else has.
    pub secret: Secret,
    /// Without it, who can read or change what passes on the network is believed.
    pub tls: Option<TlsConfig>,
    pub limits: Limits,
}

/// What [`crate::ask`] needs.
#[derive(Debug, Clone)]
pub struct JoinConfig {
    pub secret: Secret,
    pub tls: Option<TlsConfig>,
    /// For everything from the lookup of the name to the answer.
    pub deadline: Duration,
    /// Bytes of a request or an answer at most.
    pub frame_bytes: usize,
}

/// Another node, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Host and port. A name is looked up at every dial.
    pub address: String,
    pub incarnation: [u8; 16],
}

/// The bounds of a transport.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one message, request or answer at most. All nodes of a cluster need the same value.
    pub frame_bytes: usize,
    /// Bytes that wait for one peer at most, and as many of bulk, and of requests from one peer that are
    /// under way; at least one frame. Each frame counts for its bytes and 64 more.
    pub queue_bytes: usize,
    /// Requests of one peer that are under way here at most; more are refused.
    pub requests: usize,
    /// Connections that have not yet proved anything, at most. One more closes the oldest of the
    /// address that has the most of them.
    pub handshakes: usize,
    /// Connections of nodes that join, at most.
    pub joining: usize,
    /// For everything from the lookup of a name, or an accepted connection, to the end of the
    /// handshake.
    pub handshake_time: Duration,
    /// How long another process with a node's number is waited for, when one more comes: if it answers, it
    /// keeps the place.
    pub probe_time: Duration,
    /// After this time of silence in either direction the peer is asked whether it is there.
    pub ping_every: Duration,
    /// After this time in which nothing arrived, a connection is dead. Longer than `ping_every`.
    pub silence: Duration,
    /// The wait before the second dial; it doubles with each failure.
    pub redial_first: Duration,
    /// The longest wait between two dials, without the jitter, which adds up to a half.
    pub redial_most: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: (32 << 20) + (64 << 10),
            queue_bytes: 64 << 20,
            requests: 16_384,
            handshakes: 64,
            joining: 16,
            handshake_time: Duration::from_secs(5),
            probe_time: Duration::from_secs(2),
            ping_every: Duration::from_secs(1),
            silence: Duration::from_secs(5),
            redial_first: Duration::from_millis(50),
            redial_most: Duration::from_secs(2),
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> io::Result<()> {
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if self.identity.node == 0 {
            return wrong("transport: a node's number is at least 1");
        }
        if self.identity.cluster == [0; 16] {
            return wrong("transport: the id of a cluster is not all zero");
        }
        let advertised = self.advertise.as_ref();
        if advertised.is_some_and(|address| address.len() > ADDRESS_BYTES_MAX) {
            return wrong("transport: the address of a node has at most 255 bytes");
        }
        self.limits.check()
    }
}

impl Limits {
    fn check(&self) -> io::Result<()> {
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if u32::try_from(self.frame_bytes).is_err() {
            return wrong("transport: frame_bytes is beyond what a frame's length can say");
        }
        if self.queue_bytes < frame::cost(self.frame_bytes) {
            return wrong("transport: queue_bytes is less than one frame takes");
        }
        if self.requests == 0 || self.handshakes == 0 || self.joining == 0 {
            return wrong("transport: requests, handshakes and joining are at least 1");
        }
        if self.ping_every.is_zero() || self.silence <= self.ping_every {
            return wrong("transport: silence is longer than ping_every, which is longer than 0");
        }
        if self.redial_first.is_zero() || self.redial_most < self.redial_first {
            return wrong("transport: redial_most is at least redial_first, which is more than 0");
        }
        Ok(())
    }
}
