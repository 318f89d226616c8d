//! Who asks: signatures, and the host that they cover.

pub(crate) mod host;
pub(crate) mod signature;
