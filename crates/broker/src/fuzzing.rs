//! What fuzz targets call. Each function takes any bytes and panics if a promise is broken.

use crate::{
    attributes::Filter,
    id::SubscriptionId,
    labels::{BindingKey, Labels, RoutingKey},
    topic::Router,
};

/// Binding keys compiled together choose the same as each by the definition. The bytes are lines: a
/// routing key, then binding keys.
pub fn routing(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let text = |line| std::str::from_utf8(line).ok();
    let key = lines.next().and_then(text);
    let Some(key) = key.and_then(|text| RoutingKey::new(text).ok()) else {
        return;
    };
    let bindings = lines.filter_map(|line| BindingKey::new(text(line)?).ok());
    let bindings: Vec<BindingKey> = bindings.collect();
    let filters: Vec<Filter> = bindings
        .iter()
        .map(|binding| Filter::BindingKeys([binding.clone()].into()))
        .collect();
    let expected: Vec<SubscriptionId> = (1..)
        .map(SubscriptionId)
        .zip(&bindings)
        .filter(|(_, binding)| matches(binding.as_str(), key.as_str()))
        .map(|(subscription, _)| subscription)
        .collect();
    let router = Router::new((1..).map(SubscriptionId).zip(&filters));
    let labels = Labels {
        routing_key: Some(key),
        ..Labels::default()
    };
    assert_eq!(router.matching(&labels), expected);
}

/// Whether a binding key matches a routing key, as the definition says it, word for word.
fn matches(binding: &str, key: &str) -> bool {
    let binding: Vec<&str> = binding.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    // Whether the first so many words of the binding match the first so many words of the key.
    let mut row = vec![false; key.len() + 1];
    row[0] = true;
    for wanted in binding {
        let mut next = vec![false; key.len() + 1];
        next[0] = wanted == "#" && row[0];
        for (place, word) in key.iter().enumerate() {
            next[place + 1] = match wanted {
                "#" => row[place + 1] || next[place],
                "*" => row[place] && !word.is_empty(),
                wanted => row[place] && wanted == *word,
            };
        }
        row = next;
    }
    row[key.len()]
}
