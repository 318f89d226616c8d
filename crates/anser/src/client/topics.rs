//! The calls on topics and subscriptions.

use serde::Deserialize;

use super::{BatchSent, Client, Done, Outcome, Parameter, Sent, number, numbered};

/// What a published message carries beside its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Labels<'a> {
    pub tags: &'a [String],
    pub routing_key: Option<&'a str>,
}

/// What a subscription can be told; `None` leaves it as it is, or at its default. A list that is
/// given replaces the whole list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionSettings {
    pub notify_strategy: Option<String>,
    pub notify_content_format: Option<String>,
    pub filter_tags: Vec<String>,
    pub binding_keys: Vec<String>,
    /// An empty name: none any more.
    pub dead_letter_queue: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicCreated {
    pub topic_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicDetails {
    pub topic_name: String,
    pub topic_id: String,
    pub filter_type: u64,
    pub max_msg_size: u64,
    pub msg_retention_seconds: u64,
    /// Times are seconds since 1970.
    pub create_time: u64,
    pub last_modify_time: u64,
    pub msg_count: u64,
    /// An extension; `None`: `majority`.
    #[serde(default)]
    pub acknowledge: Option<String>,
}

/// What a topic can be told; `None` leaves it as it is, or at its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSettings {
    pub max_msg_size: Option<u64>,
    /// An extension: `majority` or `all`.
    pub acknowledge: Option<String>,
}

impl TopicSettings {
    fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        let bytes = self.max_msg_size.map(|bytes| number("maxMsgSize", bytes));
        let policy = self.acknowledge.as_deref();
        let policy = policy.map(|policy| ("acknowledge".into(), policy.into()));
        bytes.into_iter().chain(policy)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicList {
    /// How many match, before offset and limit.
    pub total_count: u64,
    pub topic_list: Vec<TopicListing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicListing {
    pub topic_id: String,
    pub topic_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribed {
    pub subscription_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionDetails {
    pub subscription_name: String,
    pub subscription_id: String,
    pub protocol: String,
    pub endpoint: String,
    pub notify_strategy: String,
    pub notify_content_format: String,
    pub filter_tags: Vec<String>,
    pub binding_key: Vec<String>,
    #[serde(default)]
    pub dead_letter_queue_name: Option<String>,
    /// Times are seconds since 1970.
    pub create_time: u64,
    pub last_modify_time: u64,
    pub msg_count: u64,
    pub delivered_num: u64,
    pub expired_num: u64,
    pub given_up_num: u64,
    pub dead_lettered_num: u64,
    pub last_failures: Vec<DeliveryFailure>,
}

/// A push that failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryFailure {
    pub time: u64,
    pub msg_id: String,
    pub attempt: u64,
    #[serde(default)]
    pub status: Option<u64>,
    pub milliseconds: u64,
    pub reason: String,
    #[serde(default)]
    pub answer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionList {
    pub total_count: u64,
    pub subscription_list: Vec<SubscriptionListing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionListing {
    pub subscription_id: String,
    pub subscription_name: String,
    pub protocol: String,
    pub endpoint: String,
}

impl Client {
    /// `filter_type` is 1 for tags, 2 for routing keys.
    pub async fn create_topic(
        &mut self,
        name: &str,
        filter_type: u64,
        max_body: Option<u64>,
    ) -> Outcome<TopicCreated> {
        let settings = TopicSettings {
            max_msg_size: max_body,
            acknowledge: None,
        };
        self.create_topic_with(name, filter_type, &settings).await
    }

    /// As [`Client::create_topic`], with all that can be set.
    pub async fn create_topic_with(
        &mut self,
        name: &str,
        filter_type: u64,
        settings: &TopicSettings,
    ) -> Outcome<TopicCreated> {
        let mut parameters = vec![topic_name(name), number("filterType", filter_type)];
        parameters.extend(settings.parameters());
        self.call("CreateTopic", parameters).await
    }

    pub async fn set_topic(&mut self, name: &str, settings: &TopicSettings) -> Outcome<Done> {
        let mut parameters = vec![topic_name(name)];
        parameters.extend(settings.parameters());
        self.call("SetTopicAttributes", parameters).await
    }

    pub async fn topic(&mut self, name: &str) -> Outcome<TopicDetails> {
        self.call("GetTopicAttributes", vec![topic_name(name)])
            .await
    }

    pub async fn delete_topic(&mut self, name: &str) -> Outcome<Done> {
        self.call("DeleteTopic", vec![topic_name(name)]).await
    }

    /// At most 50 topics from `offset` on whose name contains `search`.
    pub async fn list_topics(&mut self, search: &str, offset: u64) -> Outcome<TopicList> {
        self.call("ListTopic", page(search, offset)).await
    }

    pub async fn publish(&mut self, topic: &str, body: &str, labels: Labels<'_>) -> Outcome<Sent> {
        let mut parameters = vec![topic_name(topic), ("msgBody".into(), body.into())];
        parameters.extend(labels.parameters());
        self.call("PublishMessage", parameters).await
    }

    /// All or nothing; at most 16 bodies, which share the labels.
    pub async fn batch_publish(
        &mut self,
        topic: &str,
        bodies: &[impl AsRef<str>],
        labels: Labels<'_>,
    ) -> Outcome<BatchSent> {
        let mut parameters = vec![topic_name(topic)];
        parameters.extend(numbered("msgBody", bodies));
        parameters.extend(labels.parameters());
        self.call("BatchPublishMessage", parameters).await
    }

    /// `protocol` is `http` or `queue`, `endpoint` a URL or a queue's name.
    pub async fn subscribe(
        &mut self,
        topic: &str,
        name: &str,
        (protocol, endpoint): (&str, &str),
        settings: &SubscriptionSettings,
    ) -> Outcome<Subscribed> {
        let mut parameters = vec![
            topic_name(topic),
            subscription_name(name),
            ("protocol".into(), protocol.into()),
            ("endpoint".into(), endpoint.into()),
        ];
        parameters.extend(settings.parameters());
        self.call("Subscribe", parameters).await
    }

    pub async fn set_subscription(
        &mut self,
        topic: &str,
        name: &str,
        settings: &SubscriptionSettings,
    ) -> Outcome<Done> {
        let mut parameters = vec![topic_name(topic), subscription_name(name)];
        parameters.extend(settings.parameters());
        self.call("SetSubscriptionAttributes", parameters).await
    }

    pub async fn clear_filter_tags(&mut self, topic: &str, name: &str) -> Outcome<Done> {
        let parameters = vec![topic_name(topic), subscription_name(name)];
        self.call("ClearSubscriptionFilterTags", parameters).await
    }

    pub async fn subscription(&mut self, topic: &str, name: &str) -> Outcome<SubscriptionDetails> {
        let parameters = vec![topic_name(topic), subscription_name(name)];
        self.call("GetSubscriptionAttributes", parameters).await
    }

    /// At most 50 subscriptions from `offset` on whose name contains `search`.
    pub async fn list_subscriptions(
        &mut self,
        topic: &str,
        search: &str,
        offset: u64,
    ) -> Outcome<SubscriptionList> {
        let mut parameters = page(search, offset);
        parameters.push(topic_name(topic));
        self.call("ListSubscriptionByTopic", parameters).await
    }

    pub async fn unsubscribe(&mut self, topic: &str, name: &str) -> Outcome<Done> {
        let parameters = vec![topic_name(topic), subscription_name(name)];
        self.call("Unsubscribe", parameters).await
    }
}

impl<'a> Labels<'a> {
    fn parameters(self) -> impl Iterator<Item = Parameter<'a>> {
        let key = self.routing_key;
        let key = key.map(|key| ("routingKey".into(), key.into()));
        numbered("msgTag", self.tags).chain(key)
    }
}

impl SubscriptionSettings {
    fn parameters(&self) -> Vec<Parameter<'_>> {
        let texts = [
            ("notifyStrategy", &self.notify_strategy),
            ("notifyContentFormat", &self.notify_content_format),
            ("deadLetterQueueName", &self.dead_letter_queue),
        ];
        let given = texts
            .into_iter()
            .filter_map(|(name, value)| Some((name.into(), value.as_deref()?.into())));
        given
            .chain(numbered("filterTag", &self.filter_tags))
            .chain(numbered("bindingKey", &self.binding_keys))
            .collect()
    }
}

fn topic_name(name: &str) -> Parameter<'_> {
    ("topicName".into(), name.into())
}

fn subscription_name(name: &str) -> Parameter<'_> {
    ("subscriptionName".into(), name.into())
}

fn page(search: &str, offset: u64) -> Vec<Parameter<'_>> {
    let mut parameters = vec![number("offset", offset), number("limit", 50)];
    if !search.is_empty() {
        parameters.push(("searchWord".into(), search.into()));
    }
    parameters
}
