//! Operations of a disk that fail: the node ends, and is started again on the same disk.

use anser_log::disk::simulated::{self, FaultPoint, Times};

use super::World;
use crate::{plan::Fault, process::Stop};

impl World {
    /// Some operation of a node's disk will fail, once or from then on for as long as its process lives. Of what failed
    /// a part may have happened all the same.
    pub(super) fn fail_io(&mut self, fault: Fault, number: u64) {
        let point = match fault {
            Fault::ReadError => FaultPoint::Read,
            Fault::WriteError => FaultPoint::Write,
            Fault::RenameError => FaultPoint::Rename,
            Fault::DirectorySyncError => FaultPoint::SyncDirectory,
            _ => FaultPoint::Sync,
        };
        let random = &mut self.common.random;
        let parts = match point {
            FaultPoint::SyncDirectory => ["", "", "wal", "shards"],
            _ => ["", ".wal", "shards/", "manifest"],
        };
        let injected = simulated::Fault {
            point,
            path_part: random.pick(&parts).expect("there are some").into(),
            skip: random.place(3),
            times: if random.permille(500) {
                Times::Once
            } else {
                Times::Forever
            },
            kind: std::io::ErrorKind::Other,
        };
        let lots = random.next();
        // Most is read when a node starts.
        if fault == Fault::ReadError && random.permille(500) {
            self.crash(number, Stop::Kill);
        }
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        node.disk().draw_lots(lots);
        // The system may keep its cache, whoever asks for it to be forgotten.
        node.disk().keep_cache(lots.leading_zeros() == 0);
        node.disk().inject(injected);
        node.struck = Some(fault);
        if let Some(process) = &mut node.process {
            process.struck = Some(fault);
        }
    }

    /// What programs see of the log and its files must be on the device, or on its way there, when a node has opened it.
    /// No program reads what was set aside for people.
    pub(super) fn check_cache(&mut self, number: u64) {
        let disk = self.nodes[&number].disk();
        let mut adrift = disk.adrift("shards/");
        adrift.retain(|path| !path.ends_with(".damaged"));
        let unsynced = disk.unsynced(".wal");
        if !adrift.is_empty() || !unsynced.is_empty() {
            let text = format!(
                "node {number} takes for durable what is only in the cache: {adrift:?} {unsynced:?}"
            );
            self.common.checks.fail(text);
        }
    }
}
