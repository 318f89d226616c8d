//! The port between the edges and the house: whoever holds a [`Service`] can do everything the
//! product does and knows nothing of how.

use std::future::Future;

use crate::{context::Context, error::Error, op::Operation};

pub trait Service: Clone + Send + Sync + 'static {
    /// Does one operation for who asks, on what the context's owner has. An `Ok` is durable and applied. Dropping the future of a
    /// receive gives its messages back.
    fn execute<O: Operation>(
        &self,
        context: Context,
        operation: O,
    ) -> impl Future<Output = Result<O::Output, Error>> + Send;
}
