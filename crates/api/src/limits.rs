//! What one client may take of the server, most of it before anybody knows who it is.

use std::time::Duration;

/// The bounds of the HTTP edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request line and its headers together; at least [`Limits::HEAD_BYTES_LEAST`].
    pub head_bytes: usize,
    /// Headers of one request.
    pub headers: usize,
    /// Bytes of one body as it comes over the wire.
    pub body_bytes: usize,
    /// Bytes of all bodies in memory that were larger than one read, and of what they are decoded into;
    /// those from one address, as it counts for connections, may be a quarter of it, or one.
    pub bodies_bytes: usize,
    /// Bytes of all answers that have not left yet; those to one account may be a quarter of it, or
    /// one.
    pub answers_bytes: usize,
    /// Connections open at once.
    pub connections: usize,
    /// Connections open at once from one address; an IPv6 network of 64 bits counts as one.
    pub connections_per_address: usize,
    /// From the first byte of a head to its last, and from opening to the first head.
    pub head_time: Duration,
    /// From the head to the last byte of the body.
    pub body_time: Duration,
    /// How many bytes a second of a body have to come, in each stretch of this time until its end.
    pub body_bytes_per_second: u64,
    pub body_stretch_time: Duration,
    /// From the answer to the moment the system has taken all of it.
    pub write_time: Duration,
    /// From an answer to the next request.
    pub idle_time: Duration,
    /// How long, and how many bytes, a closing connection listens to what nobody reads, so that
    /// the client hears the last answer instead of a reset.
    pub linger_time: Duration,
    pub linger_bytes: usize,
}

impl Limits {
    /// Of a body in each of its stretches.
    pub(crate) fn body_stretch_bytes(&self) -> u64 {
        let milliseconds = u64::try_from(self.body_stretch_time.as_millis()).unwrap_or(u64::MAX);
        self.body_bytes_per_second.saturating_mul(milliseconds) / 1000
    }

    /// The HTTP library needs this much.
    pub const HEAD_BYTES_LEAST: usize = 8 << 10;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 32 << 10,
            headers: 64,
            body_bytes: 8 << 20,
            bodies_bytes: 512 << 20,
            answers_bytes: 512 << 20,
            connections: 10_000,
            connections_per_address: 2_000,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            body_bytes_per_second: 64 << 10,
            body_stretch_time: Duration::from_secs(5),
            write_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(75),
            linger_time: Duration::from_secs(1),
            linger_bytes: 16 << 20,
        }
    }
}
