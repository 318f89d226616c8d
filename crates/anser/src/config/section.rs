//! A part of the configuration, declared once: type, default, range and explanation.
//!
//! The macro is what lets a doc comment be both the field's documentation in the code and its text
//! in `docs/configuration.md`.

use anyhow::Result;

use super::value::{Field, Value};
use crate::exit::Exit;

macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $section:ident {
            $(
                $(#[doc = $field_about:literal])*
                $field:ident: $kind:ty = $default:expr $(, $smallest:expr => $largest:expr)?;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $section {
            $(
                $(#[doc = $field_about])*
                pub $field: $kind,
            )*
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $section {
            pub(super) const ABOUT: &'static [&'static str] = &[$($about),*];

            pub(super) fn fields() -> Vec<$crate::config::value::Field> {
                let defaults = Self::default();
                vec![$(
                    $crate::config::section::field(
                        stringify!($field),
                        &[$($field_about),*],
                        &defaults.$field,
                        [$(($smallest, $largest))?].first().copied(),
                    ),
                )*]
            }

            /// Fails with what is out of its range and what to write instead.
            pub(super) fn check_ranges(&self, name: &str) -> anyhow::Result<()> {
                // A section without ranges has no use for its name.
                let _ = name;
                $($(
                    $crate::config::section::check_range(
                        name, stringify!($field), &self.$field, ($smallest, $largest),
                    )?;
                )?)*
                Ok(())
            }
        }
    };
}

pub(super) use section;

pub(super) fn field<V: Value>(
    name: &'static str,
    about: &'static [&'static str],
    default: &V,
    range: Option<(u64, u64)>,
) -> Field {
    Field {
        name,
        about,
        kind: V::KIND,
        default: default.literal(),
        range: range.map(|(smallest, largest)| (V::show(smallest), V::show(largest))),
    }
}

pub(super) fn check_range<V: Value>(
    section: &str,
    field: &str,
    value: &V,
    (smallest, largest): (u64, u64),
) -> Result<()> {
    match value.number() {
        Some(number) if !(smallest..=largest).contains(&number) => {
            let place = if section.is_empty() { "" } else { "." };
            Err(Exit::Configuration.error(format!(
                "{section}{place}{field} is {}: choose {} to {}",
                V::show(number),
                V::show(smallest),
                V::show(largest),
            )))
        }
        _ => Ok(()),
    }
}
