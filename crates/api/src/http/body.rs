//! Reading a body, which is a form: bounded in bytes for each, for each address and for all together, with
//! what it takes to decode it.
//!
//! Nobody knows yet who sends it, so what counts is where it comes from.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use memchr::{memchr, memchr2, memrchr};

use crate::memory::{Full, Taken};

/// Memory taken for a body before any of it has come, whatever length it claims.
const FIRST_RESERVATION: usize = 64 << 10;

/// Why a body is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    TooLarge,
    /// The bodies from one address, or all together, take as much memory as they may.
    Busy,
    /// The client left or broke the rules; nobody hears an answer.
    Broken,
}

impl From<Full> for Unread {
    fn from(_: Full) -> Self {
        Self::Busy
    }
}

/// Reads a body of at most `bytes_max`; a body that comes in one piece is not copied.
pub(super) async fn read(
    mut body: Incoming,
    bytes_max: usize,
    taken: &mut Taken<IpAddr>,
) -> Result<Bytes, Unread> {
    let claimed = body.size_hint().lower();
    if claimed > bytes_max as u64 {
        return Err(Unread::TooLarge);
    }
    let Some(first) = next(&mut body, bytes_max).await? else {
        return Ok(Bytes::new());
    };
    let Some(second) = next(&mut body, bytes_max - first.len()).await? else {
        return Ok(first);
    };
    let claimed = usize::try_from(claimed).unwrap_or(bytes_max);
    let mut whole = BytesMut::with_capacity(claimed.min(FIRST_RESERVATION));
    taken.hold(first.len() + second.len())?;
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while let Some(more) = next(&mut body, bytes_max - whole.len()).await? {
        taken.hold(whole.len() + more.len())?;
        whole.extend_from_slice(&more);
    }
    taken.hold(whole.len() + decoded_bytes(&whole))?;
    Ok(whole.freeze())
}

/// Memory that a form takes beside what came in, once it is decoded: from the first name or value with an
/// escape on.
fn decoded_bytes(form: &[u8]) -> usize {
    let Some(escape) = memchr2(b'%', b'+', form) else {
        return 0;
    };
    let after = |mark: usize| mark + 1;
    let segment = memrchr(b'&', &form[..escape]).map_or(0, after);
    // A value may hold more marks of this kind, Base64 for one.
    let value = memchr(b'=', &form[segment..escape]).map_or(0, after);
    form.len() - segment - value
}

/// The next piece, if it is within what is left.
async fn next(body: &mut Incoming, left: usize) -> Result<Option<Bytes>, Unread> {
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let frame = frame.map_err(|_| Unread::Broken)?;
        match frame.into_data() {
            Ok(data) if data.len() > left => return Err(Unread::TooLarge),
            Ok(data) if !data.is_empty() => return Ok(Some(data)),
            // Trailers mean nothing here.
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Piece by piece, as a form is read.
    fn from_the_first_escaped_piece(form: &str) -> usize {
        let mut start = 0;
        for segment in form.split('&') {
            let name = segment.split('=').next().expect("a split has a first part");
            for piece in [
                0..name.len(),
                (name.len() + 1).min(segment.len())..segment.len(),
            ] {
                if segment[piece.clone()].contains(['%', '+']) {
                    return form.len() - start - piece.start;
                }
            }
            start += segment.len() + 1;
        }
        0
    }

    #[test]
    fn a_mark_within_a_value_hides_nothing_of_it() {
        let form = format!("a=1&zz={}=%41&b=2", "x".repeat(1_000));
        assert_eq!(decoded_bytes(form.as_bytes()), 1_000 + "=%41&b=2".len());
    }

    proptest! {
        #[test]
        fn what_a_form_takes_to_be_decoded_is_counted(form in "[a&=%+]{0,40}") {
            prop_assert_eq!(decoded_bytes(form.as_bytes()), from_the_first_escaped_piece(&form));
        }
    }
}
