//! What an endpoint sends before the head of its answer, counted where it leaves the socket.
//!
//! HTTP allows any number of interim answers before the final one, and TLS any number of records
//! without content. Each of them is small, so that only their sum can be bounded: while an answer is
//! awaited, nothing is read after [`PRELUDE_BYTES_MAX`] bytes.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of everything up to the head of the answer, with what came along with it.
const PRELUDE_BYTES_MAX: usize = 64 << 10;

/// The text of the error, and how it is known again behind the errors of HTTP and TLS.
#[derive(Debug, thiserror::Error)]
#[error("the answer has too much before its head")]
struct TooMuch;

/// How much may still come before the head of the answer that is awaited, if one is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prelude {
    /// Absent while no answer is awaited.
    left: Rc<Cell<Option<usize>>>,
}

impl Prelude {
    /// An answer is awaited from now on.
    pub(crate) fn begin(&self) {
        self.left.set(Some(PRELUDE_BYTES_MAX));
    }

    /// The head of the answer is there.
    pub(crate) fn end(&self) {
        self.left.set(None);
    }

    /// An error if nothing more may be read.
    fn check(&self) -> io::Result<()> {
        match self.left.get() {
            Some(0) => Err(io::Error::other(TooMuch)),
            _ => Ok(()),
        }
    }

    fn count(&self, read: usize) {
        let left = self.left.get();
        self.left.set(left.map(|left| left.saturating_sub(read)));
    }
}

/// Whether what broke a connection was too much before the head of an answer.
pub(crate) fn was_too_much(error: &io::Error) -> bool {
    let cause = error.get_ref();
    cause.is_some_and(<dyn std::error::Error + Send + Sync>::is::<TooMuch>)
}

/// A stream whose reading is counted.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    stream: S,
    prelude: Prelude,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S, prelude: Prelude) -> Self {
        Self { stream, prelude }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.prelude.check()?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.prelude.count(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
