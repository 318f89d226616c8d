//! A time in six bytes, for what is kept by the million.

use crate::time::Timestamp;

/// The last moment of a shard's own time, in the year 6429. Its time stops there, so that deadlines
/// beyond it, which are at most 400 days away, still fit a [`Moment`].
pub(crate) const LAST: Timestamp = Timestamp(1 << 47);

/// A timestamp below 2^48; a later one is cut to the last that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment([u16; 3]);

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        let [b0, b1, b2, b3, b4, b5, _, _] = time.0.min((1 << 48) - 1).to_le_bytes();
        // The highest first, so that the order of moments is that of the times.
        Self([
            u16::from_le_bytes([b4, b5]),
            u16::from_le_bytes([b2, b3]),
            u16::from_le_bytes([b0, b1]),
        ])
    }
}

impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Self {
        let [high, middle, low] = moment.0.map(u64::from);
        Timestamp(low | middle << 16 | high << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_time_it_was_made_of() {
        for time in [0, 1, 0xffff, 0x1_0000, 0x1234_5678_9abc, (1 << 48) - 1] {
            assert_eq!(
                Timestamp::from(Moment::from(Timestamp(time))),
                Timestamp(time)
            );
        }
        assert!(Moment::from(Timestamp(0x1_0000)) > Moment::from(Timestamp(0xffff)));
        assert_eq!(
            Timestamp::from(Moment::from(Timestamp(u64::MAX))),
            Timestamp((1 << 48) - 1)
        );
    }
}
