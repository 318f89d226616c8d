//! An open connection: reading, writing and listening for signs of life, until one of them ends.

use std::io::{self, IoSlice};

use anser_network::Stream;
use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};

use crate::{
    batch::{Batch, SLICES},
    config::Limits,
    frame::{Frame, Kind, Violation},
    lane::Lane,
    pulse::Pulse,
    reader::{End, FrameReader},
};

/// What one side of a connection does with frames.
pub(crate) trait Side {
    fn lane(&self) -> &Lane;

    /// Moves what waits into a batch.
    fn fill(&self, batch: &mut Batch);

    /// Something of all requests up to this one may have been sent.
    fn begun(&self, request: u64);

    /// There is more room in the lane.
    fn released(&self) {}

    /// A frame arrived, which is no ping and no pong.
    fn frame(&self, frame: Frame) -> Result<(), Violation>;
}

/// Lets a connection live and says why it ended.
pub(crate) async fn run(stream: Stream, side: &impl Side, pulse: &Pulse, limits: &Limits) -> End {
    let is_buffered = stream.is_buffered();
    let (read_half, write_half) = tokio::io::split(stream);
    let reader = FrameReader::new(read_half, limits.frame_bytes);
    // Reading comes first: after a pause of this process, what has arrived counts.
    tokio::select! {
        biased;
        end = read(reader, side, pulse) => end,
        end = write(write_half, is_buffered, side, pulse) => end,
        end = pulse.watch(side.lane(), limits) => end,
    }
}

async fn read(
    mut reader: FrameReader<tokio::io::ReadHalf<Stream>>,
    side: &impl Side,
    pulse: &Pulse,
) -> End {
    loop {
        let frame = match reader.next(&|bytes| pulse.arrived(bytes)).await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        pulse.frame_in();
        let done = match frame.kind {
            Kind::Ping => {
                side.lane().pong();
                Ok(())
            }
            Kind::Pong => {
                pulse.pong();
                Ok(())
            }
            _ => side.frame(frame),
        };
        if let Err(violation) = done {
            return End::Violation(violation);
        }
    }
}

async fn write(
    mut stream: WriteHalf<Stream>,
    is_buffered: bool,
    side: &impl Side,
    pulse: &Pulse,
) -> End {
    let mut batch = Batch::default();
    loop {
        batch.clear();
        side.fill(&mut batch);
        batch.seal();
        if batch.is_written() {
            side.lane().wake.notified().await;
            continue;
        }
        if let Err(error) = write_batch(&mut stream, is_buffered, &mut batch, side, pulse).await {
            return End::Broken(error);
        }
        side.lane().release(&batch);
        side.released();
        pulse.frames_out(batch.frames);
    }
}

/// A write that fails on a plain socket has taken nothing. With TLS, all it was given may have left.
async fn write_batch(
    stream: &mut (impl AsyncWrite + Unpin),
    is_buffered: bool,
    batch: &mut Batch,
    side: &impl Side,
    pulse: &Pulse,
) -> io::Result<()> {
    while !batch.is_written() {
        if is_buffered && let Some(request) = batch.begun_within(batch.bytes()) {
            side.begun(request);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = batch.slices(&mut slices);
        let written = stream.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if let Some(request) = batch.begun_within(written) {
            side.begun(request);
        }
        batch.advance(written);
        pulse.left(written);
    }
    stream.flush().await
}
