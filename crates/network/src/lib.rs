//! What the edges share of the network: TLS of ports and of those who connect to them, and networks of addresses.
//!
//! An [`Acceptor`] shows the [`Identity`] that is in force, which can be replaced while connections go on; a
//! [`Connector`] believes certificates of chosen roots. Either gives a [`Stream`], which may as well be plain. Nothing
//! here listens, dials, waits with a deadline or watches a file: whoever uses it does.

mod acceptor;
mod connector;
mod identity;
mod network;
mod pem;
mod stream;

pub use acceptor::{Acceptor, NotAccepted};
pub use connector::{Connector, roots_of_file, roots_of_system};
pub use identity::{Identity, IdentityError, InForce};
pub use network::{Network, NotANetwork};
pub use pem::{FileError, read_certificates};
pub use stream::Stream;
