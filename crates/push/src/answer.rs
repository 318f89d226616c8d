//! The body of an answer: nobody needs it, but a connection can be used again only after it.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{self, Instant};

use crate::{connection::Connection, hosts::Host, places::Line};

/// How much of an answer is read before its connection is closed instead.
const READ_BYTES_MAX: usize = 64 << 10;
/// How much of an answer to a failure is kept.
const KEPT_BYTES_MAX: usize = 256;

/// An answer whose head was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Incoming,
    pub(crate) connection: Connection,
    pub(crate) host: Rc<Host>,
    /// When the push must have ended.
    pub(crate) deadline: Instant,
}

impl Answer {
    /// The first bytes of the body: as many as are kept, or as many as came in time.
    pub(crate) async fn beginning(&mut self) -> Bytes {
        let mut beginning = BytesMut::new();
        while beginning.len() < KEPT_BYTES_MAX {
            let Some(data) = self.next().await else {
                break;
            };
            let room = KEPT_BYTES_MAX - beginning.len();
            beginning.extend_from_slice(&data[..data.len().min(room)]);
        }
        beginning.freeze()
    }

    /// Reads the rest and keeps the connection for the next push, unless there is too much of it.
    pub(crate) async fn finish(mut self, line: Line) {
        let mut read = 0;
        while let Some(data) = self.next().await {
            read += data.len();
            if read > READ_BYTES_MAX {
                return;
            }
        }
        let ready = time::timeout_at(self.deadline, self.connection.ready());
        if let Ok(Ok(())) = ready.await {
            self.host.keep(self.connection);
        }
        drop(line);
    }

    /// The next bytes; `None` at the end, in whatever way it ended.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = time::timeout_at(self.deadline, self.body.frame()).await;
            if let Ok(data) = frame.ok()??.ok()?.into_data() {
                return Some(data);
            }
        }
    }
}
