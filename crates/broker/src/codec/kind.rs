//! The numbers of the kinds of commands, frozen, and the version of the cluster from which each may be
//! proposed: that at which every program can read it.

use crate::version::ClusterVersion;

macro_rules! kinds {
    ($($name:ident = $number:literal since $since:literal,)*) => {
        $(pub(crate) const $name: u8 = $number;)*

        /// Since when a kind may be proposed; for one that is not known here, a version that no cluster has.
        pub(crate) fn since(kind: u8) -> ClusterVersion {
            match kind {
                $($name => ClusterVersion($since),)*
                _ => ClusterVersion::UNREADABLE,
            }
        }
    };
}

kinds! {
    CREATE_QUEUE = 1 since 1,
    DELETE_QUEUE = 2 since 1,
    SET_QUEUE_ATTRIBUTES = 3 since 1,
    SETTLED = 4 since 1,
    CREATE_TOPIC = 5 since 1,
    DELETE_TOPIC = 6 since 1,
    SET_TOPIC_ATTRIBUTES = 7 since 1,
    SUBSCRIBE = 8 since 1,
    SET_SUBSCRIPTION_ATTRIBUTES = 9 since 1,
    UNSUBSCRIBE = 10 since 1,
    ADD_NODE = 11 since 1,
    SET_NODE_STATE = 12 since 1,
    CLUSTER_FORMED = 13 since 1,
    CREATE_QUEUE_ACKNOWLEDGED = 14 since 1,
    SET_QUEUE_ACKNOWLEDGED = 15 since 1,
    PUT_QUEUE = 16 since 1,
    DROP_QUEUE = 17 since 1,
    CLEAR_QUEUE = 18 since 1,
    REWIND_QUEUE = 19 since 1,
    PUT_TOPIC = 20 since 1,
    DROP_TOPIC = 21 since 1,
    PUT_SUBSCRIPTION = 22 since 1,
    DROP_SUBSCRIPTION = 23 since 1,
    PUT_QUEUE_ACKNOWLEDGED = 24 since 1,
    CREATE_TOPIC_ACKNOWLEDGED = 25 since 2,
    SET_TOPIC_ACKNOWLEDGED = 26 since 2,
    PUT_TOPIC_ACKNOWLEDGED = 27 since 2,
    SET_CLUSTER_VERSION = 28 since 2,
    SEND_MESSAGES = 32 since 1,
    RECEIVE_MESSAGES = 33 since 1,
    DELETE_MESSAGES = 34 since 1,
    CHANGE_VISIBILITY = 35 since 1,
    ACCEPT_MOVED = 36 since 1,
    MOVES_SETTLED = 37 since 1,
    RETURN_LEASES = 38 since 1,
    RETURN_MOVES = 39 since 1,
    PUBLISH = 40 since 1,
    ACCEPT_PUBLISHED = 41 since 1,
    MOVE_FAILED = 42 since 1,
    GIVE_UP = 43 since 1,
    SEND_MESSAGES_ONCE = 44 since 1,
    FORGET_SOURCE = 45 since 1,
    LANE_ENDED = 46 since 1,
    SETTLE = 48 since 1,
}
