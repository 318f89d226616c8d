//! What of a queue goes into its shard's fingerprint: how many messages are in each state, and the ends of what is
//! ready. It takes as long for a queue of a million messages as for an empty one.

use super::Queue;
use crate::fingerprint::Fingerprint;

impl Queue {
    pub(crate) fn add_to(&self, fingerprint: &mut Fingerprint) {
        fingerprint.add(self.id.0);
        fingerprint.add(self.revision);
        for count in [
            self.ready.len(),
            self.late.len(),
            self.delayed.len(),
            self.leases.len(),
            self.retired.len(),
            self.lanes.len(),
        ] {
            fingerprint.add(count);
        }
        let ends = [
            self.ready.first(),
            self.ready.last(),
            self.retired.first(),
            self.retired.last(),
        ];
        for message in ends.into_iter().flatten() {
            fingerprint.add(message.sequence.number());
            fingerprint.add(message.sent.0);
        }
        let next = self.next_deadline();
        fingerprint.add(next.map_or(0, |next| next.0));
        fingerprint.add_totals(&self.totals);
    }

    /// What seldom differs, if what is added of each entry does not.
    pub(crate) fn add_rest_to(&self, fingerprint: &mut Fingerprint) {
        fingerprint.add(self.attributes_checksum.into());
        fingerprint.add_length(self.histories.len());
        fingerprint.add_length(self.tokens.len());
        fingerprint.add(self.lanes.ended);
        fingerprint.add_length(self.accepted.len());
        fingerprint.add(self.accepted.sum());
        if let Some((message, since)) = self.late.first() {
            fingerprint.add(message.sequence.number());
            fingerprint.add(since.0);
        }
        let first_since = self.late.first_since();
        fingerprint.add(first_since.map_or(0, |since| since.0));
    }
}
