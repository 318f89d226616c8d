//! One push: a request over a connection that waits, or over a new one, and its answer.

use std::{rc::Rc, sync::Arc, time::Duration};

use hyper::{Request, Response, body::Incoming};
use tokio::{
    task::spawn_local,
    time::{self, Instant},
};

use crate::{
    accounts::Account,
    answer::Answer,
    config::Config,
    connection::{Body, Connection},
    connector::Connector,
    endpoint::Endpoint,
    failure::{self, Failure},
    hosts::Host,
    metrics::Metrics,
    places::Line,
    trust::Trust,
};

pub(crate) struct Sender {
    connector: Connector,
    metrics: Arc<Metrics>,
    total_time: Duration,
}

/// Where a push goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct To<'push> {
    pub(crate) endpoint: &'push Endpoint,
    pub(crate) host: &'push Rc<Host>,
    /// Who subscribed it.
    pub(crate) account: &'push Account,
}

type Answered = (Response<Incoming>, Connection);

impl Sender {
    pub(crate) fn new(config: &Config, trust: Trust, metrics: Arc<Metrics>) -> Self {
        Self {
            connector: Connector::new(config, trust),
            metrics,
            total_time: config.total_time,
        }
    }

    /// Sends a request; done when the head of a good answer is there.
    pub(crate) async fn push(
        &self,
        to: To<'_>,
        request: Request<Body>,
        line: Line,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + self.total_time;
        let (response, connection) = time::timeout_at(deadline, self.send(to, request))
            .await
            .unwrap_or_else(|_| Err(Failure::no_answer(self.total_time)))?;
        let (head, body) = response.into_parts();
        let mut answer = Answer {
            body,
            connection,
            host: Rc::clone(to.host),
            deadline,
        };
        let outcome = if head.status.is_success() {
            Ok(())
        } else {
            Err(Failure::answered(&head, answer.beginning().await))
        };
        spawn_local(answer.finish(line));
        outcome
    }

    /// A connection that waited may have been closed by the other side at this very moment; then
    /// the request is sent again over a new one. Receivers know that messages may come twice.
    async fn send(&self, to: To<'_>, request: Request<Body>) -> Result<Answered, Failure> {
        if let Some(mut connection) = to.host.idle_connection(to.endpoint.security) {
            connection.place = Some(self.connector.place_at(connection.peer, to.host).await?);
            match exchange(connection, request.clone()).await {
                Ok(answered) => return Ok(answered),
                Err(error) if failure::was_answered(&error) => return Err(Failure::broken(&error)),
                Err(_) => {}
            }
        }
        let connection = self.connector.connect(to).await?;
        self.metrics.connection();
        exchange(connection, request)
            .await
            .map_err(|error| Failure::broken(&error))
    }
}

async fn exchange(
    mut connection: Connection,
    request: Request<Body>,
) -> Result<Answered, hyper::Error> {
    match connection.send(request).await {
        Ok(response) => Ok((response, connection)),
        Err(error) => Err(error.into_error()),
    }
}
