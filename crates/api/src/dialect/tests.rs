//! Heads and parameters, and whose they are.

use hyper::header::HeaderValue;

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect()
}

fn head(method: &Method, target: &str, pairs: &[(&'static str, &'static str)]) -> Spoken {
    let uri = target.parse().expect("a target");
    of_head(method, &uri, &headers(pairs))
}

fn parameters(form: &str) -> Option<Dialect> {
    let form = Form::parse(form.to_owned().into()).expect("a form");
    of_parameters(&form)
}

const POST: &Method = &Method::POST;
const GET: &Method = &Method::GET;

#[test]
fn the_paths_of_cmq_are_cmqs_whatever_else_a_head_says() {
    for path in [
        "/v2/index.php",
        "//v2/index.php",
        "/v2/index.php/v2/index.php",
    ] {
        let marks = [
            ("x-amz-target", "AmazonSQS.SendMessage"),
            ("x-tc-action", "SendMsg"),
        ];
        assert_eq!(head(POST, path, &marks), Spoken::In(Dialect::Cmq), "{path}");
    }
    assert_eq!(head(GET, "/v2", &[]), Spoken::Nothing);
    assert_eq!(head(GET, "/v2/index.php/", &[]), Spoken::Nothing);
}

#[test]
fn an_action_of_sqs_in_json_is_known_on_every_path_and_one_of_another_service_is_nobodys() {
    for path in ["/", "/000000000000/orders", "/?x=1"] {
        let target = [("x-amz-target", "AmazonSQS.SendMessage")];
        assert_eq!(head(POST, path, &target), Spoken::In(Dialect::SqsJson));
        let other = [("x-amz-target", "DynamoDB_20120810.GetItem")];
        assert_eq!(head(POST, path, &other), Spoken::OtherService);
    }
}

#[test]
fn a_signature_of_version_4_tells_the_service_by_its_scope() {
    for (value, dialect) in [
        (
            "AWS4-HMAC-SHA256 Credential=ID/20231114/eu-west-1/sqs/aws4_request, SignedHeaders=host, Signature=00",
            Dialect::SqsQuery,
        ),
        (
            "AWS4-HMAC-SHA256 Credential=ID/20231114/eu-west-1/sns/aws4_request,SignedHeaders=host,Signature=00",
            Dialect::Sns,
        ),
        (
            "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00, Credential=ID/20231114/x/sns/aws4_request",
            Dialect::Sns,
        ),
    ] {
        let marks = [("authorization", value)];
        for path in ["/", "/000000000000/orders"] {
            assert_eq!(head(POST, path, &marks), Spoken::In(dialect), "{value}");
        }
    }
    for value in [
        "AWS4-HMAC-SHA256 Credential=ID/20231114/eu-west-1/s3/aws4_request, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=ID/sqs, SignedHeaders=host",
        "AWS4-HMAC-SHA256 sqs/aws4_request",
        "Basic c3FzL2F3czRfcmVxdWVzdA==",
    ] {
        let marks = [("authorization", value)];
        assert_eq!(head(POST, "/", &marks), Spoken::ByParameters, "{value}");
        assert_eq!(head(POST, "/a/b", &marks), Spoken::Nothing, "{value}");
    }
}

#[test]
fn a_link_tells_by_its_version_or_by_the_scope_of_its_signature() {
    for (target, dialect) in [
        (
            "/1/q?Action=ReceiveMessage&Version=2012-11-05",
            Dialect::SqsQuery,
        ),
        ("/?Action=Publish&Version=2010-03-31", Dialect::Sns),
        (
            "/1/q?Action=ReceiveMessage&X-Amz-Credential=ID%2F20231114%2Fx%2Fsqs%2Faws4_request&X-Amz-Date=1",
            Dialect::SqsQuery,
        ),
        (
            "/1/q?X-Amz-Credential=ID/20231114/x%2fsqs%2faws4_request",
            Dialect::SqsQuery,
        ),
    ] {
        assert_eq!(head(GET, target, &[]), Spoken::In(dialect), "{target}");
    }
    assert_eq!(head(GET, "/1/q?Action=X&Version=1", &[]), Spoken::Nothing);
}

#[test]
fn on_the_path_that_dialects_share_the_parameters_decide() {
    assert_eq!(head(POST, "/", &[]), Spoken::ByParameters);
    let marked = [("x-tc-action", "SendMsg")];
    assert_eq!(head(POST, "/", &marked), Spoken::In(Dialect::CmqThree));
    for (form, dialect) in [
        ("Action=CreateQueue&SecretId=x", Some(Dialect::Cmq)),
        ("Action=CreateQueue", Some(Dialect::Cmq)),
        (
            "Action=CreateQueue&SecretId=x&Version=2019-03-04",
            Some(Dialect::CmqThree),
        ),
        ("Action=CreateTopic&Version=2010-03-31", Some(Dialect::Sns)),
        (
            "Action=CreateQueue&Version=2012-11-05",
            Some(Dialect::SqsQuery),
        ),
        (
            "Action=CreateQueue&Version=2008-01-01",
            Some(Dialect::SqsQuery),
        ),
        (
            "Action=Publish&X-Amz-Credential=ID%2F20231114%2Fx%2Fsns%2Faws4_request",
            Some(Dialect::Sns),
        ),
        ("x=1", None),
        ("", None),
    ] {
        assert_eq!(parameters(form), dialect, "{form}");
    }
}

#[test]
fn a_method_that_no_dialect_has_is_named_where_a_path_is_known() {
    for target in ["/v2/index.php", "/", "*"] {
        assert_eq!(head(&Method::OPTIONS, target, &[]), Spoken::OtherMethod);
    }
    assert_eq!(head(&Method::PUT, "/other", &[]), Spoken::Nothing);
    let target = [("x-amz-target", "AmazonSQS.SendMessage")];
    assert_eq!(head(&Method::PUT, "/", &target), Spoken::OtherMethod);
}
