//! What a push looks like: its headers and the two formats of its body.

use anser_broker::{
    attributes::BodyFormat,
    labels::{Labels, Tag},
    outboxes::{PendingDelivery, Subscriber},
    time::Timestamp,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
};
use serde::Serialize;

use crate::{connection::Body, endpoint::Endpoint, signature};

/// The body in the format JSON. The names are CMQ's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'message> {
    #[serde(rename = "TopicOwner")]
    topic_owner: u64,
    topic_name: &'message str,
    subscription_name: &'message str,
    msg_id: String,
    msg_body: &'message str,
    /// In seconds.
    publish_time: u64,
}

/// One attempt to push one message.
#[derive(Debug)]
pub(crate) struct Attempt<'attempt> {
    pub(crate) subscriber: &'attempt Subscriber,
    pub(crate) delivery: &'attempt PendingDelivery,
    /// New for each attempt.
    pub(crate) request_id: u64,
    pub(crate) now: Timestamp,
}

impl Attempt<'_> {
    pub(crate) fn request(
        &self,
        endpoint: &Endpoint,
        signing_key: Option<&[u8; 32]>,
    ) -> Request<Body> {
        let body = self.body();
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(endpoint.path.clone());
        let headers = request.headers_mut();
        self.put_headers(headers, endpoint);
        if let Some(key) = signing_key {
            self.put_signature(headers, key, &body);
        }
        request
    }

    fn body(&self) -> Bytes {
        let (subscriber, delivery) = (self.subscriber, self.delivery);
        match subscriber.format {
            BodyFormat::Simplified => delivery.body.clone(),
            BodyFormat::Json => serde_json::to_vec(&Envelope {
                topic_owner: subscriber.account.0,
                topic_name: subscriber.topic.as_str(),
                subscription_name: subscriber.name.as_str(),
                msg_id: delivery.message.to_string(),
                msg_body: &String::from_utf8_lossy(&delivery.body),
                publish_time: delivery.published.seconds(),
            })
            .expect("texts and numbers can be written as JSON")
            .into(),
        }
    }

    fn put_headers(&self, headers: &mut HeaderMap, endpoint: &Endpoint) {
        // Hosts are ASCII, so that this one always is a value.
        if let Ok(host) = HeaderValue::from_str(&endpoint.authority) {
            headers.insert(HOST, host);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static("Qcloud Notification Service Agent"),
        );
        headers.insert("x-cmq-request-id", self.request_id.into());
        headers.insert("x-cmq-message-id", self.delivery.message.number().into());
        if let Some(tags) = tags(&self.delivery.labels) {
            headers.insert("x-cmq-message-tag", tags);
        }
    }

    fn put_signature(&self, headers: &mut HeaderMap, key: &[u8; 32], body: &[u8]) {
        let (id, seconds) = (self.delivery.message.number(), self.now.seconds());
        let signature = signature::sign(key, self.subscriber.subscription, id, seconds, body);
        headers.insert("webhook-id", id.into());
        headers.insert("webhook-timestamp", seconds.into());
        if let Ok(signature) = HeaderValue::from_str(&signature) {
            headers.insert("webhook-signature", signature);
        }
    }
}

/// Tags hold no control characters, so that they always are a value.
fn tags(labels: &Labels) -> Option<HeaderValue> {
    if labels.tags.is_empty() {
        return None;
    }
    let tags: Vec<&str> = labels.tags.iter().map(Tag::as_str).collect();
    HeaderValue::from_bytes(tags.join(", ").as_bytes()).ok()
}
