//! The port between the edges and the house: whoever holds a [`Service`] can do everything the
//! product does and knows nothing of how.

use std::future::Future;

use crate::{error::Error, id::AccountId, op::Operation};

pub trait Service: Clone + Send + Sync + 'static {
    /// Does one operation for an account. An `Ok` is durable and applied. Dropping the future of a
    /// receive gives its messages back.
    fn execute<O: Operation>(
        &self,
        account: AccountId,
        operation: O,
    ) -> impl Future<Output = Result<O::Output, Error>> + Send;
}
