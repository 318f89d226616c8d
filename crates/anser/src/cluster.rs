//! What a node needs of its cluster beside the node itself: the token, and the cluster as it is told
//! to people.
//!
//! Nodes speak to each other in `anser-node`; here are the files and the words around that.

pub mod ask;
pub mod table;
pub mod token;
pub mod view;
