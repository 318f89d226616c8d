//! Errors on request.

use std::io;

/// Where an error may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    Create,
    Read,
    Write,
    /// What of the failed sync is not durable then never is, though a later sync succeeds: so Linux does it.
    Sync,
    SyncDirectory,
    Rename,
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Once,
    Forever,
}

/// An error that an operation on some file is to give.
#[derive(Debug, Clone)]
pub struct Fault {
    pub point: FaultPoint,
    /// Strikes files whose path contains this.
    pub path_part: String,
    /// How many such operations succeed before.
    pub skip: usize,
    pub times: Times,
    pub kind: io::ErrorKind,
}

pub(super) fn strike(faults: &mut Vec<Fault>, point: FaultPoint, path: &str) -> io::Result<()> {
    let concerned = |fault: &Fault| fault.point == point && path.contains(fault.path_part.as_str());
    let Some(place) = faults.iter().position(concerned) else {
        return Ok(());
    };
    let fault = &mut faults[place];
    if fault.skip > 0 {
        fault.skip -= 1;
        return Ok(());
    }
    let kind = fault.kind;
    if fault.times == Times::Once {
        faults.remove(place);
    }
    Err(kind.into())
}
