//! One question to a cluster that the one who asks has not joined yet.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{self, Instant},
};

use crate::{
    config::JoinConfig,
    dial::dial,
    error::{AskError, DialError},
    frame::{ANSWER_LOST, Frame, Kind, Violation},
    handshake::Purpose,
    reader::{End, FrameReader},
    welcome::Found,
};

/// The number of the only request.
const NUMBER: u64 = 1;

/// Sends one request to whichever node is at `address`, as [`crate::Caller::Joining`]. It needs a tokio
/// runtime with I/O and time. Dropping the future cancels the request.
pub async fn ask(address: &str, config: &JoinConfig, bytes: Bytes) -> Result<Bytes, AskError> {
    if bytes.len() > config.frame_bytes || u32::try_from(bytes.len()).is_err() {
        return Err(AskError::TooLong(bytes.len()));
    }
    let end = Instant::now() + config.deadline;
    let tls = config.tls.as_ref();
    let (stream, _) = dial(address, Purpose::Join, &config.secret, tls, config.deadline).await?;
    let exchange = Box::pin(exchange(stream, config.frame_bytes, bytes));
    time::timeout_at(end, exchange)
        .await
        .unwrap_or_else(|_| Err(AskError::Lost(io::ErrorKind::TimedOut.into())))
}

/// Which node is at `address`, by its own proved word. It needs a tokio runtime with I/O and time.
pub async fn identify(address: &str, config: &JoinConfig) -> Result<Found, DialError> {
    let tls = config.tls.as_ref();
    let found = dial(address, Purpose::Join, &config.secret, tls, config.deadline).await;
    found.map(|(_, found)| found)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite,
    frame_bytes: usize,
    bytes: Bytes,
) -> Result<Bytes, AskError> {
    let (read_half, mut write_half) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read_half, frame_bytes);
    let request = Frame::new(Kind::Request, NUMBER, bytes);
    write(&mut write_half, &request)
        .await
        .map_err(AskError::Lost)?;
    loop {
        let frame = reader.next(&|_| ()).await.map_err(lost)?;
        match frame.kind {
            Kind::Answer if frame.number == NUMBER => return Ok(frame.payload),
            Kind::Refuse if frame.number == NUMBER && frame.flags != ANSWER_LOST => {
                return Err(AskError::NotHandled);
            }
            Kind::Refuse if frame.number == NUMBER => {
                return Err(AskError::Lost(io::Error::other("the answer is too long")));
            }
            Kind::Ping => write(&mut write_half, &Frame::bare(Kind::Pong, 0))
                .await
                .map_err(AskError::Lost)?,
            Kind::Pong => {}
            _ => return Err(lost(End::Violation(Violation::Direction))),
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut header = BytesMut::new();
    frame.put_header(&mut header);
    stream.write_all(&header).await?;
    stream.write_all(&frame.payload).await?;
    stream.flush().await
}

fn lost(end: End) -> AskError {
    AskError::Lost(match end {
        End::Broken(error) => error,
        other => io::Error::other(other.to_string()),
    })
}
