//! What may become of a damaged node, and which of it is accepted of which file.

use super::cell::Target;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It said so, serves, has all its copies again, and the damage is gone.
    Healed,
    /// Nobody had to read it: the file was written anew, or fetched from another node, or is needed no more.
    Overwritten,
    /// It serves, and says nothing of bytes that are still as they were damaged.
    Unnoticed,
    /// It says so and serves, and does nothing about it.
    Told,
    /// It does not start, and names the file.
    Refused,
    /// It does not start, and does not say which file is the reason.
    Mute,
    /// It neither serves nor ends, or does not come to have all its copies.
    Stuck,
    /// It serves as another node than it was.
    Stranger,
}

use Outcome::{Healed, Overwritten, Refused, Unnoticed};

/// What is accepted. `Stuck` and `Stranger` never are, nor is a loss.
///
/// A segment, a snapshot and a log file heal. `Unnoticed` stays where bytes may mean nothing: garbage behind the end, what was written
/// before and is used again, one mark of two.
pub(super) const ACCEPTED: [(Target, &[Outcome]); 7] = [
    (Target::Wal, &[Healed, Overwritten, Unnoticed]),
    (Target::Marks, &[Healed, Overwritten, Unnoticed, Refused]),
    (Target::Segment, &[Healed, Overwritten, Unnoticed]),
    (Target::Snapshot, &[Healed, Overwritten, Unnoticed]),
    (Target::Manifest, &[Healed, Overwritten, Unnoticed, Refused]),
    (Target::Identity, &[Healed, Overwritten, Unnoticed, Refused]),
    (Target::Keys, &[Healed, Overwritten, Unnoticed, Refused]),
];

impl Outcome {
    pub(super) fn is_accepted_of(self, target: Target) -> bool {
        let row = ACCEPTED.iter().find(|(of, _)| *of == target);
        row.expect("every file has a row").1.contains(&self)
    }

    /// Whether the damage may still be there, so that the next one, on another node, would be one too many.
    pub(super) fn leaves_damage(self) -> bool {
        !matches!(self, Healed | Overwritten)
    }
}
