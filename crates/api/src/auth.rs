//! Who asks: signatures.

pub(crate) mod signature;
