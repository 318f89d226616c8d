//! What two nodes say before the first frame. The layouts are in `docs/formats/transport.md`.

use std::ops::RangeInclusive;

use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    config::{Identity, Start},
    error::{DialError, Refusal},
    hello::{self, Guest, Hello},
    secret::Secret,
    welcome::{self, Found, Rejection},
};

/// The versions of the protocol that this program speaks.
pub(super) const VERSIONS: RangeInclusive<u16> = 2..=2;

const GREETING_MAGIC: [u8; 4] = *b"ATGR";

pub(super) const CHALLENGE_BYTES: usize = 32;
const GREETING_BYTES: usize = 4 + 2 + 2 + CHALLENGE_BYTES;

/// The number of who has none yet, and of "whoever".
pub(super) const NOBODY: u64 = 0;

/// What a listener made of a dialler.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It does not speak this protocol, or not to the end.
    Nothing(io::Error),
    /// It was told why not.
    Refused(Refusal),
    Accepted(Guest),
}

/// What a node says of itself to those that it dials.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) identity: Identity,
    pub(crate) start: Start,
    /// Drawn by this process.
    pub(crate) run: u64,
    /// Where others reach it.
    pub(crate) address: String,
}

/// Who a dialler is and whom it means.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To reach this node in this incarnation.
    Reach {
        own: &'a Introduction,
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
    judge: impl AsyncFnOnce(&Guest) -> Result<(), Rejection>,
) -> Heard {
    let challenge = random();
    let arrived = async {
        stream.write_all(&greeting(&challenge)).await?;
        stream.flush().await?;
        Hello::read(stream).await
    };
    let hello = match arrived.await {
        Ok(hello) => hello,
        Err(error) => return Heard::Nothing(error),
    };
    let judged = match hello.prove(own, secret, &challenge) {
        Ok(guest) => judge(&guest).await.map(|()| guest),
        Err(refusal) => Err(refusal.into()),
    };
    let rejection = judged.as_ref().err();
    let welcome = welcome::write(own, secret, &challenge, &hello.bytes, rejection);
    let told = async {
        stream.write_all(&welcome).await?;
        stream.flush().await
    };
    match (told.await, judged) {
        (_, Err(rejection)) => Heard::Refused(rejection.refusal),
        (Err(error), _) => Heard::Nothing(error),
        (Ok(()), Ok(guest)) => Heard::Accepted(guest),
    }
}

/// The dialler's side: who was found.
pub(crate) async fn dial(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    purpose: Purpose<'_>,
    secret: &Secret,
) -> Result<Found, DialError> {
    let mut greeting = [0; GREETING_BYTES];
    stream
        .read_exact(&mut greeting)
        .await
        .map_err(DialError::Broken)?;
    let their_challenge = read_greeting(&greeting)?;
    let hello = hello::write(purpose, secret, &their_challenge);
    stream.write_all(&hello).await.map_err(DialError::Broken)?;
    stream.flush().await.map_err(DialError::Broken)?;
    let welcome = welcome::read(stream).await.map_err(DialError::Broken)?;
    let found = welcome::judge(&welcome, &hello, secret, &their_challenge)?;
    match purpose {
        Purpose::Reach {
            node, incarnation, ..
        } if found != (Found { node, incarnation }) => Err(DialError::AnotherNode(found.node)),
        Purpose::Reach { .. } | Purpose::Join => Ok(found),
    }
}

fn greeting(challenge: &[u8; CHALLENGE_BYTES]) -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[0..4].copy_from_slice(&GREETING_MAGIC);
    bytes[4..6].copy_from_slice(&VERSIONS.start().to_le_bytes());
    bytes[6..8].copy_from_slice(&VERSIONS.end().to_le_bytes());
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
    if max < *VERSIONS.start() || min > *VERSIONS.end() {
        return Err(DialError::Refused(Refusal::WrongVersion));
    }
    Ok(part(bytes, 8))
}

pub(super) fn part<const BYTES: usize>(bytes: &[u8], at: usize) -> [u8; BYTES] {
    bytes[at..at + BYTES]
        .try_into()
        .expect("a slice of that length")
}

pub(super) fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Visitor;

    const OWN: Identity = Identity {
        cluster: [1; 16],
        node: 2,
        incarnation: [3; 16],
    };

    fn introduction(identity: Identity) -> Introduction {
        Introduction {
            identity,
            start: Start {
                number: 5,
                mark: [6; 16],
            },
            run: 7,
            address: "a:1".into(),
        }
    }

    fn reach(own: &Introduction) -> Purpose<'_> {
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
    async fn meet(
        purpose: Purpose<'_>,
        rejection: Option<Rejection>,
    ) -> (Result<Found, DialError>, Heard) {
        let (mut here, mut there) = tokio::io::duplex(256);
        let own = secret(7);
        tokio::join!(
            dial(&mut here, purpose, &own),
            listen(&mut there, &OWN, &own, async |_| rejection
                .map_or(Ok(()), Err))
        )
    }

    #[tokio::test]
    async fn who_has_the_secret_is_heard_with_its_start_and_its_address() {
        let own = introduction(Identity {
            node: 9,
            incarnation: [8; 16],
            ..OWN
        });
        let (dialled, heard) = meet(reach(&own), None).await;
        let found = Found {
            node: 2,
            incarnation: [3; 16],
        };
        assert_eq!(dialled.unwrap(), found);
        let visitor = Visitor {
            node: 9,
            incarnation: [8; 16],
            start: own.start,
            address: "a:1".into(),
            run: 7,
        };
        assert!(matches!(heard, Heard::Accepted(Guest::Node(node)) if node == visitor));
        let (dialled, heard) = meet(Purpose::Join, None).await;
        assert_eq!(
            dialled.unwrap(),
            found,
            "who joins learns whom it has found"
        );
        assert!(matches!(heard, Heard::Accepted(Guest::Joining)));
    }

    #[tokio::test]
    async fn who_holds_the_place_is_told() {
        let own = introduction(OWN);
        let rejection = Rejection {
            refusal: Refusal::PlaceTaken,
            text: "b:1 (from c:2)".into(),
        };
        let (dialled, heard) = meet(reach(&own), Some(rejection)).await;
        let error = dialled.unwrap_err();
        assert!(error.to_string().contains("b:1 (from c:2)"), "{error}");
        assert!(matches!(heard, Heard::Refused(Refusal::PlaceTaken)));
    }

    #[tokio::test]
    async fn another_incarnation_than_the_one_meant_is_noticed() {
        let own = introduction(OWN);
        let purpose = Purpose::Reach {
            own: &own,
            node: OWN.node,
            incarnation: [0; 16],
        };
        let (dialled, _) = meet(purpose, None).await;
        assert!(matches!(dialled, Err(DialError::AnotherNode(2))));
    }

    async fn proved(mut bytes: &[u8]) -> Option<Result<Guest, Refusal>> {
        let hello = Hello::read(&mut bytes).await.ok()?;
        Some(hello.prove(&OWN, &secret(7), &[0; 32]))
    }

    #[tokio::test]
    async fn the_cheap_questions_come_before_the_proof() {
        type Change = fn(&mut [u8]);
        let own = introduction(OWN);
        let changes: [(Change, Refusal); 4] = [
            (|bytes| bytes[4] = 3, Refusal::WrongVersion),
            (|bytes| bytes[8] = 2, Refusal::ForeignCluster),
            (|bytes| bytes[48] = 9, Refusal::AnotherNode),
            (|_| (), Refusal::WrongSecret),
        ];
        for (change, refusal) in changes {
            let mut bytes = hello::write(reach(&own), &secret(9), &[0; 32]);
            change(&mut bytes);
            assert_eq!(proved(&bytes).await, Some(Err(refusal)));
        }
    }

    #[tokio::test]
    async fn every_byte_of_a_hello_is_proved() {
        let own = introduction(OWN);
        let good = hello::write(reach(&own), &secret(7), &[0; 32]);
        assert!(matches!(proved(&good).await, Some(Ok(Guest::Node(_)))));
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(!matches!(proved(&bytes).await, Some(Ok(_))), "byte {at}");
        }
    }

    #[test]
    fn every_byte_of_a_welcome_is_proved() {
        let (secret, own) = (secret(7), introduction(OWN));
        let hello = hello::write(reach(&own), &secret, &[0; 32]);
        let good = welcome::write(&OWN, &secret, &[0; 32], &hello, None);
        welcome::judge(&good, &hello, &secret, &[0; 32]).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            let read = welcome::judge(&bytes, &hello, &secret, &[0; 32]);
            assert!(read.is_err(), "byte {at}");
        }
    }
}
