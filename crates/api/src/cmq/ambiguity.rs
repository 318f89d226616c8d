//! Refuses parameters that somebody could have re-cut from another request under its signature.
//!
//! The signed text joins `name=value` with `&` and escapes nothing, so a value `x&y=1` signs like a
//! value `x` and a parameter `y`. A value `R&D` can only be one, since every parameter is signed with an
//! `=`. Message bodies and URLs must be free to hold `&` and `=`. The rules here make sure that of all the
//! parameter sets with one signed text at most one is accepted; the reasoning, and the numbers of the
//! rules, are in `docs/dialects/cmq.md`.

use super::{
    errors::{Fault, Refusal, Rule},
    parameters::{Field, is_named, member_index},
};
use crate::codec::form::Form;

/// Checks the parameters of an action that reads these fields and has read them.
pub(crate) fn check(form: &Form, fields: &[Field]) -> Result<(), Refusal> {
    check_names(form)?;
    match Cut::of(fields) {
        Some(cut) => cut.check(form),
        None => form
            .pairs()
            .try_for_each(|(name, value)| check_bound(name, value)),
    }
}

fn check_names(form: &Form) -> Result<(), Refusal> {
    let mut previous: Option<&[u8]> = None;
    for (name, _) in form.pairs() {
        if previous == Some(name) {
            return Err(Refusal::about(Fault::NotRepeatable, name));
        }
        previous = Some(name);
        if name.iter().any(|byte| matches!(byte, b'&' | b'=')) {
            return Err(Refusal::by_rule(Rule::Name, name));
        }
    }
    Ok(())
}

/// A value that is not free holds nothing that another parameter could begin with.
fn check_bound(name: &[u8], value: &[u8]) -> Result<(), Refusal> {
    match last_beginning(value) {
        Some(_) => Err(Refusal::by_rule(Rule::Bound, name)),
        None => Ok(()),
    }
}

/// How the signed text of an action with a free field is cut: up to the first free value at every
/// `&` before a beginning, and from the end at every such `&` before what can be a field that follows
/// the free one. A piece without `=` is no beginning, and belongs to the value before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut<'a> {
    fields: &'a [Field],
    free: &'a Field,
}

impl<'a> Cut<'a> {
    pub(crate) fn of(fields: &'a [Field]) -> Option<Self> {
        let free = fields.iter().find(|field| field.kind.is_free())?;
        Some(Self { fields, free })
    }

    fn check(self, form: &Form) -> Result<(), Refusal> {
        let mut last_free: Option<(&[u8], &[u8])> = None;
        let mut follower: Option<&Field> = None;
        for (name, value) in form.pairs() {
            if names(self.free, name) {
                self.check_free(name, value, follower)?;
                last_free = Some((name, value));
                continue;
            }
            self.check_index(name)?;
            check_bound(name, value)?;
            if let Some(last) = last_free {
                let next = self.next(name, follower)?;
                if follower.is_none() {
                    self.check_end(last, Some(next))?;
                }
                follower = Some(next);
            }
        }
        match last_free {
            Some(last) if follower.is_none() => self.check_end(last, None),
            _ => Ok(()),
        }
    }

    /// Free values stand together, and none holds the beginning of another.
    fn check_free(
        self,
        name: &[u8],
        value: &[u8],
        follower: Option<&Field>,
    ) -> Result<(), Refusal> {
        if follower.is_some() {
            return Err(Refusal::by_rule(Rule::Follower, name));
        }
        if self.free.kind.is_list() && pieces_within(value).any(|piece| self.begins_free(piece)) {
            return Err(Refusal::by_rule(Rule::Member, name));
        }
        Ok(())
    }

    /// A single body beside those of a batch would be lost unseen.
    fn check_index(self, name: &[u8]) -> Result<(), Refusal> {
        if self.free.kind.is_list() && is_named(name, self.free.name.as_bytes()) {
            return Err(Refusal::by_rule(Rule::Follower, name));
        }
        Ok(())
    }

    /// The field of a parameter that stands after the free ones.
    fn next(self, name: &[u8], before: Option<&Field>) -> Result<&'a Field, Refusal> {
        self.follower(name)
            .filter(|field| before.is_none_or(|before| may_precede(before, Some(field))))
            .ok_or_else(|| Refusal::by_rule(Rule::Follower, name))
    }

    /// The end of the last free value must not read like a parameter that could stand there.
    fn check_end(self, (name, value): (&[u8], &[u8]), next: Option<&Field>) -> Result<(), Refusal> {
        match last_beginning(value).and_then(|end| self.begun_follower(end)) {
            Some(field) if may_precede(field, next) => Err(Refusal::by_rule(Rule::End, name)),
            _ => Ok(()),
        }
    }

    /// The field of this name, if it is one that follows the free one in the signed order.
    fn follower(self, name: &[u8]) -> Option<&'a Field> {
        self.fields
            .iter()
            .find(|field| field.name > self.free.name && names(field, name))
    }

    /// Whether a piece of signed text reads like the beginning of a free parameter.
    pub(crate) fn begins_free(self, piece: &[u8]) -> bool {
        name_of(piece).is_some_and(|name| names(self.free, name))
    }

    /// The following field like which a piece of signed text reads.
    pub(crate) fn begun_follower(self, piece: &[u8]) -> Option<&'a Field> {
        self.follower(name_of(piece)?)
    }

    pub(crate) fn has_list(self) -> bool {
        self.free.kind.is_list()
    }
}

/// Whether a field may stand before the next one among those that follow the free one.
pub(crate) fn may_precede(field: &Field, next: Option<&Field>) -> bool {
    next.is_none_or(|next| {
        field.name < next.name || (field.name == next.name && field.kind.is_list())
    })
}

/// Whether a parameter of this name is the field, or a member of it if it is a list.
fn names(field: &Field, name: &[u8]) -> bool {
    if !field.kind.is_list() {
        return is_named(name, field.name.as_bytes());
    }
    member_index(name, field.name)
        .is_some_and(|index| !index.is_empty() && index.iter().all(u8::is_ascii_digit))
}

/// The name, if a piece of signed text is read as a parameter.
fn name_of(piece: &[u8]) -> Option<&[u8]> {
    Some(&piece[..memchr::memchr(b'=', piece)?])
}

/// The last piece of a value with which another parameter could begin, as it is signed: what stands
/// behind an `&`, and has an `=` before the next.
fn last_beginning(value: &[u8]) -> Option<&[u8]> {
    let mut end = value.len();
    loop {
        let place = memchr::memrchr(b'&', &value[..end])?;
        let piece = &value[place + 1..end];
        if name_of(piece).is_some() {
            return Some(piece);
        }
        end = place;
    }
}

/// What stands after each `&` of a value, to the next.
fn pieces_within(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = memchr::memchr_iter(b'&', value).map(|place| place + 1);
    let ends = memchr::memchr_iter(b'&', value)
        .skip(1)
        .chain([value.len()]);
    starts.zip(ends).map(|(start, end)| &value[start..end])
}

#[cfg(test)]
mod tests;
