//! Wire forms: bytes to named values and back.

pub(crate) mod form;
