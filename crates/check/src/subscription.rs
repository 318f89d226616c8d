//! What is known of a subscription, and which messages it wants.
//!
//! The filters are the rules of the dialect in their shortest form, written without a look at the
//! server's: the checker must not share a mistake with it.

use serde::{Deserialize, Serialize};

/// Fixed for the whole history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubscriptionFacts {
    pub topic: String,
    pub name: String,
    pub filter: Filter,
    pub target: Target,
    pub retry: Retry,
}

/// What a published message carries beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    pub tags: Vec<String>,
    pub routing_key: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// One of these, or everything if there are none.
    Tags(Vec<String>),
    /// Patterns of words; `*` is one word and `#` any number.
    BindingKeys(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Http,
    /// A queue without dead letters that no other subscription fills.
    Queue(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// One message at a time, in order, four times.
    BackOff,
    /// Until the retention ends, which no history lives to see.
    ExponentialDecay,
}

impl Filter {
    pub fn wants(&self, labels: &Labels) -> bool {
        match self {
            Self::Tags(wanted) => {
                wanted.is_empty() || labels.tags.iter().any(|tag| wanted.contains(tag))
            }
            Self::BindingKeys(patterns) => labels.routing_key.as_ref().is_some_and(|key| {
                let words: Vec<&str> = key.split('.').collect();
                patterns.iter().any(|pattern| {
                    let pattern: Vec<&str> = pattern.split('.').collect();
                    fits(&pattern, &words)
                })
            }),
        }
    }
}

fn fits(pattern: &[&str], words: &[&str]) -> bool {
    match pattern.split_first() {
        None => words.is_empty(),
        Some((&"#", rest)) => (0..=words.len()).any(|passed| fits(rest, &words[passed..])),
        Some((&first, rest)) => words.split_first().is_some_and(|(word, others)| {
            (first == *word || (first == "*" && !word.is_empty())) && fits(rest, others)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_fits(pattern: &str, key: &str) -> bool {
        let labels = Labels {
            tags: Vec::new(),
            routing_key: Some(key.to_owned()),
        };
        Filter::BindingKeys(vec![pattern.to_owned()]).wants(&labels)
    }

    /// The table of the specification.
    #[test]
    fn binding_keys_fit_as_documented() {
        for (pattern, key, expected) in [
            ("1.*.0", "1.any.0", true),
            ("1.*.0", "1.2.3.0", false),
            ("1.*.0", "1.0", false),
            ("1.#.0", "1.0", true),
            ("1.#.0", "1.2.3.4.4.2.2.0", true),
            ("#", "anything", true),
            ("*.*.*", "a.b.c", true),
            ("*.*.*", "a.b", false),
            ("usa.#", "usa", true),
            ("a", "A", false),
            ("a*", "ab", false),
            ("a*", "a*", true),
        ] {
            assert_eq!(key_fits(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn tags_fit_as_documented() {
        let wants = |wanted: &[&str], tags: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            let labels = Labels {
                tags: owned(tags),
                routing_key: None,
            };
            Filter::Tags(owned(wanted)).wants(&labels)
        };
        assert!(wants(&[], &[]) && wants(&[], &["a"]));
        assert!(wants(&["a", "b"], &["c", "b"]));
        assert!(!wants(&["a"], &[]) && !wants(&["a"], &["A", "b"]));
    }
}
