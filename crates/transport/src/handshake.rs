//! What two nodes say before the first frame. The layouts are in `docs/formats/transport.md`.

use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    config::Identity,
    error::{DialError, Refusal},
    secret::{PROOF_BYTES, Secret},
};

/// The versions of the protocol that this program speaks.
const VERSION_MIN: u16 = 1;
const VERSION_MAX: u16 = 1;

const GREETING_MAGIC: [u8; 4] = *b"ATGR";
const HELLO_MAGIC: [u8; 4] = *b"ATHE";
const WELCOME_MAGIC: [u8; 4] = *b"ATWE";
const HELLO_LABEL: &[u8] = b"anser transport hello";
const WELCOME_LABEL: &[u8] = b"anser transport welcome";

const CHALLENGE_BYTES: usize = 32;
const GREETING_BYTES: usize = 4 + 2 + 2 + CHALLENGE_BYTES;
const HELLO_BYTES: usize = HELLO_PROVED_BYTES + PROOF_BYTES;
const HELLO_PROVED_BYTES: usize = 4 + 2 + 2 + 16 + 8 + 16 + 8 + CHALLENGE_BYTES;
const WELCOME_BYTES: usize = WELCOME_PROVED_BYTES + PROOF_BYTES;
const WELCOME_PROVED_BYTES: usize = 4 + 1 + 3 + 8 + 16;

/// The number of who has none yet, and of "whoever".
const NOBODY: u64 = 0;

/// Who a dialler says it is, once it has proved to have the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visitor {
    Node { node: u64, incarnation: [u8; 16] },
    Joining,
}

/// What a listener made of a dialler.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It does not speak this protocol, or not to the end.
    Nothing(io::Error),
    /// It was told why not.
    Refused(Refusal),
    Accepted(Visitor),
}

/// Who a dialler is and whom it means.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// To reach this node in this incarnation.
    Reach {
        own: Identity,
        node: u64,
        incarnation: [u8; 16],
    },
    /// To reach any node, without being one.
    Join,
}

/// The listener's side. `judge` is asked about who has proved to have the secret.
pub(crate) async fn listen(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: &Identity,
    secret: &Secret,
    judge: impl FnOnce(Visitor) -> Result<(), Refusal>,
) -> Heard {
    let challenge = random();
    let mut hello = [0; HELLO_BYTES];
    let arrived = async {
        stream.write_all(&greeting(&challenge)).await?;
        stream.flush().await?;
        stream.read_exact(&mut hello).await
    };
    if let Err(error) = arrived.await {
        return Heard::Nothing(error);
    }
    let judged = match Hello::read(&hello) {
        Ok(hello) => hello.judge(own, secret, &challenge, judge),
        Err(error) => return Heard::Nothing(error),
    };
    let welcome = welcome(own, secret, &challenge, &hello, judged.err());
    let told = async {
        stream.write_all(&welcome).await?;
        stream.flush().await
    };
    match (told.await, judged) {
        (_, Err(refusal)) => Heard::Refused(refusal),
        (Err(error), _) => Heard::Nothing(error),
        (Ok(()), Ok(visitor)) => Heard::Accepted(visitor),
    }
}

/// The dialler's side.
pub(crate) async fn dial(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    purpose: Purpose,
    secret: &Secret,
) -> Result<(), DialError> {
    let mut greeting = [0; GREETING_BYTES];
    stream
        .read_exact(&mut greeting)
        .await
        .map_err(DialError::Broken)?;
    let their_challenge = read_greeting(&greeting)?;
    let hello = hello(purpose, secret, &their_challenge);
    stream.write_all(&hello).await.map_err(DialError::Broken)?;
    stream.flush().await.map_err(DialError::Broken)?;
    let mut welcome = [0; WELCOME_BYTES];
    stream
        .read_exact(&mut welcome)
        .await
        .map_err(DialError::Broken)?;
    read_welcome(&welcome, &hello, purpose, secret, &their_challenge)
}

fn greeting(challenge: &[u8; CHALLENGE_BYTES]) -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[0..4].copy_from_slice(&GREETING_MAGIC);
    bytes[4..6].copy_from_slice(&VERSION_MIN.to_le_bytes());
    bytes[6..8].copy_from_slice(&VERSION_MAX.to_le_bytes());
    bytes[8..40].copy_from_slice(challenge);
    bytes
}

fn read_greeting(bytes: &[u8; GREETING_BYTES]) -> Result<[u8; CHALLENGE_BYTES], DialError> {
    if bytes[0..4] != GREETING_MAGIC {
        return Err(DialError::NotANode);
    }
    let (min, max) = (
        u16::from_le_bytes(part(bytes, 4)),
        u16::from_le_bytes(part(bytes, 6)),
    );
    if max < VERSION_MIN || min > VERSION_MAX {
        return Err(DialError::Refused(Refusal::WrongVersion));
    }
    Ok(part(bytes, 8))
}

/// With the newest version that both speak, which is the only one so far.
fn hello(
    purpose: Purpose,
    secret: &Secret,
    their_challenge: &[u8; CHALLENGE_BYTES],
) -> [u8; HELLO_BYTES] {
    let (cluster, from, incarnation, to) = match purpose {
        Purpose::Reach { own, node, .. } => (own.cluster, own.node, own.incarnation, node),
        Purpose::Join => ([0; 16], NOBODY, [0; 16], NOBODY),
    };
    let mut bytes = [0; HELLO_BYTES];
    bytes[0..4].copy_from_slice(&HELLO_MAGIC);
    bytes[4..6].copy_from_slice(&VERSION_MAX.to_le_bytes());
    bytes[8..24].copy_from_slice(&cluster);
    bytes[24..32].copy_from_slice(&from.to_le_bytes());
    bytes[32..48].copy_from_slice(&incarnation);
    bytes[48..56].copy_from_slice(&to.to_le_bytes());
    bytes[56..88].copy_from_slice(&random());
    let proof = secret.prove(&[HELLO_LABEL, their_challenge, &bytes[..HELLO_PROVED_BYTES]]);
    bytes[HELLO_PROVED_BYTES..].copy_from_slice(&proof);
    bytes
}

struct Hello<'bytes> {
    bytes: &'bytes [u8; HELLO_BYTES],
    version: u16,
    cluster: [u8; 16],
    from: u64,
    incarnation: [u8; 16],
    to: u64,
}

impl<'bytes> Hello<'bytes> {
    fn read(bytes: &'bytes [u8; HELLO_BYTES]) -> io::Result<Self> {
        if bytes[0..4] != HELLO_MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not speak this protocol",
            ));
        }
        Ok(Self {
            bytes,
            version: u16::from_le_bytes(part(bytes, 4)),
            cluster: part(bytes, 8),
            from: u64::from_le_bytes(part(bytes, 24)),
            incarnation: part(bytes, 32),
            to: u64::from_le_bytes(part(bytes, 48)),
        })
    }

    /// What costs nothing comes first.
    fn judge(
        &self,
        own: &Identity,
        secret: &Secret,
        challenge: &[u8; CHALLENGE_BYTES],
        judge: impl FnOnce(Visitor) -> Result<(), Refusal>,
    ) -> Result<Visitor, Refusal> {
        if !(VERSION_MIN..=VERSION_MAX).contains(&self.version) {
            return Err(Refusal::WrongVersion);
        }
        let is_joining = self.from == NOBODY;
        let cluster = if is_joining { [0; 16] } else { own.cluster };
        if self.cluster != cluster {
            return Err(Refusal::ForeignCluster);
        }
        if self.to != own.node && !(is_joining && self.to == NOBODY) {
            return Err(Refusal::AnotherNode);
        }
        let proved = &self.bytes[..HELLO_PROVED_BYTES];
        let proof = part(self.bytes, HELLO_PROVED_BYTES);
        if !secret.is_proved(&[HELLO_LABEL, challenge, proved], &proof) {
            return Err(Refusal::WrongSecret);
        }
        let visitor = if is_joining {
            Visitor::Joining
        } else {
            Visitor::Node {
                node: self.from,
                incarnation: self.incarnation,
            }
        };
        judge(visitor).map(|()| visitor)
    }
}

fn welcome(
    own: &Identity,
    secret: &Secret,
    challenge: &[u8; CHALLENGE_BYTES],
    hello: &[u8; HELLO_BYTES],
    refusal: Option<Refusal>,
) -> [u8; WELCOME_BYTES] {
    let mut bytes = [0; WELCOME_BYTES];
    bytes[0..4].copy_from_slice(&WELCOME_MAGIC);
    bytes[4] = refusal.map_or(0, Refusal::code);
    // Who has not proved anything learns nothing, and costs nothing.
    if refusal.is_none_or(Refusal::is_proved) {
        bytes[8..16].copy_from_slice(&own.node.to_le_bytes());
        bytes[16..32].copy_from_slice(&own.incarnation);
        let proof = secret.prove(&[
            WELCOME_LABEL,
            challenge,
            hello,
            &bytes[..WELCOME_PROVED_BYTES],
        ]);
        bytes[WELCOME_PROVED_BYTES..].copy_from_slice(&proof);
    }
    bytes
}

fn read_welcome(
    bytes: &[u8; WELCOME_BYTES],
    hello: &[u8; HELLO_BYTES],
    purpose: Purpose,
    secret: &Secret,
    their_challenge: &[u8; CHALLENGE_BYTES],
) -> Result<(), DialError> {
    if bytes[0..4] != WELCOME_MAGIC {
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
    let proved = &bytes[..WELCOME_PROVED_BYTES];
    let proof = part(bytes, WELCOME_PROVED_BYTES);
    if !secret.is_proved(&[WELCOME_LABEL, their_challenge, hello, proved], &proof) {
        return Err(DialError::Impostor);
    }
    if let Some(refusal) = refusal {
        return Err(DialError::Refused(refusal));
    }
    let found: (u64, [u8; 16]) = (u64::from_le_bytes(part(bytes, 8)), part(bytes, 16));
    match purpose {
        Purpose::Reach {
            node, incarnation, ..
        } if found != (node, incarnation) => Err(DialError::AnotherNode(found.0)),
        Purpose::Reach { .. } | Purpose::Join => Ok(()),
    }
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::WrongVersion,
        Self::ForeignCluster,
        Self::AnotherNode,
        Self::WrongSecret,
        Self::UnknownNode,
        Self::FormerIncarnation,
        Self::Busy,
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
        }
    }

    fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// Whether it is told to who has proved to have the secret, and proved itself then.
    fn is_proved(self) -> bool {
        matches!(
            self,
            Self::UnknownNode | Self::FormerIncarnation | Self::Busy
        )
    }
}

fn part<const BYTES: usize>(bytes: &[u8], at: usize) -> [u8; BYTES] {
    bytes[at..at + BYTES]
        .try_into()
        .expect("a slice of that length")
}

fn random() -> [u8; CHALLENGE_BYTES] {
    let mut bytes = [0; CHALLENGE_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Identity = Identity {
        cluster: [1; 16],
        node: 2,
        incarnation: [3; 16],
    };

    fn reach(own: Identity) -> Purpose {
        Purpose::Reach {
            own,
            node: OWN.node,
            incarnation: OWN.incarnation,
        }
    }

    fn secret(byte: u8) -> Secret {
        Secret::new(&[byte; 32]).unwrap()
    }

    /// What both sides make of each other.
    async fn meet(purpose: Purpose, theirs: Secret) -> (Result<(), DialError>, Heard) {
        let (mut here, mut there) = tokio::io::duplex(256);
        let own = secret(7);
        tokio::join!(
            dial(&mut here, purpose, &theirs),
            listen(&mut there, &OWN, &own, |_| Ok(()))
        )
    }

    #[tokio::test]
    async fn who_has_the_secret_is_heard() {
        let own = Identity {
            node: 9,
            incarnation: [8; 16],
            ..OWN
        };
        let (dialled, heard) = meet(reach(own), secret(7)).await;
        dialled.unwrap();
        let visitor = Visitor::Node {
            node: 9,
            incarnation: [8; 16],
        };
        assert!(matches!(heard, Heard::Accepted(found) if found == visitor));
        let (dialled, heard) = meet(Purpose::Join, secret(7)).await;
        dialled.unwrap();
        assert!(matches!(heard, Heard::Accepted(Visitor::Joining)));
    }

    #[tokio::test]
    async fn another_incarnation_than_the_one_meant_is_noticed() {
        let purpose = Purpose::Reach {
            own: OWN,
            node: OWN.node,
            incarnation: [0; 16],
        };
        let (dialled, _) = meet(purpose, secret(7)).await;
        assert!(matches!(dialled, Err(DialError::AnotherNode(2))));
    }

    #[test]
    fn the_cheap_questions_come_before_the_proof() {
        let judged = |change: fn(&mut [u8; HELLO_BYTES])| {
            let mut bytes = hello(reach(OWN), &secret(9), &[0; 32]);
            change(&mut bytes);
            Hello::read(&bytes)
                .unwrap()
                .judge(&OWN, &secret(7), &[0; 32], |_| Ok(()))
                .unwrap_err()
        };
        assert_eq!(judged(|bytes| bytes[4] = 2), Refusal::WrongVersion);
        assert_eq!(judged(|bytes| bytes[8] = 2), Refusal::ForeignCluster);
        assert_eq!(judged(|bytes| bytes[48] = 9), Refusal::AnotherNode);
        assert_eq!(judged(|_| ()), Refusal::WrongSecret);
    }

    #[test]
    fn every_byte_of_a_hello_is_proved() {
        let good = hello(reach(OWN), &secret(7), &[0; 32]);
        for at in 4..HELLO_BYTES {
            let mut bytes = good;
            bytes[at] ^= 1;
            let judged = Hello::read(&bytes)
                .unwrap()
                .judge(&OWN, &secret(7), &[0; 32], |_| Ok(()));
            assert!(judged.is_err(), "byte {at}");
        }
    }

    #[test]
    fn every_byte_of_a_welcome_is_proved() {
        let (secret, purpose) = (secret(7), reach(OWN));
        let hello = hello(purpose, &secret, &[0; 32]);
        let good = welcome(&OWN, &secret, &[0; 32], &hello, None);
        read_welcome(&good, &hello, purpose, &secret, &[0; 32]).unwrap();
        for at in 0..WELCOME_BYTES {
            let mut bytes = good;
            bytes[at] ^= 1;
            let read = read_welcome(&bytes, &hello, purpose, &secret, &[0; 32]);
            assert!(read.is_err(), "byte {at}");
        }
    }

    #[test]
    fn codes_stand_for_refusals() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of(refusal.code()), Some(refusal));
        }
        assert_eq!(Refusal::of(0), None);
    }
}
