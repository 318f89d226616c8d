//! The conformance list of CMQ API 2.0, number by number, against a real server on a real socket.
//!
//! A test is named after its number: `c093_…` shows C93. What cannot be shown yet stands in the section
//! "Conformance" of `docs/dialects/cmq.md`; `coverage` holds the two against the list. Time is moved by
//! hand, so that waiting for a visibility timeout takes no time. Read `world` and `caller` first, and for
//! pushes `receiver` and `stage`.

mod answer;
mod caller;
mod connection;
mod receiver;
mod servers;
mod stage;
mod topic_calls;
mod world;

mod coverage;
mod dead_letters;
mod deleting;
mod envelope;
mod failures;
mod filters;
mod forwarding;
mod limits;
mod processes;
mod publishing;
mod pushing;
mod queue_changes;
mod queues;
mod receiving;
mod retrying;
mod rewinding;
mod routes;
mod sending;
mod shapes;
mod signatures;
mod spellings;
mod subscriptions;
mod topic_limits;
mod topics;
mod transport;
mod vectors;
mod waiting;
