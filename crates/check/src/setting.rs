//! One attribute of a queue over time: which values may have been in force, and when.
//!
//! A change that was acknowledged is in force when its answer is there, and ends every value whose own change
//! was acknowledged before it began. One without an answer may come into force at any later time. What a reader is
//! told ends the values from before its read too, for it shows which of several changes was the last.

use crate::{event::Nanos, leaps::Leaps};

#[derive(Debug, Clone)]
pub(crate) struct Setting<T> {
    values: Vec<Value<T>>,
}

#[derive(Debug, Clone, Copy)]
struct Value<T> {
    of: T,
    /// When its change began.
    from: Nanos,
    /// When it was in force at the latest; `None` if no answer came.
    sure: Option<Nanos>,
    /// From here on another one is in force.
    until: Nanos,
}

impl<T: Copy + Ord> Setting<T> {
    pub(crate) fn new(first: T) -> Self {
        Self {
            values: vec![Value {
                of: first,
                from: 0,
                sure: Some(0),
                until: Nanos::MAX,
            }],
        }
    }

    /// It was changed, or may have been if no answer came.
    pub(crate) fn change(&mut self, value: T, from: Nanos, sure: Option<Nanos>) {
        let mut until = Nanos::MAX;
        for other in &mut self.values {
            if let (Some(sure), Some(earlier)) = (sure, other.sure)
                && earlier <= from
            {
                other.until = other.until.min(sure);
            }
            if let (Some(sure), Some(later)) = (sure, other.sure)
                && sure <= other.from
            {
                until = until.min(later);
            }
        }
        self.values.push(Value {
            of: value,
            from,
            sure,
            until,
        });
    }

    /// A reader was told this value: what had been in force for sure before it asked, and is another one, is so
    /// no more when the changes to this value are done.
    pub(crate) fn read(&mut self, value: T, from: Nanos, to: Nanos) {
        // What cannot have been so proves nothing more than that.
        if !self.may_be(value, from, to) {
            return;
        }
        let told = self.values.iter();
        let told = told.filter(|other| other.of == value && other.from <= to);
        let Some(done) = told
            .map(|other| other.sure)
            .max_by_key(|sure| sure.unwrap_or(Nanos::MAX))
        else {
            return;
        };
        let Some(done) = done else { return };
        for other in &mut self.values {
            if other.of != value && other.sure.is_some_and(|sure| sure < from) {
                other.until = other.until.min(done.max(to));
            }
        }
    }

    /// The values that may have been in force at some time of the span.
    pub(crate) fn between(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = T> {
        let values = self.values.iter();
        let possible = values.filter(move |value| value.from <= to && value.until >= from);
        possible.map(|value| value.of)
    }

    pub(crate) fn least(&self, from: Nanos, to: Nanos) -> T {
        self.between(from, to)
            .min()
            .expect("some value is in force")
    }

    pub(crate) fn most(&self, from: Nanos, to: Nanos) -> T {
        self.between(from, to)
            .max()
            .expect("some value is in force")
    }

    pub(crate) fn may_be(&self, wanted: T, from: Nanos, to: Nanos) -> bool {
        self.between(from, to).any(|value| value == wanted)
    }
}

impl Setting<Nanos> {
    /// When a length that counts from `base` may be over for the first time, whatever was in force then.
    pub(crate) fn may_end(&self, base: Nanos, leaps: &Leaps) -> Nanos {
        let ends = self.values.iter().filter_map(|value| {
            let end = leaps.earliest(base, value.of).max(value.from);
            (end <= value.until).then_some(end)
        });
        ends.min().unwrap_or(Nanos::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_ends_what_was_before_it() {
        let mut setting = Setting::new(5);
        setting.change(7, 100, Some(110));
        assert_eq!((setting.least(0, 99), setting.most(0, 99)), (5, 5));
        assert_eq!((setting.least(105, 105), setting.most(105, 105)), (5, 7));
        assert_eq!((setting.least(111, 200), setting.most(111, 200)), (7, 7));
    }

    #[test]
    fn changes_at_the_same_time_leave_both_values_until_somebody_reads() {
        let mut setting = Setting::new(5);
        setting.change(7, 100, Some(110));
        setting.change(9, 105, Some(120));
        assert!(setting.may_be(7, 500, 500) && setting.may_be(9, 500, 500));
        setting.read(7, 600, 610);
        assert!(setting.may_be(7, 700, 700) && !setting.may_be(9, 700, 700));
    }

    #[test]
    fn a_change_without_answer_may_come_at_any_time() {
        let mut setting = Setting::new(5);
        setting.change(7, 100, None);
        setting.change(9, 200, Some(210));
        assert!(setting.may_be(7, 900, 900) && !setting.may_be(5, 900, 900));
    }

    #[test]
    fn changes_may_be_told_in_any_order() {
        let mut setting = Setting::new(5);
        setting.change(9, 200, Some(210));
        setting.change(7, 100, Some(110));
        assert!(!setting.may_be(7, 300, 300) && setting.may_be(9, 300, 300));
    }

    #[test]
    fn a_length_may_end_when_a_shorter_one_comes_into_force() {
        let none = Leaps::default();
        let mut setting = Setting::new(1_000);
        assert_eq!(setting.may_end(50, &none), 1_050);
        setting.change(100, 400, Some(410));
        assert_eq!(setting.may_end(50, &none), 400);
        assert_eq!(setting.may_end(390, &none), 490);
        setting.change(5_000, 600, Some(610));
        assert_eq!(setting.may_end(500, &none), 600);
        assert_eq!(setting.may_end(590, &none), 5_590);
    }
}
