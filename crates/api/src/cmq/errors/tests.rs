//! The words of errors.

use anser_broker::version::ClusterVersion;

use super::*;

/// Module codes that CMQ uses twice, once for queues and once for topics.
const USED_TWICE: [u16; 7] = [10470, 10660, 10680, 10700, 10710, 10720, 10730];

#[test]
fn module_codes_are_used_twice_only_where_the_vendor_does() {
    let mut uses = std::collections::BTreeMap::<u16, Vec<Fault>>::new();
    for fault in Fault::ALL {
        uses.entry(fault.module()).or_default().push(*fault);
    }
    uses.retain(|_, faults| faults.len() > 1);
    assert!(uses.values().all(|faults| faults.len() == 2));
    let twice: Vec<_> = uses.into_keys().collect();
    assert_eq!(twice, USED_TWICE);
}

#[test]
fn each_fault_has_its_own_text_and_name() {
    let texts: std::collections::BTreeSet<_> = Fault::ALL.iter().map(|it| it.text()).collect();
    assert_eq!(texts.len(), Fault::ALL.len());
    let names: std::collections::BTreeSet<_> = Fault::ALL.iter().map(|it| it.name()).collect();
    assert_eq!(names.len(), Fault::ALL.len());
}

#[test]
fn faults_stand_at_their_number_in_the_list() {
    for (number, fault) in Fault::ALL.iter().enumerate() {
        assert_eq!(*fault as usize, number);
    }
}

#[test]
fn messages_are_the_vendors_word_for_word() {
    let message = |fault: Fault| Refusal::from(fault).to_string();
    assert_eq!(message(Fault::NoMessage), "(10200)no message");
    assert_eq!(
        message(Fault::ReceiptInvalid),
        "(10260)receipt handle is invalid"
    );
    assert_eq!(
        message(Fault::PolicyKind),
        "(10770)the deadLetterPolicy must has policy member , only set 0 or 1"
    );
    let unknown = Refusal::about(Fault::NoSuchAction, b"CreateTopic");
    assert_eq!(
        unknown.to_string(),
        "(10430)action name CreateTopic is not existed"
    );
}

#[test]
fn a_version_that_is_needed_is_named() {
    let refusal = Refusal::from(Error::NeedsVersion(ClusterVersion(3)));
    assert_eq!(
        refusal.to_string(),
        "(10900)not until every node of the cluster runs version 3"
    );
}

#[test]
fn what_a_client_said_is_repeated_only_in_part() {
    let long = Refusal::about(Fault::NoSuchAction, &[b'x'; 10_000]);
    assert!(long.to_string().len() < 128);
    let odd = Refusal::about(Fault::NoSuchAction, b"\xff\r\n");
    assert!(odd.to_string().contains('\u{fffd}'));
}

#[test]
fn each_refusal_of_the_core_has_a_code() {
    for (error, code, module) in [
        (Error::NoSuchQueue, 4440, 10100),
        (Error::QueueExists, 4460, 10210),
        (Error::QueueRecentlyDeleted, 6040, 10660),
        (Error::TooManyQueues, 4450, 10220),
        (Error::NoSuchDeadLetterQueue, 4000, 10730),
        (Error::DeadLetterNested, 4000, 10740),
        (Error::TooManyDeadLetterSources, 4000, 10780),
        (Error::IsDeadLetterQueue, 4000, 10750),
        (Error::DeadLetterAgeTooLong, 4000, 10720),
        (Error::AttributeOutOfRange, 4000, 10110),
        (Error::RewindLongerThanRetention, 4000, 10700),
        (Error::BodyEmpty, 4000, 10120),
        (Error::BodyTooLarge, 4400, 10230),
        (Error::BatchSize, 4470, 10300),
        (Error::DelayTooLong, 4000, 10692),
        (Error::BacklogFull, 4410, 10240),
        (Error::TooManyDelayed, 6070, 10690),
        (Error::TooManyInFlight, 6070, 10690),
        (Error::ReceiptInvalid, 4430, 10260),
        (Error::NotRewindable, 6050, 10670),
        (Error::RewindOutOfRange, 4000, 10680),
        (Error::NoSuchTopic, 4440, 10600),
        (Error::TopicExists, 4460, 10550),
        (Error::TopicRecentlyDeleted, 6040, 10660),
        (Error::TooManyTopics, 4450, 10610),
        (Error::TopicHasSubscriptions, 4000, 10540),
        (Error::NoSuchSubscription, 4000, 10560),
        (Error::SubscriptionExists, 4490, 10470),
        (Error::TooManySubscriptions, 4500, 10480),
        (Error::NoSuchEndpointQueue, 4440, 10100),
        (Error::FormatNotForQueues, 4000, 10640),
        (Error::RoutingKeyMissing, 4000, 10700),
        (Error::BindingKeyMissing, 4000, 10710),
        (Error::NoSubscription, 6030, 10650),
        (Error::NoSubscriptionMatches, 6030, 10730),
        (Error::NeedsVersion(ClusterVersion(2)), 4000, 10900),
        (Error::Busy, 4420, 10250),
        (Error::StorageFull, 6000, 10090),
        (Error::Unknown, 6000, 10050),
        (Error::Unavailable, 6000, 10050),
    ] {
        let fault = Fault::from(error);
        assert_eq!((fault.code(), fault.module()), (code, module), "{error:?}");
    }
}
