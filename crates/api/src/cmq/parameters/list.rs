//! Lists: `name.0`, `name.1` and on, or from 1 on, without a gap and in numeric order.

use super::is_named;
use crate::{
    cmq::errors::{Fault, Refusal},
    codec::form::Form,
};

/// Digits of an index that is looked at; a longer one means a gap in any case.
const INDEX_DIGITS: usize = 6;
const FAR: u32 = 1_000_000;

#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    index: u32,
    place: usize,
}

/// The members of a list as they came in.
pub(super) fn members(form: &Form, name: &str) -> Result<Vec<Member>, Refusal> {
    let mut members = Vec::new();
    for (place, (given, _)) in form.pairs().enumerate() {
        let Some(index) = member_index(given, name) else {
            continue;
        };
        if !is_index(index) {
            return Err(Refusal::about(Fault::KeyFormat, given));
        }
        let index = std::str::from_utf8(index)
            .ok()
            .filter(|digits| digits.len() <= INDEX_DIGITS)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(FAR);
        members.push(Member { index, place });
    }
    Ok(members)
}

/// The places of the members in the order of their indices; more than `most` are refused.
pub(super) fn ordered(
    name: &str,
    (most, beyond): (usize, Fault),
    mut members: Vec<Member>,
) -> Result<Vec<usize>, Refusal> {
    if members.len() > most {
        return Err(Refusal::about(beyond, name.as_bytes()));
    }
    members.sort_unstable_by_key(|member| member.index);
    if members
        .windows(2)
        .any(|pair| pair[0].index == pair[1].index && pair[0].index != FAR)
    {
        return Err(Refusal::about(Fault::NotRepeatable, name.as_bytes()));
    }
    let first = members.first().map_or(0, |member| member.index);
    let consecutive = members
        .iter()
        .zip(first..)
        .all(|(member, index)| member.index == index);
    if first > 1 || !consecutive {
        return Err(Refusal::about(Fault::NotConsecutive, name.as_bytes()));
    }
    Ok(members.into_iter().map(|member| member.place).collect())
}

/// The first parameter that is a member of a list of this name.
pub(super) fn indexed<'a>(form: &'a Form, name: &str) -> Option<&'a [u8]> {
    form.pairs()
        .map(|(given, _)| given)
        .find(|given| member_index(given, name).is_some())
}

/// What follows `name` and a dot.
pub(crate) fn member_index<'a>(given: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let given = given.trim_ascii();
    let (head, rest) = given.split_at_checked(name.len())?;
    let (mark, index) = rest.split_first()?;
    (matches!(mark, b'.' | b'_') && is_named(head, name.as_bytes())).then_some(index)
}

/// Digits without a leading zero: `01` would be a second way to write `1`.
fn is_index(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit) && (text[0] != b'0' || text.len() == 1)
}
