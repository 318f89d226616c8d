//! What a dialler says of itself, and what a listener makes of it. Nothing of it is believed before the
//! proof at its end.

use tokio::io::{self, AsyncRead, AsyncReadExt};

use crate::{
    config::{Identity, Start},
    error::Refusal,
    handler::Visitor,
    handshake::{CHALLENGE_BYTES, NOBODY, Purpose, VERSIONS, part, random},
    secret::{PROOF_BYTES, Secret},
};

const MAGIC: [u8; 4] = *b"ATHE";
const LABEL: &[u8] = b"anser transport hello";
/// What is the same in every version.
const HEAD_BYTES: usize = 8;
/// Before the address.
const FIXED_BYTES: usize = 120;
/// Of an address.
pub(crate) const ADDRESS_BYTES_MAX: usize = 255;

/// Who a dialler says it is, once it has proved to have the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Guest {
    Node(Visitor),
    Joining,
}

/// The bytes of a hello with the newest version that both speak, which is the only one.
pub(super) fn write(
    purpose: Purpose<'_>,
    secret: &Secret,
    their_challenge: &[u8; CHALLENGE_BYTES],
) -> Vec<u8> {
    let (own, to) = match purpose {
        Purpose::Reach { own, node, .. } => (Some(own), node),
        Purpose::Join => (None, NOBODY),
    };
    let address = own.map_or("", |own| &own.address);
    let length = u16::try_from(address.len()).expect("an address is short");
    let identity = own.map(|own| own.identity);
    let start = own.map(|own| own.start).unwrap_or_default();
    let mut bytes = Vec::with_capacity(FIXED_BYTES + address.len() + PROOF_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(VERSIONS.end().to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(identity.map_or([0; 16], |own| own.cluster));
    bytes.extend(identity.map_or(NOBODY, |own| own.node).to_le_bytes());
    bytes.extend(identity.map_or([0; 16], |own| own.incarnation));
    bytes.extend(to.to_le_bytes());
    bytes.extend(random::<CHALLENGE_BYTES>());
    bytes.extend(own.map_or(0, |own| own.run).to_le_bytes());
    bytes.extend(start.number.to_le_bytes());
    bytes.extend(start.mark);
    bytes.extend(address.as_bytes());
    let proof = secret.prove(&[LABEL, their_challenge, &bytes]);
    bytes.extend(proof);
    bytes
}

pub(super) struct Hello {
    pub(super) bytes: Vec<u8>,
    version: u16,
}

impl Hello {
    /// Reads as much of it as its version has. One of another version ends after what all have.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut bytes = vec![0; HEAD_BYTES];
        stream.read_exact(&mut bytes).await?;
        let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if bytes[0..4] != MAGIC {
            return refuse("it does not speak this protocol");
        }
        let version = u16::from_le_bytes(part(&bytes, 4));
        if VERSIONS.contains(&version) {
            let address = usize::from(u16::from_le_bytes(part(&bytes, 6)));
            if address > ADDRESS_BYTES_MAX {
                return refuse("its address is too long");
            }
            bytes.resize(FIXED_BYTES + address + PROOF_BYTES, 0);
            stream.read_exact(&mut bytes[HEAD_BYTES..]).await?;
        }
        Ok(Self { bytes, version })
    }

    /// What costs nothing comes first.
    pub(super) fn prove(
        &self,
        own: &Identity,
        secret: &Secret,
        challenge: &[u8; CHALLENGE_BYTES],
    ) -> Result<Guest, Refusal> {
        if !VERSIONS.contains(&self.version) {
            return Err(Refusal::WrongVersion);
        }
        let (proved, proof) = self.bytes.split_at(self.bytes.len() - PROOF_BYTES);
        let from = u64::from_le_bytes(part(proved, 24));
        let to = u64::from_le_bytes(part(proved, 48));
        let is_joining = from == NOBODY;
        let cluster = if is_joining { [0; 16] } else { own.cluster };
        if part(proved, 8) != cluster {
            return Err(Refusal::ForeignCluster);
        }
        if to != own.node && !(is_joining && to == NOBODY) {
            return Err(Refusal::AnotherNode);
        }
        if !secret.is_proved(&[LABEL, challenge, proved], &part(proof, 0)) {
            return Err(Refusal::WrongSecret);
        }
        if is_joining {
            return Ok(Guest::Joining);
        }
        Ok(Guest::Node(Visitor {
            node: from,
            incarnation: part(proved, 32),
            start: Start {
                number: u64::from_le_bytes(part(proved, 96)),
                mark: part(proved, 104),
            },
            address: String::from_utf8_lossy(&proved[FIXED_BYTES..]).into_owned(),
            run: u64::from_le_bytes(part(proved, 88)),
        }))
    }
}
