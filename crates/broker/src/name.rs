//! Names that people give to queues, topics and subscriptions. Inside the house a name is valid.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is a letter and then at most 79 letters, digits, `-` or `_`")]
pub struct NotAName;

/// Kinds of names are kinds of values, so that none is used for another.
macro_rules! names {
    ($($(#[$meaning:meta])* $name:ident,)*) => {
        $(
            $(#[$meaning])*
            /// A letter, then letters, digits, `-` and `_`, at most [`limits::NAME_CHARACTERS_MAX`].
            /// It keeps the case it was given and is the same name in any case.
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(try_from = "Box<str>", into = "Box<str>")]
            pub struct $name(Box<str>);

            impl $name {
                pub fn new(text: &str) -> Result<Self, NotAName> {
                    if is_name(text) {
                        Ok(Self(text.into()))
                    } else {
                        Err(NotAName)
                    }
                }

                pub fn as_str(&self) -> &str {
                    &self.0
                }

                /// The form under which the name is looked up.
                pub fn folded(&self) -> String {
                    self.0.to_ascii_lowercase()
                }
            }

            impl TryFrom<Box<str>> for $name {
                type Error = NotAName;

                fn try_from(text: Box<str>) -> Result<Self, NotAName> {
                    if is_name(&text) {
                        Ok(Self(text))
                    } else {
                        Err(NotAName)
                    }
                }
            }

            impl From<$name> for Box<str> {
                fn from(name: $name) -> Self {
                    name.0
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(formatter)
                }
            }
        )*
    };
}

names! {
    /// A queue's name, unique in its account.
    QueueName,
    /// A topic's name, unique among the topics of its account.
    TopicName,
    /// A subscription's name, unique in its topic.
    SubscriptionName,
}

fn is_name(text: &str) -> bool {
    let rest_is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() <= limits::NAME_CHARACTERS_MAX
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
        && text.bytes().all(rest_is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_starts_with_a_letter_and_has_no_strange_characters() {
        for good in ["a", "Orders-2_x", &"q".repeat(80)] {
            assert!(QueueName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "a/b", "a.b", "é", "a\0", &"q".repeat(81)] {
            assert_eq!(QueueName::new(bad), Err(NotAName), "{bad}");
        }
    }
}
