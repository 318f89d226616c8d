//! Which subscriptions want a message: the filters of a topic's subscriptions, compiled.
//!
//! Tags are looked up in a map. Binding keys share a tree of words that is walked with all its
//! branches at once, so that the cost of a publish depends on the words of its key and on what they
//! lead to, and hardly on the number of keys (the topic exchange of AMQP brokers does the same).

use std::collections::BTreeMap;

use crate::{
    attributes::Filter,
    id::SubscriptionId,
    labels::{BindingKey, Labels, RoutingKey, Tag},
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Router {
    /// Those that want every message of a topic with tags.
    unfiltered: Vec<SubscriptionId>,
    by_tag: BTreeMap<Tag, Vec<SubscriptionId>>,
    words: Words,
}

impl Router {
    pub(crate) fn new<'a>(filters: impl Iterator<Item = (SubscriptionId, &'a Filter)>) -> Self {
        let mut router = Self::default();
        for (subscription, filter) in filters {
            match filter {
                Filter::Tags(tags) if tags.is_empty() => router.unfiltered.push(subscription),
                Filter::Tags(tags) => {
                    for tag in tags {
                        let wanted = router.by_tag.entry(tag.clone()).or_default();
                        wanted.push(subscription);
                    }
                }
                Filter::BindingKeys(keys) => {
                    for key in keys {
                        router.words.add(key, subscription);
                    }
                }
            }
        }
        router
    }

    /// In the order of their numbers, each once.
    pub(crate) fn matching(&self, labels: &Labels) -> Vec<SubscriptionId> {
        let mut matching = self.unfiltered.clone();
        for tag in &labels.tags {
            matching.extend(self.by_tag.get(tag).into_iter().flatten());
        }
        if let Some(key) = &labels.routing_key {
            self.words.matching(key, &mut matching);
        }
        matching.sort_unstable();
        matching.dedup();
        matching
    }
}

/// A tree of the words of binding keys. Its places are numbered; the root is 0.
#[derive(Debug, Clone)]
struct Words {
    places: Vec<Place>,
}

#[derive(Debug, Clone, Default)]
struct Place {
    by_word: BTreeMap<Box<str>, usize>,
    /// After `*`.
    any_word: Option<usize>,
    /// After `#`.
    any_words: Option<usize>,
    /// Whether this is a place after `#`, where further words may be passed over.
    passes_words: bool,
    /// Those with a key that ends here.
    ends: Vec<SubscriptionId>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            places: vec![Place::default()],
        }
    }
}

impl Words {
    fn add(&mut self, key: &BindingKey, subscription: SubscriptionId) {
        let mut at = 0;
        for word in key.as_str().split('.') {
            // A second `#` adds nothing to the first.
            if word == "#" && self.places[at].passes_words {
                continue;
            }
            at = self.step(at, word);
        }
        self.places[at].ends.push(subscription);
    }

    /// The place after one more word, made if there is none.
    fn step(&mut self, at: usize, word: &str) -> usize {
        let new = self.places.len();
        let place = &mut self.places[at];
        let next = match word {
            "*" => *place.any_word.get_or_insert(new),
            "#" => *place.any_words.get_or_insert(new),
            word => *place.by_word.entry(word.into()).or_insert(new),
        };
        if next == new {
            self.places.push(Place {
                passes_words: word == "#",
                ..Place::default()
            });
        }
        next
    }

    fn matching(&self, key: &RoutingKey, matching: &mut Vec<SubscriptionId>) {
        let mut here = Vec::new();
        self.arrive(0, &mut here);
        for word in key.as_str().split('.') {
            let mut next = Vec::with_capacity(here.len());
            for &at in &here {
                let place = &self.places[at];
                if place.passes_words {
                    next.push(at);
                }
                if let Some(&at) = place.by_word.get(word) {
                    self.arrive(at, &mut next);
                }
                if let Some(at) = place.any_word.filter(|_| !word.is_empty()) {
                    self.arrive(at, &mut next);
                }
            }
            next.sort_unstable();
            next.dedup();
            here = next;
        }
        for at in here {
            matching.extend(&self.places[at].ends);
        }
    }

    /// A place, and the one after a `#` that stands for no word.
    fn arrive(&self, at: usize, places: &mut Vec<usize>) {
        places.push(at);
        places.extend(self.places[at].any_words);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(bindings: &[&str], key: &str) -> Vec<u64> {
        let filters: Vec<Filter> = bindings
            .iter()
            .map(|binding| Filter::BindingKeys([BindingKey::new(binding).unwrap()].into()))
            .collect();
        let router = Router::new((1..).map(SubscriptionId).zip(&filters));
        let labels = Labels {
            routing_key: Some(RoutingKey::new(key).unwrap()),
            ..Labels::default()
        };
        let matching = router.matching(&labels);
        matching.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn wildcards_stand_for_whole_words() {
        for (binding, key, expected) in [
            ("1.*.0", "1.any.0", true),
            ("1.*.0", "1.2.3.0", false),
            ("1.*.0", "1.0", false),
            ("1.#.0", "1.0", true),
            ("1.#.0", "1.2.3.4.4.2.2.0", true),
            ("#", "anything", true),
            ("#", "any.thing.", true),
            ("*.*.*", "a.b.c", true),
            ("*.*.*", "a.b", false),
            ("usa.#", "usa", true),
            ("a", "A", false),
            ("a*", "ab", false),
            ("a*", "a*", true),
            ("a.*", "a.", false),
            ("a.", "a.", true),
            ("#.#", "a", true),
            ("#.*", "a", true),
        ] {
            assert_eq!(
                !matches(&[binding], key).is_empty(),
                expected,
                "{binding} {key}"
            );
        }
    }

    #[test]
    fn tags_match_by_any_and_no_filter_takes_all() {
        let tag = |text: &str| Tag::new(text).unwrap();
        let filters = [
            Filter::Tags([].into()),
            Filter::Tags([tag("a"), tag("b")].into()),
            Filter::Tags([tag("c")].into()),
        ];
        let router = Router::new((1..).map(SubscriptionId).zip(&filters));
        let wanted = |tags: &[&str]| -> Vec<u64> {
            let tags = tags.iter().map(|text| tag(text)).collect();
            let labels = Labels {
                tags,
                routing_key: None,
            };
            router.matching(&labels).iter().map(|id| id.0).collect()
        };
        assert_eq!(wanted(&[]), [1]);
        assert_eq!(wanted(&["b", "a"]), [1, 2]);
        assert_eq!(wanted(&["c", "a"]), [1, 2, 3]);
        assert_eq!(wanted(&["A"]), [1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_tree_agrees_with_the_definition(
            bindings in prop::collection::vec("[ab*#](\\.[ab*#]?){0,4}|(\\.[ab*#]?){1,4}", 1..12),
            key in "[ab*#](\\.[ab*#]?){0,5}|(\\.[ab*#]?){1,5}",
        ) {
            let lines = [&[key], &bindings[..]].concat();
            crate::fuzzing::routing(lines.join("\n").as_bytes());
        }
    }
}
