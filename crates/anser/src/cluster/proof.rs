//! How an operator proves to the admin port that they have the cluster's token, without sending it.
//!
//! The server gives a challenge. The answer is an HMAC over method, path and body under a key that is
//! made of the challenge and of a key that is made of the token. Who listens on the port in the
//! server's place learns neither, whatever it gives as challenge: what it gets is good for this one
//! change and this one challenge. `docs/cluster.md` says how to do the same with `curl`.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};

use super::token::Token;

/// Separates this key from what else is made of the token.
const PURPOSE: &str = "anser admin v1";
/// Stands before the proof in the `Authorization` header.
pub(crate) const SCHEME: &str = "Anser";

/// A change as it is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
}

/// Makes proofs and checks them.
pub(crate) struct Prover(hmac::Key);

impl std::fmt::Debug for Prover {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Prover(..)")
    }
}

impl Prover {
    pub(crate) fn new(token: &Token) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &token.key(PURPOSE)))
    }

    /// What stands in the `Authorization` header of a change.
    pub(crate) fn authorization(&self, challenge: &str, change: Change<'_>) -> String {
        let proof = self.tag(challenge, change);
        format!("{SCHEME} {}", hex(proof.as_ref()))
    }

    /// Whether this header proves the token, without telling by the time it takes how much was right.
    pub(crate) fn accepts(&self, header: &[u8], challenge: &str, change: Change<'_>) -> bool {
        let expected = self.authorization(challenge, change);
        verify_slices_are_equal(expected.as_bytes(), header).is_ok()
    }

    fn tag(&self, challenge: &str, change: Change<'_>) -> hmac::Tag {
        let once = hmac::sign(&self.0, challenge.as_bytes());
        let once = hmac::Key::new(hmac::HMAC_SHA256, once.as_ref());
        let mut text = hmac::Context::with_key(&once);
        // Neither a method nor a path holds a blank or a line end.
        for part in [change.method, " ", change.path, "\n"] {
            text.update(part.as_bytes());
        }
        text.update(change.body);
        text.sign()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::token::token_of;

    const CHANGE: Change<'_> = Change {
        method: "POST",
        path: "/cluster/nodes/2",
        body: br#"{"state": "draining"}"#,
    };

    fn prover() -> Prover {
        Prover::new(&token_of("0123456789abcdef"))
    }

    #[test]
    fn a_proof_is_good_for_its_challenge_and_its_change_only() {
        let prover = prover();
        let header = prover.authorization("c1", CHANGE);
        let accepts = |challenge, change| prover.accepts(header.as_bytes(), challenge, change);
        assert!(accepts("c1", CHANGE));
        assert!(!accepts("c2", CHANGE));
        for other in [
            Change {
                method: "PUT",
                ..CHANGE
            },
            Change {
                path: "/cluster/nodes/3",
                ..CHANGE
            },
            Change {
                body: br#"{"state": "removed"}"#,
                ..CHANGE
            },
            Change {
                body: b"",
                ..CHANGE
            },
        ] {
            assert!(!accepts("c1", other), "{other:?}");
        }
        // A challenge cannot be made to hold the change, nor the change a part of the challenge.
        let swollen = "c1POST /cluster/nodes/2\n";
        assert!(!accepts(
            swollen,
            Change {
                method: "",
                path: "",
                ..CHANGE
            }
        ));
    }

    #[test]
    fn only_the_whole_header_of_who_has_the_token_is_a_proof() {
        let prover = prover();
        let header = prover.authorization("c", CHANGE);
        let stranger = Prover::new(&token_of("0123456789abcdeF"));
        let other = stranger.authorization("c", CHANGE);
        let bearer = header.replacen(SCHEME, "Bearer", 1);
        for wrong in [
            "",
            "Anser",
            "Anser ",
            &header[..header.len() - 1],
            &other,
            &bearer,
        ] {
            assert!(!prover.accepts(wrong.as_bytes(), "c", CHANGE), "{wrong}");
        }
        assert_eq!(format!("{prover:?}"), "Prover(..)");
    }

    /// The same with the tools of a shell, as `docs/cluster.md` has it.
    #[test]
    fn a_proof_has_known_bytes() {
        assert_eq!(
            prover().authorization("00ff", CHANGE),
            "Anser b506ac2de668d98287f86370646cb8a95097e7f49e4fa33d59da90142ed479a2"
        );
    }
}
