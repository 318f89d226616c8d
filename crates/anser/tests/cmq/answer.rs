//! One answer of the API: its envelope is checked in every test, and refusals are compared word for
//! word.

use std::ops::Index;

use serde_json::{Map, Value};

use super::connection::Response;

/// A code and a message, module code included.
pub(crate) type Refusal = (i64, &'static str);

pub(crate) const NO_MESSAGE: Refusal = (7000, "(10200)no message");
pub(crate) const NO_QUEUE: Refusal = (4440, "(10100)queue is not existed, or deleted");
pub(crate) const NO_TOPIC: Refusal = (4440, "(10600)topic is not existed, or deleted");
pub(crate) const NO_SUBSCRIPTION: Refusal = (4000, "(10560)subscription is not existed");
pub(crate) const NO_MATCH: Refusal = (
    6030,
    "(10730)no bindingKey or filterTag matches the routingKey or msgTag",
);
pub(crate) const BAD_RECEIPT: Refusal = (4430, "(10260)receipt handle is invalid");
pub(crate) const BAD_SIGNATURE: Refusal = (4100, "(10030)authentication failed");

pub(crate) fn missing(name: &str) -> (i64, String) {
    (4000, format!("(10390)lacked of required parameter {name}"))
}

pub(crate) fn wrong_type(name: &str) -> (i64, String) {
    (4000, format!("(10360)parameter {name} error type"))
}

pub(crate) fn out_of_range(name: &str) -> (i64, String) {
    let text = format!("(10350)parameter {name} value or length is out of range");
    (4000, text)
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    members: Map<String, Value>,
}

impl Answer {
    /// Checks what holds for every answer: C5, C6, C7 and the type of the content.
    #[track_caller]
    pub(crate) fn new(response: &Response) -> Self {
        let text = String::from_utf8_lossy(&response.body);
        assert_eq!(response.status, 200, "{text}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("content-encoding"), None);
        let Ok(Value::Object(members)) = serde_json::from_slice(&response.body) else {
            panic!("no JSON object: {text}");
        };
        assert!(members["code"].is_u64(), "{text}");
        assert!(members["message"].is_string(), "{text}");
        let request = members["requestId"].as_str().expect("requestId is text");
        assert!(
            !request.is_empty() && request.bytes().all(|byte| byte.is_ascii_digit()),
            "{text}"
        );
        Self { members }
    }

    pub(crate) fn code(&self) -> i64 {
        self.members["code"].as_i64().unwrap()
    }

    pub(crate) fn message(&self) -> &str {
        self.text("message")
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!((self.code(), self.message()), (0, ""), "{:?}", self.members);
        self
    }

    /// Asserts a refusal.
    #[track_caller]
    pub(crate) fn refused(self, (code, message): (i64, impl AsRef<str>)) -> Self {
        let found = (self.code(), self.message());
        assert_eq!(found, (code, message.as_ref()), "{:?}", self.members);
        self
    }

    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> &str {
        let text = self.members.get(name).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no text {name} in {:?}", self.members))
    }

    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        let number = self.members.get(name).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no number {name} in {:?}", self.members))
    }

    #[track_caller]
    pub(crate) fn list(&self, name: &str) -> &[Value] {
        let list = self.members.get(name).and_then(Value::as_array);
        list.unwrap_or_else(|| panic!("no list {name} in {:?}", self.members))
    }

    /// The texts of one member of each object in a list.
    #[track_caller]
    pub(crate) fn texts(&self, list: &str, member: &str) -> Vec<String> {
        let objects = self.list(list).iter();
        let texts = objects.map(|object| object[member].as_str().unwrap().to_owned());
        texts.collect()
    }

    /// What is not the envelope.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let mut fields = self.members.clone();
        for name in ["code", "message", "codeDesc", "requestId"] {
            fields.remove(name);
        }
        fields
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.members.get(name).unwrap_or(&Value::Null)
    }
}
