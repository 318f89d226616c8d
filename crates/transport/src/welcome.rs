//! What a listener answers a dialler: welcome, or why not.

use tokio::io::{self, AsyncRead, AsyncReadExt};

use crate::{
    config::Identity,
    error::{DialError, Refusal},
    handshake::{CHALLENGE_BYTES, part},
    secret::{PROOF_BYTES, Secret},
};

const MAGIC: [u8; 4] = *b"ATWE";
const LABEL: &[u8] = b"anser transport welcome";
/// Before the text.
const FIXED_BYTES: usize = 32;
/// Of the text: two addresses and some words.
const TEXT_BYTES_MAX: usize = 512;

/// Why a listener does not want a dialler, with what there is to know beyond the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) refusal: Refusal,
    /// Who holds the place, if another process does.
    pub(crate) text: String,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let text = String::new();
        Self { refusal, text }
    }
}

/// The node that was found at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub node: u64,
    pub incarnation: [u8; 16],
}

pub(super) fn write(
    own: &Identity,
    secret: &Secret,
    challenge: &[u8; CHALLENGE_BYTES],
    hello: &[u8],
    rejection: Option<&Rejection>,
) -> Vec<u8> {
    let status = rejection.map_or(0, |rejection| rejection.refusal.code());
    let mut bytes = Vec::from(MAGIC);
    bytes.extend([status, 0]);
    // Who has not proved anything learns nothing, and costs nothing.
    if rejection.is_some_and(|rejection| !rejection.refusal.is_proved()) {
        bytes.resize(FIXED_BYTES + PROOF_BYTES, 0);
        return bytes;
    }
    let text = rejection.map_or("", |rejection| &rejection.text);
    let text = &text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)];
    let length = u16::try_from(text.len()).expect("it was cut");
    bytes.extend(length.to_le_bytes());
    bytes.extend(own.node.to_le_bytes());
    bytes.extend(own.incarnation);
    bytes.extend(text);
    let proof = secret.prove(&[LABEL, challenge, hello, &bytes]);
    bytes.extend(proof);
    bytes
}

/// The bytes of a welcome.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FIXED_BYTES + PROOF_BYTES];
    stream.read_exact(&mut bytes).await?;
    let text = usize::from(u16::from_le_bytes(part(&bytes, 6)));
    if bytes[0..4] == MAGIC && text <= TEXT_BYTES_MAX {
        let fixed = bytes.len();
        bytes.resize(fixed + text, 0);
        stream.read_exact(&mut bytes[fixed..]).await?;
    }
    Ok(bytes)
}

/// What the welcome to this hello says.
pub(super) fn judge(
    bytes: &[u8],
    hello: &[u8],
    secret: &Secret,
    their_challenge: &[u8; CHALLENGE_BYTES],
) -> Result<Found, DialError> {
    if bytes[0..4] != MAGIC {
        return Err(DialError::NotANode);
    }
    let refusal = match bytes[4] {
        0 => None,
        code => Some(Refusal::of(code).ok_or(DialError::NotANode)?),
    };
    if let Some(refusal) = refusal
        && !refusal.is_proved()
    {
        return Err(DialError::Refused(refusal));
    }
    let (proved, proof) = bytes.split_at(bytes.len() - PROOF_BYTES);
    if !secret.is_proved(&[LABEL, their_challenge, hello, proved], &part(proof, 0)) {
        return Err(DialError::Impostor);
    }
    match refusal {
        Some(Refusal::PlaceTaken) => Err(DialError::PlaceTaken {
            holder: String::from_utf8_lossy(&proved[FIXED_BYTES..]).into_owned(),
        }),
        Some(refusal) => Err(DialError::Refused(refusal)),
        None => Ok(Found {
            node: u64::from_le_bytes(part(proved, 8)),
            incarnation: part(proved, 16),
        }),
    }
}

impl Refusal {
    pub(super) const ALL: [Self; 10] = [
        Self::WrongVersion,
        Self::ForeignCluster,
        Self::AnotherNode,
        Self::WrongSecret,
        Self::UnknownNode,
        Self::FormerIncarnation,
        Self::Busy,
        Self::FormerStart,
        Self::PlaceTaken,
        Self::Removed,
    ];

    fn code(self) -> u8 {
        match self {
            Self::WrongVersion => 1,
            Self::ForeignCluster => 2,
            Self::AnotherNode => 3,
            Self::WrongSecret => 4,
            Self::UnknownNode => 5,
            Self::FormerIncarnation => 6,
            Self::Busy => 7,
            Self::FormerStart => 8,
            Self::PlaceTaken => 9,
            Self::Removed => 10,
        }
    }

    fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// Whether it is told to who has proved to have the secret, and proved itself then.
    fn is_proved(self) -> bool {
        match self {
            Self::WrongVersion | Self::ForeignCluster | Self::AnotherNode | Self::WrongSecret => {
                false
            }
            Self::UnknownNode
            | Self::FormerIncarnation
            | Self::Busy
            | Self::FormerStart
            | Self::PlaceTaken
            | Self::Removed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_for_refusals() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of(refusal.code()), Some(refusal));
        }
        assert_eq!(Refusal::of(0), None);
    }
}
