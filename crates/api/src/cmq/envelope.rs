//! What every answer holds around its own fields.
//!
//! One JSON object: `code`, `message`, `codeDesc` and `requestId`, then the fields of the action.

use std::io::{self, Write};

use anser_broker::context::RequestId;
use bytes::Bytes;
use serde::Serialize;

use super::{
    errors::{Failure, Fault, Refusal},
    number::{Number, number},
    parameters,
};
use crate::codec::form::Form;

/// Bytes of most answers.
const USUAL_BYTES: usize = 512;

/// What an answer says about its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope {
    request: RequestId,
    /// The client's own number, repeated.
    client_request: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    code: u16,
    message: &'a str,
    code_desc: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_request_id: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failures<'a> {
    #[serde(skip_serializing_if = "<[Failure]>::is_empty")]
    error_list: &'a [Failure],
}

impl Envelope {
    pub(crate) fn new(request: RequestId) -> Self {
        Self {
            request,
            client_request: None,
        }
    }

    /// With the client's number, if it gave one.
    pub(crate) fn answering(self, form: &Form) -> Self {
        let place = parameters::find(form, "clientRequestId").ok().flatten();
        let client_request = match place.and_then(|place| number(form.value(place))) {
            Some(Number::Positive(number)) => Some(number),
            _ => None,
        };
        Self {
            client_request,
            ..self
        }
    }

    pub(crate) fn success(&self, fields: &impl Serialize) -> Vec<u8> {
        self.write(Fault::Success, "", fields)
    }

    pub(crate) fn refusal(&self, refusal: &Refusal) -> Bytes {
        let failures = Failures {
            error_list: &refusal.failures,
        };
        self.write(refusal.fault, &refusal.to_string(), &failures)
            .into()
    }

    fn write(&self, fault: Fault, message: &str, fields: &impl Serialize) -> Vec<u8> {
        let mut digits = itoa::Buffer::new();
        let head = Head {
            code: fault.code(),
            message,
            code_desc: fault.name(),
            request_id: digits.format(self.request.0),
            client_request_id: self.client_request,
        };
        let mut json = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut json, &head).expect("answers have only text keys");
        let end = json.len() - 1;
        let rest = Continued {
            json: &mut json,
            begun: false,
        };
        serde_json::to_writer(rest, fields).expect("answers have only text keys");
        // Two objects become one: `}{` turned into a comma, which goes if the second is empty.
        if json[end..] == *b",}" {
            json.remove(end);
        }
        json
    }
}

/// Writes an object as more fields of the one that stands there.
struct Continued<'a> {
    json: &'a mut Vec<u8>,
    begun: bool,
}

impl Write for Continued<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let mut rest = piece;
        if !self.begun
            && let Some((b'{', others)) = piece.split_first()
        {
            self.begun = true;
            self.json.pop();
            self.json.push(b',');
            rest = others;
        }
        self.json.extend_from_slice(rest);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fields {
        answer: u8,
    }

    fn text(json: &[u8]) -> &str {
        std::str::from_utf8(json).unwrap()
    }

    #[test]
    fn fields_follow_the_head_in_one_object() {
        let form = Form::parse("clientRequestId=12".into()).unwrap();
        let envelope = Envelope::new(RequestId(7)).answering(&form);
        assert_eq!(
            text(&envelope.success(&Fields { answer: 42 })),
            r#"{"code":0,"message":"","codeDesc":"Success","requestId":"7","clientRequestId":12,"answer":42}"#
        );
    }

    #[test]
    fn a_refusal_says_code_module_and_text() {
        let refusal = Refusal::from(Fault::NoMessage);
        assert_eq!(
            text(&Envelope::new(RequestId(7)).refusal(&refusal)),
            r#"{"code":7000,"message":"(10200)no message","codeDesc":"NoMessage","requestId":"7"}"#
        );
    }

    #[test]
    fn a_client_number_that_is_none_is_not_repeated() {
        let form = Form::parse("clientRequestId=x".into()).unwrap();
        let json = Envelope::new(RequestId(7))
            .answering(&form)
            .success(&Failures { error_list: &[] });
        assert!(!text(&json).contains("clientRequestId"));
    }
}
