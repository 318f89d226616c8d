//! An action's parameters, read by a table of its fields.
//!
//! The order in which mistakes are reported is CMQ's: what is missing, then types, then ranges, then
//! names; within each the order of the table. Whoever holds [`Arguments`] reads values that are
//! known to be right.

use anser_broker::{
    labels::{BindingKey, RoutingKey, Tag},
    name::{QueueName, SubscriptionName, TopicName},
};
use bytes::Bytes;

pub(crate) use self::list::member_index;
use super::{
    errors::{Fault, Refusal},
    limits,
    number::{Number, number},
};
use crate::codec::form::Form;

/// A parameter that an action reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    QueueName,
    /// A queue's name; an empty value is not an absent one.
    QueueNameOrEmpty,
    TopicName,
    SubscriptionName,
    /// UTF-8 of at most so many bytes.
    Text(usize),
    /// An integer from `least` to `most`; another one is refused with `beyond`.
    Integer {
        least: u64,
        most: u64,
        beyond: Fault,
    },
    /// A message.
    Body,
    /// `name.0` or `name.1` and on: messages.
    Bodies,
    /// Any bytes.
    Raw,
    /// `name.0` or `name.1` and on: any bytes.
    RawList,
    /// Any bytes; a URL holds `&`.
    Endpoint,
    /// `name.0` or `name.1` and on: tags; too many are refused with `beyond`.
    Tags {
        beyond: Fault,
    },
    /// A routing key.
    Key,
    /// `name.0` or `name.1` and on: binding keys; too many are refused with `beyond`.
    Keys {
        beyond: Fault,
    },
}

impl Field {
    pub(crate) const fn required(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            required: true,
            kind,
        }
    }

    pub(crate) const fn optional(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            required: false,
            kind,
        }
    }
}

impl Kind {
    pub(crate) const fn integer(least: u64, most: u64) -> Self {
        Self::Integer {
            least,
            most,
            beyond: Fault::OutOfRange,
        }
    }

    pub(crate) fn is_list(self) -> bool {
        self.members().is_some()
    }

    /// Whether values may hold `&`, which divides parameters where they are signed.
    pub(crate) fn is_free(self) -> bool {
        matches!(self, Self::Body | Self::Bodies | Self::Endpoint)
    }

    /// How many members a list may have, and what is said to more.
    fn members(self) -> Option<(usize, Fault)> {
        match self {
            Self::Bodies | Self::RawList => Some((limits::BATCH_MEMBERS, Fault::BatchSize)),
            Self::Tags { beyond } => Some((limits::TAGS, beyond)),
            Self::Keys { beyond } => Some((limits::BINDING_KEYS, beyond)),
            _ => None,
        }
    }
}

/// The values of an action's fields.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    form: &'a Form,
    found: Vec<Found>,
}

type Check = fn(Field, &[u8]) -> Result<(), Refusal>;

/// Where in the form a field's values are: one place, or one for each member of a list.
#[derive(Debug)]
struct Found {
    field: Field,
    places: Places,
}

#[derive(Debug)]
enum Places {
    None,
    One(usize),
    List(Vec<usize>),
}

impl<'a> Arguments<'a> {
    pub(crate) fn read(form: &'a Form, fields: &[Field]) -> Result<Self, Refusal> {
        let mut found = Vec::with_capacity(fields.len());
        let mut members = Vec::new();
        for &field in fields {
            if let Some(bound) = field.kind.members() {
                let listed = list::members(form, field.name)?;
                require(field, !listed.is_empty())?;
                members.push((bound, found.len(), listed));
            }
            let places = match scalar(form, field)? {
                Some(place) => Places::One(place),
                None => Places::None,
            };
            found.push(Found { field, places });
        }
        let mut arguments = Self { form, found };
        for (bound, at, listed) in members {
            let found = &mut arguments.found[at];
            found.places = Places::List(list::ordered(found.field.name, bound, listed)?);
        }
        arguments.check()?;
        Ok(arguments)
    }

    fn check(&self) -> Result<(), Refusal> {
        for check in [check_type, check_range, check_name] as [Check; 3] {
            for found in &self.found {
                for &place in found.places.as_slice() {
                    check(found.field, self.form.value(place))?;
                }
            }
        }
        Ok(())
    }

    /// # Panics
    /// If the action's table has no such field, or the field is optional and absent.
    pub(crate) fn queue_name(&self, name: &str) -> QueueName {
        QueueName::new(self.name(name)).expect("a checked name is a name")
    }

    /// # Panics
    /// As [`Arguments::queue_name`].
    pub(crate) fn topic_name(&self, name: &str) -> TopicName {
        TopicName::new(self.name(name)).expect("a checked name is a name")
    }

    /// # Panics
    /// As [`Arguments::queue_name`].
    pub(crate) fn subscription_name(&self, name: &str) -> SubscriptionName {
        SubscriptionName::new(self.name(name)).expect("a checked name is a name")
    }

    fn name(&self, name: &str) -> &'a str {
        std::str::from_utf8(self.required(name)).expect("a checked name is ASCII")
    }

    pub(crate) fn integer(&self, name: &str) -> Option<u64> {
        match number(self.optional(name)?) {
            Some(Number::Positive(value)) => Some(value),
            _ => unreachable!("a checked integer is a number and not negative"),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let value = self.optional(name)?;
        Some(std::str::from_utf8(value).expect("a checked text is UTF-8"))
    }

    pub(crate) fn raw(&self, name: &str) -> &'a [u8] {
        self.required(name)
    }

    pub(crate) fn raw_if_given(&self, name: &str) -> Option<&'a [u8]> {
        self.optional(name)
    }

    /// Empty if the list is absent.
    pub(crate) fn tags(&self, name: &str) -> Vec<Tag> {
        let texts = self.texts(name);
        texts
            .map(|text| Tag::new(text).expect("a checked tag is a tag"))
            .collect()
    }

    pub(crate) fn routing_key(&self, name: &str) -> Option<RoutingKey> {
        let key = RoutingKey::new(self.text(name)?);
        Some(key.expect("a checked key is a key"))
    }

    /// Empty if the list is absent.
    pub(crate) fn binding_keys(&self, name: &str) -> Vec<BindingKey> {
        let texts = self.texts(name);
        texts
            .map(|text| BindingKey::new(text).expect("a checked key is a key"))
            .collect()
    }

    pub(crate) fn body(&self, name: &str) -> Bytes {
        let &[place] = self.places(name) else {
            unreachable!("a required field is there")
        };
        self.form.share(place)
    }

    pub(crate) fn bodies(&self, name: &str) -> Vec<Bytes> {
        let places = self.places(name).iter();
        places.map(|&place| self.form.share(place)).collect()
    }

    pub(crate) fn raw_list(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.places(name)
            .iter()
            .map(|&place| self.form.value(place))
    }

    fn texts(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let values = self.raw_list(name);
        values.map(|value| std::str::from_utf8(value).expect("a checked text is UTF-8"))
    }

    fn required(&self, name: &str) -> &'a [u8] {
        self.optional(name).expect("a required field is there")
    }

    fn optional(&self, name: &str) -> Option<&'a [u8]> {
        let place = self.places(name).first()?;
        Some(self.form.value(*place))
    }

    fn places(&self, name: &str) -> &[usize] {
        self.found
            .iter()
            .find(|found| found.field.name == name)
            .expect("the action's table has the field")
            .places
            .as_slice()
    }
}

impl Places {
    fn as_slice(&self) -> &[usize] {
        match self {
            Self::None => &[],
            Self::One(place) => std::slice::from_ref(place),
            Self::List(places) => places,
        }
    }
}

/// Whether a parameter came under this name: blanks around it do not count, and since underscores
/// are signed as dots, they are read as dots.
pub(crate) fn is_named(given: &[u8], name: &[u8]) -> bool {
    // Nearly all names differ in length, or agree.
    if given.len() < name.len() {
        return false;
    }
    if given == name {
        return true;
    }
    let given = given.trim_ascii();
    let dotted = |byte: &u8| if *byte == b'_' { b'.' } else { *byte };
    given.len() == name.len() && given.iter().map(dotted).eq(name.iter().copied())
}

/// The place of the parameter of this name.
pub(crate) fn find(form: &Form, name: &str) -> Result<Option<usize>, Refusal> {
    let mut places = form
        .pairs()
        .enumerate()
        .filter(|(_, (given, _))| is_named(given, name.as_bytes()))
        .map(|(place, _)| place);
    let first = places.next();
    match places.next() {
        None => Ok(first),
        Some(_) => Err(Refusal::about(Fault::NotRepeatable, name.as_bytes())),
    }
}

/// The value of a parameter that every request has.
pub(crate) fn common<'a>(form: &'a Form, name: &str) -> Result<&'a [u8], Refusal> {
    match find(form, name)? {
        Some(place) => Ok(form.value(place)),
        None => Err(Refusal::about(Fault::ParameterMissing, name.as_bytes())),
    }
}

fn scalar(form: &Form, field: Field) -> Result<Option<usize>, Refusal> {
    if field.kind.is_list() {
        return Ok(None);
    }
    if let Some(indexed) = list::indexed(form, field.name) {
        return Err(Refusal::about(Fault::NotRepeatable, indexed));
    }
    let found = find(form, field.name)?;
    require(field, found.is_some())?;
    // An empty value is an absent one, unless there must be one: then it is a wrong one.
    let may_be_empty = field.required || field.kind == Kind::QueueNameOrEmpty;
    Ok(found.filter(|&place| may_be_empty || !form.value(place).is_empty()))
}

fn require(field: Field, present: bool) -> Result<(), Refusal> {
    if present || !field.required {
        return Ok(());
    }
    Err(Refusal::about(
        Fault::ParameterMissing,
        field.name.as_bytes(),
    ))
}

fn check_type(field: Field, value: &[u8]) -> Result<(), Refusal> {
    let fault = match field.kind {
        Kind::Integer { .. } if number(value).is_none() => Fault::WrongType,
        Kind::Text(_)
        | Kind::Body
        | Kind::Bodies
        | Kind::Tags { .. }
        | Kind::Key
        | Kind::Keys { .. }
            if std::str::from_utf8(value).is_err() =>
        {
            Fault::Unparsable
        }
        _ => return Ok(()),
    };
    Err(Refusal::about(fault, field.name.as_bytes()))
}

fn check_range(field: Field, value: &[u8]) -> Result<(), Refusal> {
    let fault = match field.kind {
        Kind::Integer {
            least,
            most,
            beyond,
        } => match number(value) {
            Some(Number::Positive(value)) if (least..=most).contains(&value) => return Ok(()),
            _ => beyond,
        },
        Kind::Text(bytes_max) if value.len() > bytes_max => Fault::OutOfRange,
        Kind::Body | Kind::Bodies if value.is_empty() => Fault::BodyEmpty,
        Kind::Tags { .. } if !label::is_tag(value) => Fault::OutOfRange,
        Kind::Key | Kind::Keys { .. } => match label::check_key(value) {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        },
        _ => return Ok(()),
    };
    Err(Refusal::about(fault, field.name.as_bytes()))
}

fn check_name(field: Field, value: &[u8]) -> Result<(), Refusal> {
    let fault = match field.kind {
        Kind::QueueNameOrEmpty if value.is_empty() => return Ok(()),
        Kind::QueueName | Kind::QueueNameOrEmpty => Fault::QueueNameFormat,
        Kind::TopicName => Fault::TopicNameFormat,
        Kind::SubscriptionName => Fault::SubscriptionNameFormat,
        _ => return Ok(()),
    };
    if is_name(value) {
        Ok(())
    } else {
        Err(fault.into())
    }
}

/// One rule for the names of queues, topics and subscriptions.
pub(crate) fn is_name(value: &[u8]) -> bool {
    value.len() <= limits::NAME_CHARACTERS
        && std::str::from_utf8(value).is_ok_and(|text| QueueName::new(text).is_ok())
}

mod label;
mod list;
#[cfg(test)]
mod tests;
