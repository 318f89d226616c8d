//! One node's shards without threads: everything that a node does between its replicas and its disk.
//!
//! The node gives this code threads, files and sockets, the simulator gives it events of a seed; both run
//! the same. Read [`Runner`] first. Pure: clocks are read outside and come in as [`Now`], disks are the log's
//! [`Disk`](anser_log::Disk), and what cannot be done here goes out as data.

mod belongs;
mod bodies;
mod cache;
mod clock;
mod comparing;
mod controller;
mod errands;
mod event;
mod fitness;
mod incoming;
mod job;
mod joining;
mod maintenance;
mod members;
mod mending;
mod opening;
mod order;
mod outgoing;
mod placement;
mod port;
mod repair;
mod report;
mod reports;
mod routing;
mod runner;
mod signal;
mod snapshots;
mod upgrade;
mod versions;
mod writer;

pub use belongs::nodes_of;
pub use bodies::{BodyReader, Unreadable, messages};
pub use cache::EntryCache;
pub use clock::{Now, ShardTime, time_off};
pub use comparing::{Difference, differences};
pub use controller::{Controller, Decided, Knowledge, Policy};
pub use errands::{Reconciler, Transfers};
pub use event::{Event, Request, Response};
pub use fitness::{Fitness, Unfit};
pub use incoming::{
    Attempt, CopyError, Incoming, InstallError, Missing, Offer, RETRY_INTERVAL, Taken,
};
pub use job::{CatalogNodes, Job, Leases};
pub use joining::{Admission, Denied, take_in};
pub use maintenance::{Damage, Done, Images, Maintenance, Round, followers, is_passing};
pub use members::{Members, Peer, Stranger, Visitor};
pub use mending::{Attempted, Given, Wound};
pub use opening::{GivenUp, OpenError, Opener, Restored, begin, is_untouched, stored};
pub use order::{Order, Step};
pub use outgoing::{
    COPY_INTERVAL, COPY_PATIENCE, CopyAnswer, Next, Offers, Sending, Sendings, offer_of,
};
pub use placement::{Action, ActionKind, PeerView, ShardView};
pub use port::{Answered, Known, PeerError, PeerRequest, PeerResponse, Port, Retry};
pub use repair::{LeftOut, RepairError, Repaired, RepairedShard, repair};
pub use report::{Led, Mark, NodeReport, PeerReport, ReplicaReport, SyncTimes};
pub use reports::{Heard, REPORT_GATHERING, REPORT_INTERVAL, Reports, SILENCE};
pub use routing::{
    Leaders, Route, Routes, SubscriberRoute, TopicRoute,
    answering::answer,
    freshness::catch_up,
    router::{ask, ask_here, ask_now, change, propose, propose_now},
};
pub use runner::{Beginning, Closed, Runner};
pub use signal::Signal;
pub use snapshots::{ReadError, read, save};
pub use upgrade::Agreement;
pub use versions::{TooOld, Versions, check_version};
pub use writer::{Batch, Deferred, Job as WriterJob};
