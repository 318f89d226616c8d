//! How a story words replies and times.

use anser_broker::{command::Reply, error::Error, time::Timestamp};

use super::START;

pub(super) fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Done => "ok".into(),
        Reply::Received { .. } => "none".into(),
        Reply::Refused(error) => error.to_string(),
        Reply::Accepted { through, .. } => format!("accepted through {through}"),
        Reply::Rewound { messages } => format!("{messages} rewound"),
        Reply::Each(each) => {
            let shown = |one: &Result<(), Error>| {
                one.map_or_else(|error| error.to_string(), |()| "ok".into())
            };
            each.iter().map(shown).collect::<Vec<_>>().join("\n")
        }
        other => format!("{other:?}"),
    }
}

pub(super) fn length(millis: u64) -> String {
    match (millis / 1000, millis % 1000) {
        (seconds, 0) if seconds > 0 && seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{millis}ms"),
    }
}

pub(super) fn since_start(time: Timestamp) -> String {
    match time.0.checked_sub(START) {
        Some(later) => length(later),
        None => format!("-{}", length(START - time.0)),
    }
}
