//! What to do about a refusal: the server's words are those of the vendor, these are ours.

use anyhow::Error;

use super::queue::target::Access;
use crate::{client, exit::Exit};

/// Adds the exit code and advice to an error of a client command.
pub(super) fn explain(error: Error, access: &Access) -> Error {
    let endpoint = &access.endpoint;
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
        client::Error::Refused { code: 4100, .. } => {
            error.context(Exit::Failed.reason(not_accepted(access)))
        }
        client::Error::Refused { code, message } => match advice(*code, message) {
            Some(advice) => error.context(Exit::Failed.reason(advice)),
            None => error,
        },
        client::Error::Endpoint(_) => error,
    }
}

/// Another server than that whose key was found may be at the address.
fn not_accepted(access: &Access) -> String {
    let Access {
        endpoint,
        key_id,
        key_source,
        ..
    } = access;
    format!(
        "{endpoint} did not accept the access key {key_id}, {key_source}: if the server is an anser dev with --data DIR, \
         give this command the same --data DIR, else the server's own key with --key ID:SECRET; if the key is right, see \
         that it is enabled (anser key list), and look at this machine's clock"
    )
}

/// The number in parentheses before the vendor's text says more than the code: of a topic, or a queue.
fn advice(code: i64, message: &str) -> Option<&'static str> {
    let module = message.strip_prefix('(')?.split_once(')')?.0;
    Some(match (code, module) {
        (4000, "10540") => {
            "end its subscriptions first: see anser subscription list, anser subscription delete"
        }
        (4000, "10560") => "there is no such subscription: see anser subscription list",
        (4000, "10900") => {
            "upgrade the nodes that anser cluster status names; the cluster follows by itself"
        }
        (4410, _) => {
            "the queue is full: receive and delete messages, or raise it with anser queue set"
        }
        (4440, "10600") => {
            "there is no such topic: see anser topic list, or make it with anser topic create"
        }
        (4440, _) => {
            "there is no such queue: see anser queue list, or make it with anser queue create"
        }
        (4450, "10610") => "the account has as many topics as it may have: delete one",
        (4450, _) => "the account has as many queues as it may have: delete one",
        (4460, "10550") => {
            "there is such a topic already: see anser topic show, change it with anser topic set"
        }
        (4460, _) => {
            "there is such a queue already: see anser queue show, change it with anser queue set"
        }
        (4490, _) => "there is such a subscription already: see anser subscription show",
        (4500, _) => "the topic has as many subscriptions as it may have: delete one",
        (6000, _) => "the server's disk is nearly full: receive and delete messages, or enlarge it",
        (6030, "10650") => {
            "nobody would get it: subscribe a URL or a queue with anser subscription create"
        }
        (6030, _) => "nobody wants it: see the filters with anser subscription show",
        (6040, _) => {
            "this name was deleted a moment ago: try again when api.name_reuse_seconds are over"
        }
        (6050, _) => {
            "the queue keeps no deleted messages: turn it on with anser queue set --rewind SECONDS"
        }
        _ => return None,
    })
}
