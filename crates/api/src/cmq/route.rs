//! Where a client of the TCP protocol finds a queue or a topic: every node serves all of them.

use anser_broker::op::{self, QueueDescription, TopicDescription};
use serde::Serialize;

use super::{
    action::{Action, Answered, Asked, Scope},
    control::QUEUE,
    parameters::{Arguments, Field},
    topic::TOPIC,
};

/// The port of an address that a client wrote without one.
const USUAL_PORT: u16 = 80;

#[derive(Debug, Serialize)]
pub(crate) struct RouteShown {
    /// Each `host:port`.
    addr: Vec<String>,
}

impl RouteShown {
    fn new(scope: &Scope<'_>) -> Self {
        let advertised = &scope.config.advertised_tcp;
        let addr = match scope.host {
            _ if !advertised.is_empty() => advertised.clone(),
            host if host.has_port() => vec![host.to_string()],
            host => vec![format!("{host}:{USUAL_PORT}")],
        };
        Self { addr }
    }
}

pub(crate) struct QueryQueueRoute;

impl Action for QueryQueueRoute {
    const NAME: &'static str = "QueryQueueRoute";
    const FIELDS: &'static [Field] = &[QUEUE];
    type Operation = op::DescribeQueue;
    type Response = RouteShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let name = arguments.queue_name(QUEUE.name);
        Ok((Self, op::DescribeQueue { name }))
    }

    fn write(self, _output: QueueDescription, scope: &Scope<'_>) -> Answered<Self> {
        Ok(RouteShown::new(scope))
    }
}

pub(crate) struct QueryTopicRoute;

impl Action for QueryTopicRoute {
    const NAME: &'static str = "QueryTopicRoute";
    const FIELDS: &'static [Field] = &[TOPIC];
    type Operation = op::DescribeTopic;
    type Response = RouteShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let name = arguments.topic_name(TOPIC.name);
        Ok((Self, op::DescribeTopic { name }))
    }

    fn write(self, _output: TopicDescription, scope: &Scope<'_>) -> Answered<Self> {
        Ok(RouteShown::new(scope))
    }
}
