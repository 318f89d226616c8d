//! What to do about a refusal: the server's words are those of the vendor, these are ours.

use anyhow::Error;

use crate::{client, exit::Exit};

/// Adds the exit code and advice to an error of a client command.
pub(super) fn explain(error: Error, endpoint: &str) -> Error {
    let Some(cause) = error.downcast_ref::<client::Error>() else {
        return error;
    };
    match cause {
        client::Error::Unreachable { .. } => {
            let advice = format!(
                "is the server running at {endpoint}? start one with anser dev, \
                 or name another with --endpoint"
            );
            error.context(Exit::Unreachable.reason(advice))
        }
        client::Error::Unknown(_) => error.context(
            Exit::Unreachable.reason("the server gave no clear answer; look before you repeat"),
        ),
        client::Error::Refused { code, .. } => match advice(*code) {
            Some(advice) => error.context(Exit::Failed.reason(advice)),
            None => error,
        },
        client::Error::Endpoint(_) => error,
    }
}

fn advice(code: i64) -> Option<&'static str> {
    Some(match code {
        4100 => {
            "the access key was not accepted: check --key or ANSER_KEY, that the key is enabled \
             (anser key list), and this machine's clock"
        }
        4410 => "the queue is full: receive and delete messages, or raise it with anser queue set",
        4440 => "there is no such queue: see anser queue list, or make it with anser queue create",
        4450 => "the account has as many queues as it may have: delete one",
        4460 => {
            "there is such a queue already: see anser queue show, change it with anser queue set"
        }
        6000 => "the server's disk is nearly full: receive and delete messages, or enlarge it",
        6040 => {
            "a queue of this name was deleted a moment ago: try again when api.name_reuse_seconds are over"
        }
        6050 => {
            "the queue keeps no deleted messages: turn it on with anser queue set --rewind SECONDS"
        }
        _ => return None,
    })
}
