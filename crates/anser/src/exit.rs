//! How a run ended, as a number for scripts and service managers (`docs/operations.md`).
//!
//! An error carries its code as context; one without is [`Exit::Failed`].

use std::{fmt, process::ExitCode};

/// The reason for the exit code. The numbers are those of `sysexits.h` where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The server refused the request, or anything without a code of its own.
    Failed = 1,
    /// Stored data is damaged.
    Damaged = 65,
    /// The server cannot be reached, or its answer never came; or the others of a cluster were not, when a node began.
    Unreachable = 69,
    /// A write or fsync of the storage failed and the node stopped.
    Storage = 74,
    /// Something is in use that may be free later: the data directory, an address, or a node's place in its
    /// cluster.
    InUse = 75,
    /// The data directory is an old copy of a node's, which the cluster does not let in again.
    FormerStart = 76,
    /// A secret file can be read by others, or not by us.
    Permission = 77,
    /// The configuration or an argument is wrong.
    Configuration = 78,
}

impl Exit {
    /// What another process meant that ended with this code; [`Exit::Failed`] if it is none of these.
    pub fn of_code(code: i32) -> Self {
        let all = [
            Self::Damaged,
            Self::Unreachable,
            Self::Storage,
            Self::InUse,
            Self::FormerStart,
            Self::Permission,
            Self::Configuration,
        ];
        let meant = all.into_iter().find(|exit| i32::from(*exit as u8) == code);
        meant.unwrap_or(Self::Failed)
    }

    /// The code that an error carries.
    pub fn of(error: &anyhow::Error) -> Self {
        error
            .downcast_ref::<Reason>()
            .map_or(Self::Failed, |reason| reason.exit)
    }

    /// An error with this code.
    pub fn error(self, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(self.reason(message))
    }

    /// A context that gives an error this code.
    pub fn reason(self, message: impl Into<String>) -> Reason {
        Reason {
            exit: self,
            message: message.into(),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// What went wrong, with the code it ends the process with.
#[derive(Debug)]
pub struct Reason {
    exit: Exit,
    message: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_code_is_found_below_further_context() {
        let error = Exit::InUse.error("the address is taken");
        assert_eq!(Exit::of(&error.context("cannot start")), Exit::InUse);
        let cause: Result<(), _> = Err(std::io::Error::other("deep"));
        let error = cause.context(Exit::Storage.reason("disk")).unwrap_err();
        assert_eq!(Exit::of(&error.context("stopped")), Exit::Storage);
        assert_eq!(Exit::of(&anyhow::anyhow!("plain")), Exit::Failed);
    }

    #[test]
    fn the_code_of_another_process_is_understood() {
        assert_eq!(Exit::of_code(75), Exit::InUse);
        assert_eq!(Exit::of_code(2), Exit::Failed);
    }
}
