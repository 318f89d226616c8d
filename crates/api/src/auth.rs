//! Who asks: signatures, the host that they cover, and stricter rules for some accounts.

pub(crate) mod host;
pub(crate) mod signature;
pub(crate) mod strict;
