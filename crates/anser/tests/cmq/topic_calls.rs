//! What a caller says about topics and subscriptions.

use serde_json::{Map, Value};

use super::{
    answer::Answer,
    caller::{Caller, borrowed, numbered},
};

impl Caller {
    #[track_caller]
    pub(crate) fn create_topic(&mut self, topic: &str, attributes: &[(&str, &str)]) -> Answer {
        let mut parameters = vec![("topicName", topic)];
        parameters.extend(attributes);
        self.call("CreateTopic", &parameters).done()
    }

    #[track_caller]
    pub(crate) fn set_topic(&mut self, topic: &str, attributes: &[(&str, &str)]) -> Answer {
        let mut parameters = vec![("topicName", topic)];
        parameters.extend(attributes);
        self.call("SetTopicAttributes", &parameters)
    }

    #[track_caller]
    pub(crate) fn topic(&mut self, topic: &str) -> Answer {
        self.call("GetTopicAttributes", &[("topicName", topic)])
            .done()
    }

    #[track_caller]
    pub(crate) fn delete_topic(&mut self, topic: &str) -> Answer {
        self.call("DeleteTopic", &[("topicName", topic)])
    }

    /// Everything that can be seen of a topic, for before and after.
    #[track_caller]
    pub(crate) fn topic_picture(&mut self, topic: &str) -> Map<String, Value> {
        self.topic(topic).fields()
    }

    /// To a URL over HTTP, to any other endpoint as to a queue.
    #[track_caller]
    pub(crate) fn subscribe(
        &mut self,
        topic: &str,
        subscription: &str,
        endpoint: &str,
        attributes: &[(&str, &str)],
    ) -> Answer {
        let is_url = endpoint.starts_with("http");
        let mut parameters = vec![
            ("topicName", topic),
            ("subscriptionName", subscription),
            ("protocol", if is_url { "http" } else { "queue" }),
            ("endpoint", endpoint),
        ];
        parameters.extend(attributes);
        self.call("Subscribe", &parameters)
    }

    #[track_caller]
    pub(crate) fn set_subscription(
        &mut self,
        topic: &str,
        subscription: &str,
        attributes: &[(&str, &str)],
    ) -> Answer {
        let mut parameters = vec![("topicName", topic), ("subscriptionName", subscription)];
        parameters.extend(attributes);
        self.call("SetSubscriptionAttributes", &parameters)
    }

    #[track_caller]
    pub(crate) fn subscription(&mut self, topic: &str, subscription: &str) -> Answer {
        let parameters = [("topicName", topic), ("subscriptionName", subscription)];
        self.call("GetSubscriptionAttributes", &parameters).done()
    }

    /// Everything that can be seen of a subscription, for before and after.
    #[track_caller]
    pub(crate) fn subscription_picture(
        &mut self,
        topic: &str,
        subscription: &str,
    ) -> Map<String, Value> {
        self.subscription(topic, subscription).fields()
    }

    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, topic: &str, subscription: &str) -> Answer {
        let parameters = [("topicName", topic), ("subscriptionName", subscription)];
        self.call("Unsubscribe", &parameters)
    }

    /// The names of a topic's subscriptions.
    #[track_caller]
    pub(crate) fn subscriptions(&mut self, topic: &str) -> Vec<String> {
        let listed = self
            .call("ListSubscriptionByTopic", &[("topicName", topic)])
            .done();
        listed.texts("subscriptionList", "subscriptionName")
    }

    /// Publishes a message without labels; its id.
    #[track_caller]
    pub(crate) fn publish(&mut self, topic: &str, body: &str) -> String {
        let answer = self.publish_with(topic, body, &[]).done();
        answer.text("msgId").to_owned()
    }

    #[track_caller]
    pub(crate) fn publish_with(
        &mut self,
        topic: &str,
        body: &str,
        labels: &[(&str, &str)],
    ) -> Answer {
        let mut parameters = vec![("topicName", topic), ("msgBody", body)];
        parameters.extend(labels);
        self.call("PublishMessage", &parameters)
    }

    #[track_caller]
    pub(crate) fn batch_publish(
        &mut self,
        topic: &str,
        bodies: &[&str],
        labels: &[(&str, &str)],
    ) -> Answer {
        let named = numbered("msgBody", bodies);
        let mut parameters = vec![("topicName", topic)];
        parameters.extend(borrowed(&named));
        parameters.extend(labels);
        self.call("BatchPublishMessage", &parameters)
    }

    /// The bodies of so many messages that are on their way to a queue, in their order; deletes them.
    #[track_caller]
    pub(crate) fn arrived(&mut self, queue: &str, count: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        while bodies.len() < count {
            let received = self.receive_due(queue);
            self.delete(queue, received.text("receiptHandle")).done();
            bodies.push(received.text("msgBody").to_owned());
        }
        bodies
    }
}
