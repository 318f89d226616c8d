//! The errors of CMQ: public code, module code and text.
//!
//! Programs compare the texts, so they are part of the interface, spelling mistakes included.

use std::{borrow::Cow, fmt};

use anser_broker::{error::Error, op::Class};
use serde::Serialize;

use crate::{front::Refused, metrics::Code};

macro_rules! faults {
    ($($name:ident = $code:literal $module:literal $text:literal,)*) => {
        /// What a client is told; also the outcome by which requests are counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($name,)*
        }

        impl Fault {
            #[cfg(test)]
            pub(crate) const ALL: &'static [Fault] = &[$(Fault::$name,)*];

            /// As they are counted: each at the place that is its number.
            pub(crate) const CODES: &'static [Code] = &[$(Code {
                text: stringify!($code),
                module: stringify!($module),
                is_denial: $code == DENIED,
            },)*];

            pub(crate) fn code(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }

            /// The number in parentheses before the text.
            pub(crate) fn module(self) -> u16 {
                match self { $(Self::$name => $module,)* }
            }

            fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The short name, `codeDesc`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

/// The public code for who is not accepted.
const DENIED: u16 = 4100;

faults! {
    Success = 0 0 "",
    ParametersInvalid = 4000 10110 "request parameters error",
    ActionMissing = 4000 10280 "action is not existed",
    KeyFormat = 4000 10310 "error: parameter %s key format error",
    NoSuchParameter = 4000 10320 "no such parameter %s",
    NotRepeatable = 4000 10330 "parameter %s is NOT a repeatable parameter",
    OutOfRange = 4000 10350 "parameter %s value or length is out of range",
    WrongType = 4000 10360 "parameter %s error type",
    BatchSize = 4000 10370 "%s parameter batch size is out of range",
    NotConsecutive = 4000 10380 "%s parameter is not consequent",
    ParameterMissing = 4000 10390 "lacked of required parameter %s",
    MethodUnexpected = 4000 10410 "unexpected http %s only GET or POST is supported",
    Unparsable = 4000 10420 "cannot parse %s, or request size is more than 1MB",
    NoSuchAction = 4000 10430 "action name %s is not existed",
    QueueNameFormat = 4000 10020 "queue name format error",
    BodyEmpty = 4000 10120 "message body can't be empty",
    HandleFormat = 4000 10470 "receiptHandle error",
    TopicHasSubscriptions = 4000 10540 "there exists subscriptions under this topic, please unsubscribe all of them before DeleteTopic",
    NoSuchSubscription = 4000 10560 "subscription is not existed",
    TopicNameFormat = 4000 10590 "topic name format error",
    SubscriptionNameFormat = 4000 10580 "subscription name format error",
    TooManyFilterTags = 4000 10490 "number of filterTag exceed limit",
    EndpointFormat = 4000 10500 "endpoint format error",
    ProtocolUndefined = 4000 10510 "undefined protocol",
    StrategyUndefined = 4000 10520 "undefined notify retry stragety",
    FormatUndefined = 4000 10530 "undefined notify content format",
    FormatNotForQueues = 4000 10640 "notifyContentFormat of protocol queue must be SIMPLIFIED",
    TooManyBindingKeys = 4000 10680 "too many bindingKey",
    TooManyDots = 4000 10691 "too many delimeters",
    RoutingKeyMissing = 4000 10700 "parameters lack of routingKey",
    BindingKeyMissing = 4000 10710 "parameters lack of bindingKey",
    TooManyMessageTags = 4000 10720 "too many msgTag",
    RewindTime = 4000 10680 "invalid rewind time, you can get the vaild range of that via GetQueueAttributes",
    DelayOutOfRange = 4000 10692 "delay seconds is out of range",
    RewindTooLong = 4000 10700 "rewindSeconds cannot be greater than msgRetentionSeconds",
    PolicyNotJson = 4000 10710 "deadLetterPolicy must be a json string",
    PolicyParameters = 4000 10720 "deadLetterPolicy params error,please check it",
    NoSuchDeadLetterQueue = 4000 10730 "deadLetter queue not exist",
    DeadLetterNested = 4000 10740 "deadLetter queue is not allowed to nest",
    IsDeadLetterQueue = 4000 10750 "it is not allowed to be deleted when the queue is dead letter queue",
    PolicyQueue = 4000 10760 "the deadLetterPolicy must has deadLetterQueue member, only be a string",
    PolicyKind = 4000 10770 "the deadLetterPolicy must has policy member , only set 0 or 1",
    DeadLetterBound = 4000 10780 "the deadLetter Queue bind too many times",
    VersionTooLow = 4000 10900 "not until every node of the cluster runs version %s",
    AuthenticationFailed = 4100 10030 "authentication failed",
    SecretIdDisabled = 4100 10080 "secret id status error",
    NoSuchSecretId = 4100 10270 "secret id is not existed",
    BodyTooLarge = 4400 10230 "exceed maximum message size",
    BacklogFull = 4410 10240 "reach maximum retention number of message",
    Throttled = 4420 10250 "qps throttling",
    ReceiptInvalid = 4430 10260 "receipt handle is invalid",
    NoSuchQueue = 4440 10100 "queue is not existed, or deleted",
    NoSuchTopic = 4440 10600 "topic is not existed, or deleted",
    TooManyTopics = 4450 10610 "number of topics has reached the limit",
    TopicExists = 4460 10550 "topic is already existed",
    SubscriptionExists = 4490 10470 "subscribtion is already existed",
    TooManySubscriptions = 4500 10480 "number of subscription has reached the limit",
    UrlBlank = 4510 10570 "url connot contain any blank characters",
    TooManyQueues = 4450 10220 "number of queues has reached the limit",
    QueueExists = 4460 10210 "queue is already existed",
    BatchTooLarge = 4470 10300 "total message size exceed 1MB",
    ControlThrottled = 4480 10460 "exceed interface frequency limit, please slow down",
    ServerError = 6000 10050 "server internal error",
    SendFailed = 6000 10090 "send message failed",
    DeletePartlyFailed = 6010 10150 "delete message partially failed",
    BatchDeleteFailed = 6020 10290 "batch delete message failed",
    NoSubscription = 6030 10650 "topic has no subscription, please create a subscription before publishing message",
    NoSubscriptionMatches = 6030 10730 "no bindingKey or filterTag matches the routingKey or msgTag",
    TopicNameInRelease = 6040 10660 "It will take some time to release resources of previous topic before you can create a new topic with the same name. Please try later.",
    NameInRelease = 6040 10660 "it will take some time to release resources of previous queue before you create a new one with the same name, please try later",
    NotRewindable = 6050 10670 "your queue cannot be rewinded",
    TooManyInactive = 6070 10690 "too many unacked(inactive) messages or delayed messages",
    NoMessage = 7000 10200 "no message",
}

/// A rule of "Ambiguity" in `docs/dialects/cmq.md`, which parameters can break that somebody could have
/// re-cut. Each says more than the vendor's text does, which stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Of names.
    Name,
    /// Of values that are not free.
    Bound,
    /// Of what stands after the free values.
    Follower,
    /// Of the bodies of a batch.
    Member,
    /// Of the end of the last free value.
    End,
}

impl Rule {
    /// The number in the document.
    fn number(self) -> u8 {
        match self {
            Self::Name => 1,
            Self::Bound => 2,
            Self::Follower => 3,
            Self::Member => 4,
            Self::End => 5,
        }
    }

    fn fault(self) -> Fault {
        match self {
            Self::Name => Fault::KeyFormat,
            Self::Follower => Fault::NoSuchParameter,
            Self::Bound | Self::Member | Self::End => Fault::ParametersInvalid,
        }
    }

    /// What is wrong with the parameter whose name stands for `%s`.
    fn text(self) -> &'static str {
        match self {
            Self::Name => "it holds & or =",
            Self::Bound => "%s holds a & and then a =, like another parameter",
            Self::Follower => "it may not stand here beside a message body or an endpoint",
            Self::Member => "%s holds what reads like another message of the batch",
            Self::End => "%s ends in what reads like another parameter",
        }
    }
}

/// Characters of a client's own text that an answer repeats.
const REPEATED_MAX: usize = 64;

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) fault: Fault,
    /// What stands for `%s` in the text.
    about: Box<str>,
    /// What the vendor's text does not say.
    rule: Option<Rule>,
    /// The failed members of a batch.
    pub(crate) failures: Vec<Failure>,
}

/// One failed member of a batch delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) receipt_handle: String,
}

impl Refusal {
    pub(crate) fn about(fault: Fault, what: &[u8]) -> Self {
        const BYTES_OF_A_CHARACTER: usize = 4;
        let enough = what.len().min(REPEATED_MAX * BYTES_OF_A_CHARACTER);
        let text = String::from_utf8_lossy(&what[..enough]);
        Self {
            fault,
            about: text.chars().take(REPEATED_MAX).collect(),
            rule: None,
            failures: Vec::new(),
        }
    }

    /// The parameter of this name breaks a rule of the signed text.
    pub(crate) fn by_rule(rule: Rule, name: &[u8]) -> Self {
        Self {
            rule: Some(rule),
            ..Self::about(rule.fault(), name)
        }
    }

    /// A text with what it is about in its place.
    fn said(&self, text: &'static str) -> Cow<'static, str> {
        if text.contains("%s") {
            Cow::Owned(text.replace("%s", &self.about))
        } else {
            Cow::Borrowed(text)
        }
    }

    pub(crate) fn with_failures(fault: Fault, failures: Vec<Failure>) -> Self {
        Self {
            failures,
            ..fault.into()
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            about: Box::default(),
            rule: None,
            failures: Vec::new(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::NeedsVersion(version) => {
                Self::about(Fault::VersionTooLow, version.to_string().as_bytes())
            }
            other => Fault::from(other).into(),
        }
    }
}

/// CMQ's word for what the door refuses.
impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Rate(Class::Control) => Fault::ControlThrottled.into(),
            Refused::Rate(_) | Refused::Memory => Fault::Throttled.into(),
            Refused::WaitEnded => Fault::NoMessage.into(),
            Refused::NoSuchKey => Fault::NoSuchSecretId.into(),
            Refused::KeyDisabled => Fault::SecretIdDisabled.into(),
            Refused::Operation(error) => error.into(),
        }
    }
}

/// The `message` of an answer.
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.said(self.fault.text());
        write!(formatter, "({}){text}", self.fault.module())?;
        let Some(rule) = self.rule else {
            return Ok(());
        };
        let (why, number) = (self.said(rule.text()), rule.number());
        write!(
            formatter,
            ": {why} (docs/dialects/cmq.md, Ambiguity, rule {number})"
        )
    }
}

/// CMQ's word for each refusal of the core; where it has none, the nearest.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchQueue | Error::NoSuchEndpointQueue => Self::NoSuchQueue,
            Error::QueueExists => Self::QueueExists,
            Error::QueueRecentlyDeleted => Self::NameInRelease,
            Error::TooManyQueues => Self::TooManyQueues,
            Error::NoSuchDeadLetterQueue => Self::NoSuchDeadLetterQueue,
            Error::DeadLetterNested => Self::DeadLetterNested,
            Error::TooManyDeadLetterSources => Self::DeadLetterBound,
            Error::IsDeadLetterQueue => Self::IsDeadLetterQueue,
            Error::DeadLetterAgeTooLong => Self::PolicyParameters,
            // No action of this dialect has a token.
            Error::AttributeOutOfRange | Error::TokenReused => Self::ParametersInvalid,
            Error::RewindLongerThanRetention => Self::RewindTooLong,
            Error::BodyEmpty => Self::BodyEmpty,
            Error::BodyTooLarge => Self::BodyTooLarge,
            Error::BatchSize => Self::BatchTooLarge,
            Error::DelayTooLong => Self::DelayOutOfRange,
            Error::BacklogFull => Self::BacklogFull,
            Error::TooManyDelayed | Error::TooManyInFlight => Self::TooManyInactive,
            Error::ReceiptInvalid => Self::ReceiptInvalid,
            Error::NotRewindable => Self::NotRewindable,
            Error::RewindOutOfRange => Self::RewindTime,
            Error::NoSuchTopic => Self::NoSuchTopic,
            Error::TopicExists => Self::TopicExists,
            Error::TopicRecentlyDeleted => Self::TopicNameInRelease,
            Error::TooManyTopics => Self::TooManyTopics,
            Error::TopicHasSubscriptions => Self::TopicHasSubscriptions,
            Error::NoSuchSubscription => Self::NoSuchSubscription,
            Error::SubscriptionExists => Self::SubscriptionExists,
            Error::TooManySubscriptions => Self::TooManySubscriptions,
            Error::FormatNotForQueues => Self::FormatNotForQueues,
            Error::RoutingKeyMissing => Self::RoutingKeyMissing,
            Error::BindingKeyMissing => Self::BindingKeyMissing,
            Error::NoSubscription => Self::NoSubscription,
            Error::NoSubscriptionMatches => Self::NoSubscriptionMatches,
            Error::NeedsVersion(_) => Self::VersionTooLow,
            Error::Busy => Self::Throttled,
            Error::StorageFull => Self::SendFailed,
            // Nor one that is about nodes.
            Error::NoSuchNode
            | Error::NodeRemoved
            | Error::NodeNeeded
            | Error::TooManyNodes
            | Error::OtherCluster
            | Error::OtherNodes
            | Error::FormerStart
            | Error::Unknown
            | Error::Unavailable => Self::ServerError,
        }
    }
}

#[cfg(test)]
mod tests;
