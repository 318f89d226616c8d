//! Refuses parameters that somebody could have re-cut from another request under its signature.
//!
//! The signed text joins `name=value` with `&` and escapes nothing, so a value `x&y=1` signs like a
//! value `x` and a parameter `y`. Message bodies must be free to hold `&`. The rules here make sure
//! that of all the parameter sets with one signed text at most one is accepted; the reasoning is in
//! `docs/dialects/cmq.md`.

use super::{
    errors::{Fault, Refusal},
    parameters::is_named,
};
use crate::codec::form::Form;

const BODY: &[u8] = b"msgBody";
/// The only parameter other than a body that may come after a body in the signed order.
const LAST: &[u8] = b"queueName";

pub(super) fn check(form: &Form) -> Result<(), Refusal> {
    let mut previous: Option<&[u8]> = None;
    let mut after_body = false;
    let has_list = form.pairs().any(|(name, _)| is_body_member(name));
    for (name, value) in form.pairs() {
        if previous == Some(name) {
            return Err(Refusal::about(Fault::NotRepeatable, name));
        }
        previous = Some(name);
        if name.iter().any(|byte| matches!(byte, b'&' | b'=')) {
            return Err(Refusal::about(Fault::KeyFormat, name));
        }
        if has_list && is_named(name, BODY) {
            return Err(Refusal::about(Fault::NoSuchParameter, name));
        }
        if is_named(name, BODY) || is_body_member(name) {
            after_body = true;
            if has_list && holds_member(value) {
                return Err(Refusal::about(Fault::ParametersInvalid, name));
            }
        } else if after_body && !is_named(name, LAST) {
            return Err(Refusal::about(Fault::NoSuchParameter, name));
        } else if memchr::memchr(b'&', value).is_some() {
            return Err(Refusal::about(Fault::ParametersInvalid, name));
        }
    }
    Ok(())
}

fn is_body_member(name: &[u8]) -> bool {
    let rest = name.trim_ascii().strip_prefix(BODY);
    rest.is_some_and(|rest| matches!(rest.first(), Some(b'.' | b'_')))
}

/// Whether a body holds what would be the beginning of another body: `&`, a member's name and `=`.
fn holds_member(body: &[u8]) -> bool {
    memchr::memchr_iter(b'&', body).any(|place| begins_member(&body[place + 1..]))
}

fn begins_member(text: &[u8]) -> bool {
    let Some(rest) = text.trim_ascii_start().strip_prefix(BODY) else {
        return false;
    };
    // Names are signed with dots for underscores.
    let Some((b'.' | b'_', index)) = rest.split_first() else {
        return false;
    };
    let digits = index
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    digits > 0 && index[digits..].trim_ascii_start().starts_with(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(form: &str) -> Option<Fault> {
        let form = Form::parse(form.to_owned().into()).unwrap();
        check(&form).err().map(|refusal| refusal.fault)
    }

    #[test]
    fn bodies_may_hold_what_they_like() {
        assert_eq!(
            fault("a=1&msgBody=x%26y%3D1%26queueName%3Db&queueName=q"),
            None
        );
        assert_eq!(fault("msgBody.0=x%26y%3D1&msgBody.1=%26&queueName=q"), None);
        assert_eq!(fault("msgBody=a%26msgBody.1%3Db&queueName=q"), None);
    }

    #[test]
    fn a_cut_off_tail_of_a_body_is_no_parameter() {
        assert_eq!(
            fault("msgBody=x&page=2&queueName=q"),
            Some(Fault::NoSuchParameter)
        );
        assert_eq!(
            fault("msgBody=x&queueName=a&queueName=b"),
            Some(Fault::NotRepeatable)
        );
        assert_eq!(
            fault("msgBody=x&queueName=a%26queueName%3Db"),
            Some(Fault::ParametersInvalid)
        );
    }

    #[test]
    fn members_of_a_batch_are_not_merged() {
        for merged in [
            "a%26msgBody.2%3Db",
            "a%26msgBody_2%3Db",
            "a%26msgBody.12%20%3Db",
            "%26%20msgBody.2%3D",
            "a%26msgBody.%26msgBody.2%3Db",
        ] {
            assert_eq!(
                fault(&format!("msgBody.1={merged}&queueName=q")),
                Some(Fault::ParametersInvalid),
                "{merged}"
            );
        }
    }

    #[test]
    fn what_only_resembles_a_member_may_stand_in_a_batch() {
        for body in [
            "a%26msgBody.",
            "see%20%26msgBody.length%3D3",
            "%26msgBody.2",
            "%26msgBody.2x%3D",
            "%26msgBody%3Dx",
            "%26msgBody-2%3D",
            "msgBody.2%3Dx",
        ] {
            let form = format!("msgBody.1={body}&queueName=q");
            assert_eq!(fault(&form), None, "{body}");
        }
    }

    #[test]
    fn a_single_body_beside_those_of_a_batch_is_refused() {
        // Signed like one member ` msgBody.1` with the value `a&msgBody=b`.
        assert_eq!(
            fault("%20msgBody.1=a&msgBody=b&queueName=q"),
            Some(Fault::NoSuchParameter)
        );
    }

    #[test]
    fn an_optional_parameter_does_not_hide_in_another() {
        assert_eq!(
            fault("clientRequestId=1%26delaySeconds%3D5&msgBody=x&queueName=q"),
            Some(Fault::ParametersInvalid)
        );
        assert_eq!(
            fault("clientRequestId%3D1%26delaySeconds=5&msgBody=x&queueName=q"),
            Some(Fault::KeyFormat)
        );
    }
}
