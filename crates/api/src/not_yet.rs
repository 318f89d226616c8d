//! The answers to requests in dialects that are recognised and that nobody translates yet, each in a form that its
//! clients can show. None asks a client to try again.

use anser_broker::context::RequestId;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::dialect::Dialect;

/// An answer as HTTP shall have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotYet {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// The header from which clients of SQS in JSON take the code of an error.
    pub(crate) query_error: Option<&'static str>,
    pub(crate) body: Bytes,
}

const JSON: &str = "application/json";
const AMZ_JSON: &str = "application/x-amz-json-1.0";
const XML: &str = "text/xml";

/// To a request in a dialect; nothing if it is one that is spoken.
pub(crate) fn answer(dialect: Dialect, request: RequestId) -> Option<NotYet> {
    match dialect {
        Dialect::Cmq => None,
        Dialect::CmqThree => Some(NotYet {
            status: 200,
            content_type: JSON,
            query_error: None,
            body: text(&json!({"Response": {
                "Error": {
                    "Code": "UnsupportedOperation",
                    "Message": "API 3.0 is not supported yet",
                },
                "RequestId": request.to_string(),
            }})),
        }),
        Dialect::SqsJson => Some(NotYet {
            status: 400,
            content_type: AMZ_JSON,
            query_error: Some("AWS.SimpleQueueService.UnsupportedOperation;Sender"),
            body: text(&json!({
                "__type": "com.amazonaws.sqs#UnsupportedOperation",
                "message": "this server does not speak Amazon SQS yet",
            })),
        }),
        Dialect::SqsQuery => Some(xml(&format!(
            "<?xml version=\"1.0\"?>\
             <ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><Error><Type>Sender</Type>\
             <Code>AWS.SimpleQueueService.UnsupportedOperation</Code>\
             <Message>this server does not speak Amazon SQS yet</Message><Detail/></Error>\
             <RequestId>{request}</RequestId></ErrorResponse>"
        ))),
        Dialect::Sns => Some(xml(&format!(
            "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
             <Code>InvalidAction</Code><Message>this server does not speak Amazon SNS yet</Message></Error>\
             <RequestId>{request}</RequestId></ErrorResponse>"
        ))),
    }
}

/// To an action, named as those of SQS in JSON are, of a service that will not be here.
pub(crate) fn other_service() -> NotYet {
    NotYet {
        status: 400,
        content_type: AMZ_JSON,
        query_error: Some("InvalidAction;Sender"),
        body: text(&json!({
            "__type": "com.amazon.coral.service#UnknownOperationException",
            "message": "this server has no such service",
        })),
    }
}

fn text(json: &Value) -> Bytes {
    json.to_string().into()
}

fn xml(text: &str) -> NotYet {
    NotYet {
        status: 400,
        content_type: XML,
        query_error: None,
        body: Bytes::copy_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_that_is_not_spoken_has_an_answer_in_its_own_form() {
        let said = |dialect| {
            let answer = answer(dialect, RequestId(7)).expect("it is not spoken");
            let body = String::from_utf8(answer.body.to_vec()).unwrap();
            (answer.status, answer.content_type, body)
        };
        let (status, kind, body) = said(Dialect::CmqThree);
        assert_eq!((status, kind), (200, "application/json"));
        assert_eq!(
            body,
            r#"{"Response":{"Error":{"Code":"UnsupportedOperation","Message":"API 3.0 is not supported yet"},"RequestId":"7"}}"#
        );
        let (status, kind, body) = said(Dialect::SqsJson);
        assert_eq!((status, kind), (400, "application/x-amz-json-1.0"));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["__type"], "com.amazonaws.sqs#UnsupportedOperation");
        for (dialect, code) in [
            (
                Dialect::SqsQuery,
                "AWS.SimpleQueueService.UnsupportedOperation",
            ),
            (Dialect::Sns, "InvalidAction"),
        ] {
            let (status, kind, body) = said(dialect);
            assert_eq!((status, kind), (400, "text/xml"));
            assert!(body.contains(&format!("<Code>{code}</Code>")), "{body}");
            assert!(
                body.ends_with("<RequestId>7</RequestId></ErrorResponse>"),
                "{body}"
            );
        }
        assert_eq!(answer(Dialect::Cmq, RequestId(7)), None);
    }
}
