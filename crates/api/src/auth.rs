//! Who asks: signatures, and a brake for those who guess them.

pub(crate) mod guard;
pub(crate) mod signature;
