//! A stream that tells its [`Link`] what happens, and that closes without cutting the last answer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use anser_network::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    heads::Heads,
    link::{Link, Phase},
};
use crate::metrics::add;

/// Bytes thrown away at a time.
const DISCARDED: usize = 4096;
/// Bytes of following requests that are kept to see what is behind them.
const AHEAD_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct LinkedStream {
    stream: Stream,
    link: Arc<Link>,
    heads: Heads,
    /// What was read, and nobody has asked for yet.
    ahead: Vec<u8>,
    ended: bool,
    lingered: usize,
}

impl LinkedStream {
    pub(super) fn new(stream: Stream, link: Arc<Link>) -> Self {
        Self {
            stream,
            link,
            heads: Heads::new(),
            ahead: Vec::new(),
            ended: false,
            lingered: 0,
        }
    }

    /// Reads what is behind a request that waits, to see the client's end.
    fn look_ahead(&mut self, context: &mut Context<'_>) {
        let mut space = [0; AHEAD_BYTES];
        while !self.ended && self.ahead.len() < AHEAD_BYTES {
            let room = AHEAD_BYTES - self.ahead.len();
            let mut buffer = ReadBuf::new(&mut space[..room]);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.ahead.extend_from_slice(buffer.filled());
                    // The library may be waiting for these bytes, and the socket has told of them.
                    context.waker().wake_by_ref();
                }
                Poll::Ready(_) => self.ended = true,
            }
        }
        self.link.presence.lose();
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        if self.ahead.is_empty() {
            // Hardly any client sends ahead, and connections are many.
            self.ahead = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what nobody wants until the other side is done: closing a socket with unread bytes
    /// resets the connection, and the client would lose the answer that says why.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; DISCARDED];
        while !self.ended && self.lingered < self.link.linger_bytes {
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.lingered += buffer.filled().len(),
                _ => self.ended = true,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for LinkedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(self.poll_next(context, buffer));
        let count = buffer.filled().len() - before;
        if count == 0 {
            self.ended = true;
        }
        if let Some((number, last)) = self.heads.follow(&buffer.filled()[before..]) {
            self.link.ends_with(number, last);
        }
        match self.link.phase() {
            Phase::Idle if count > 0 => self.link.enter(Phase::Head),
            Phase::Body => self.link.came(count as u64),
            _ => {}
        }
        add(&self.link.metrics.bytes_in, count as u64);
        Poll::Ready(result)
    }
}

impl AsyncWrite for LinkedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        add(&self.link.metrics.bytes_out, count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts))?;
        add(&self.link.metrics.bytes_out, count as u64);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all was written: the answer has left, or there is none yet.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.link.phase() == Phase::Write {
            self.link.enter(Phase::Idle);
        }
        if self.link.presence.is_watched() {
            self.look_ahead(context);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.link.phase() != Phase::Linger {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.link.enter(Phase::Linger);
        }
        ready!(self.poll_linger(context));
        Poll::Ready(Ok(()))
    }
}
