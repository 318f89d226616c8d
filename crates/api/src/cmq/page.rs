//! One page of a list: what is searched for, where it begins and how much it holds.

use super::{
    limits,
    parameters::{Arguments, Field, Kind},
};

pub(crate) const SEARCH: Field = Field::optional("searchWord", Kind::Text(limits::TEXT_BYTES));
pub(crate) const OFFSET: Field = Field::optional("offset", Kind::integer(0, u64::MAX));
pub(crate) const LIMIT: Field = Field::optional("limit", Kind::integer(1, u64::MAX));

pub(crate) struct Page {
    pub(crate) search: String,
    pub(crate) offset: u64,
    pub(crate) limit: u64,
}

impl Page {
    /// A page that asks for more than `most` is cut to it.
    pub(crate) fn read(arguments: &Arguments<'_>, most: u64) -> Self {
        Self {
            search: arguments.text(SEARCH.name).unwrap_or_default().to_owned(),
            offset: arguments.integer(OFFSET.name).unwrap_or(0),
            limit: arguments
                .integer(LIMIT.name)
                .map_or(limits::PAGE, |limit| limit.min(most)),
        }
    }
}
