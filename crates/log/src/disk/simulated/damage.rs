//! Damage to what rests on a device, while a program uses it or not.
//!
//! What is dirty in the cache stays and is written over the damage; what is clean is as good as not
//! there: a program may always be given what is on the device.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{SECTOR_BYTES, SimulatedDisk};

impl SimulatedDisk {
    /// The files, by name.
    pub fn paths(&self) -> Vec<String> {
        self.world().files.keys().cloned().collect()
    }

    /// Changes what is on the device of a file. False if there is no such file.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut [u8])) -> bool {
        let mut world = self.world();
        let Some(&inode) = world.files.get(path) else {
            return false;
        };
        change(world.durability.durable_mut(inode));
        world.inodes[inode] = world.durability.visible(inode);
        true
    }

    /// Whether some sector of a file cannot be read.
    pub fn cannot_read(&self, path: &str) -> bool {
        let world = self.world();
        let inode = world.files.get(path);
        inode.is_some_and(|&inode| !world.durability.sectors(inode).unreadable().is_empty())
    }

    /// What the sectors of a file held before they were written last, by number, of those that the device
    /// remembers.
    pub fn former_sectors(&self, path: &str) -> BTreeMap<usize, Bytes> {
        let world = self.world();
        let former = |&inode: &usize| world.durability.sectors(inode).former().clone();
        world.files.get(path).map(former).unwrap_or_default()
    }

    /// From here on reads of this sector fail, until it is written. False if there is no such file.
    pub fn spoil(&self, path: &str, offset: usize) -> bool {
        let mut world = self.world();
        let Some(&inode) = world.files.get(path) else {
            return false;
        };
        let sectors = world.durability.sectors_mut(inode);
        sectors.spoil(offset / SECTOR_BYTES);
        true
    }
}
