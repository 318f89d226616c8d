//! The words for how a subscription is delivered: `notifyStrategy` and `notifyContentFormat`.

use anser_broker::{attributes::BodyFormat, retry::RetryStrategy};

use super::{
    errors::Fault,
    parameters::{Arguments, Field, Kind},
};

pub(crate) const STRATEGY: Field = Field::optional("notifyStrategy", Kind::Raw);
pub(crate) const FORMAT: Field = Field::optional("notifyContentFormat", Kind::Raw);

const BACK_OFF: &str = "BACKOFF_RETRY";
const EXPONENTIAL_DECAY: &str = "EXPONENTIAL_DECAY_RETRY";
const JSON: &str = "JSON";
const SIMPLIFIED: &str = "SIMPLIFIED";

/// `None` if the request does not say.
pub(crate) fn strategy(arguments: &Arguments<'_>) -> Result<Option<RetryStrategy>, Fault> {
    let Some(word) = arguments.raw_if_given(STRATEGY.name) else {
        return Ok(None);
    };
    let known = [RetryStrategy::BackOff, RetryStrategy::ExponentialDecay];
    let found = known
        .into_iter()
        .find(|strategy| strategy_word(*strategy).as_bytes() == word);
    found.map(Some).ok_or(Fault::StrategyUndefined)
}

/// `None` if the request does not say.
pub(crate) fn format(arguments: &Arguments<'_>) -> Result<Option<BodyFormat>, Fault> {
    let Some(word) = arguments.raw_if_given(FORMAT.name) else {
        return Ok(None);
    };
    let known = [BodyFormat::Json, BodyFormat::Simplified];
    let found = known
        .into_iter()
        .find(|format| format_word(*format).as_bytes() == word);
    found.map(Some).ok_or(Fault::FormatUndefined)
}

pub(crate) fn strategy_word(strategy: RetryStrategy) -> &'static str {
    match strategy {
        RetryStrategy::BackOff => BACK_OFF,
        RetryStrategy::ExponentialDecay => EXPONENTIAL_DECAY,
    }
}

pub(crate) fn format_word(format: BodyFormat) -> &'static str {
    match format {
        BodyFormat::Json => JSON,
        BodyFormat::Simplified => SIMPLIFIED,
    }
}
