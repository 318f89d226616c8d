//! Which messages a naive subscription wants.

use anser_broker::{attributes::Filter, labels::Labels};

pub(super) fn wants(filter: &Filter, labels: &Labels) -> bool {
    match (filter, &labels.routing_key) {
        (Filter::Tags(tags), _) => {
            tags.is_empty() || tags.iter().any(|tag| labels.tags.contains(tag))
        }
        (Filter::BindingKeys(_), None) => false,
        (Filter::BindingKeys(keys), Some(key)) => {
            let words: Vec<&str> = key.as_str().split('.').collect();
            keys.iter().any(|binding| {
                let binding: Vec<&str> = binding.as_str().split('.').collect();
                is_match(&binding, &words)
            })
        }
    }
}

/// By the definition, word for word.
fn is_match(binding: &[&str], words: &[&str]) -> bool {
    match (binding.split_first(), words.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), words_left) => {
            is_match(rest, words) || words_left.is_some_and(|(_, later)| is_match(binding, later))
        }
        (Some((&"*", rest)), Some((word, later))) => !word.is_empty() && is_match(rest, later),
        (Some((wanted, rest)), Some((word, later))) => wanted == word && is_match(rest, later),
        _ => false,
    }
}
