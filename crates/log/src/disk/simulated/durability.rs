//! What of a simulated disk survives a crash.
//!
//! A page that was written several times since its last sync may survive in any of these states, or
//! as it was synced; pages are independent. The changes of a folder survive in order: a first part of
//! those since its last sync. Syncing a file does not make its name durable.
//!
//! After a failed sync some pages are on the device and the others only in the cache, where they pass for
//! clean: no later sync writes them, and they are gone once the cache is forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;

use super::{Image, index, sectors::Sectors};

/// What the cache of a system keeps and writes as one.
pub(super) const CACHE_PAGE_BYTES: usize = 4096;

/// One change of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Files are numbered in the order they were made, after those of the first image.
    Create {
        path: String,
    },
    Write {
        inode: usize,
        offset: u64,
        data: Bytes,
    },
    /// Durable at once.
    SetLength {
        inode: usize,
        length: u64,
    },
    Sync {
        inode: usize,
    },
    /// These pages of 4,096 bytes were written all the same.
    SyncFailed {
        inode: usize,
        written: BTreeSet<usize>,
    },
    /// What is clean in the cache is read from the device again.
    ForgetCache {
        inode: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    CreateDirectory {
        path: String,
    },
    SyncDirectory {
        path: String,
    },
}

/// The durable and the pending state of every file and folder.
#[derive(Debug, Clone)]
pub struct Durability {
    inodes: Vec<Inode>,
    /// By path; the root is empty.
    directories: BTreeMap<String, Directory>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    durable: Arc<Vec<u8>>,
    /// What a failed sync left in the cache, by page; older than `pending`.
    adrift: Vec<(usize, Bytes)>,
    pending: Vec<(usize, Bytes)>,
    sectors: Sectors,
}

#[derive(Debug, Clone, Default)]
struct Directory {
    durable: BTreeMap<String, Node>,
    pending: Vec<NameChange>,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    File(usize),
    Directory,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

impl Durability {
    pub fn new(image: &Image) -> Self {
        let mut state = Self {
            inodes: Vec::new(),
            directories: BTreeMap::new(),
        };
        state
            .directories
            .insert(String::new(), Directory::default());
        for path in &image.directories {
            state.directories.insert(path.clone(), Directory::default());
        }
        for path in &image.directories {
            let (parent, name) = split(path);
            state
                .directory(parent)
                .durable
                .insert(name.to_owned(), Node::Directory);
        }
        for (path, content) in &image.files {
            let (parent, name) = split(path);
            let node = Node::File(state.inodes.len());
            state
                .directory(parent)
                .durable
                .insert(name.to_owned(), node);
            state.inodes.push(Inode {
                durable: Arc::clone(content),
                sectors: image.unreadable.get(path).cloned().into(),
                ..Inode::default()
            });
        }
        state
    }

    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create { path } => {
                let node = Node::File(self.inodes.len());
                self.inodes.push(Inode::default());
                self.change_name(path, |name| NameChange::Link(name, node));
            }
            Operation::Write {
                inode,
                offset,
                data,
            } => self.inodes[*inode].write(index(*offset), data),
            Operation::SetLength { inode, length } => {
                Arc::make_mut(&mut self.inodes[*inode].durable).resize(index(*length), 0);
            }
            Operation::Sync { inode } => {
                let inode = &mut self.inodes[*inode];
                for (offset, data) in std::mem::take(&mut inode.pending) {
                    inode.put(offset, &data);
                }
            }
            Operation::SyncFailed { inode, written } => self.inodes[*inode].fail_to_sync(written),
            Operation::ForgetCache { inode } => self.inodes[*inode].adrift.clear(),
            Operation::Rename { from, to } => {
                assert_eq!(split(from).0, split(to).0, "renames stay in their folder");
                let to = split(to).1.to_owned();
                self.change_name(from, |name| NameChange::Rename(name, to));
            }
            Operation::Remove { path } => self.change_name(path, NameChange::Unlink),
            Operation::CreateDirectory { path } => {
                self.directories.insert(path.clone(), Directory::default());
                self.change_name(path, |name| NameChange::Link(name, Node::Directory));
            }
            Operation::SyncDirectory { path } => {
                let directory = self.directory(path);
                for change in std::mem::take(&mut directory.pending) {
                    change.apply(&mut directory.durable);
                }
            }
        }
    }

    /// Whether a file is on the device as programs see it.
    pub(super) fn is_synced(&self, inode: usize) -> bool {
        let inode = &self.inodes[inode];
        inode.pending.is_empty() && inode.adrift.is_empty()
    }

    /// Whether the cache holds what passes for clean and is not on the device.
    pub(super) fn is_adrift(&self, inode: usize) -> bool {
        !self.inodes[inode].adrift.is_empty()
    }

    /// The pages that a sync of this file would write.
    pub(super) fn dirty_pages(&self, inode: usize) -> BTreeSet<usize> {
        let pages = self.inodes[inode].page_versions(CACHE_PAGE_BYTES);
        pages.into_keys().collect()
    }

    /// Whether a stretch of this file can be written.
    pub(super) fn can_write(&self, inode: usize, offset: usize, length: usize) -> bool {
        self.inodes[inode].can_write(offset, length)
    }

    pub(super) fn sectors(&self, inode: usize) -> &Sectors {
        &self.inodes[inode].sectors
    }

    pub(super) fn sectors_mut(&mut self, inode: usize) -> &mut Sectors {
        &mut self.inodes[inode].sectors
    }

    /// What is on the device of a file.
    pub(super) fn durable_mut(&mut self, inode: usize) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.inodes[inode].durable)
    }

    /// How many ways each undecided thing may survive, besides not at all: first the folders, then
    /// the pages. A crash is one number per choice, up to that many.
    pub fn choices(&self, page_bytes: usize) -> Vec<usize> {
        let folders = self
            .directories
            .values()
            .map(|directory| directory.pending.len());
        let pages = self
            .inodes
            .iter()
            .flat_map(|inode| inode.page_versions(page_bytes));
        let pages = pages.map(|(_, writes)| writes.len());
        folders.filter(|&count| count > 0).chain(pages).collect()
    }

    /// The disk after a crash with the given picks for [`Durability::choices`].
    pub fn image(&self, page_bytes: usize, picks: &[usize]) -> Image {
        let mut picks = picks.iter().copied();
        let mut pick = || picks.next().expect("one pick per choice");
        let names: BTreeMap<&str, BTreeMap<String, Node>> = self
            .directories
            .iter()
            .map(|(path, directory)| {
                let mut names = directory.durable.clone();
                let survive = if directory.pending.is_empty() {
                    0
                } else {
                    pick()
                };
                for change in &directory.pending[..survive] {
                    change.apply(&mut names);
                }
                (path.as_str(), names)
            })
            .collect();
        let contents: Vec<Arc<Vec<u8>>> = self
            .inodes
            .iter()
            .map(|inode| inode.survive(page_bytes, &mut pick))
            .collect();
        let mut image = Image::default();
        link("", &names, &contents, &self.inodes, &mut image);
        image
    }

    /// The files' contents as programs see them.
    pub(super) fn visible_contents(&self) -> Vec<Arc<Vec<u8>>> {
        self.inodes.iter().map(Inode::visible).collect()
    }

    /// A file's content as programs see it.
    pub(super) fn visible(&self, inode: usize) -> Arc<Vec<u8>> {
        self.inodes[inode].visible()
    }

    /// Files and folders as programs see them.
    pub(super) fn visible_names(&self) -> (BTreeMap<String, usize>, BTreeSet<String>) {
        let (mut files, mut directories) = (BTreeMap::new(), BTreeSet::new());
        for (path, directory) in &self.directories {
            let mut names = directory.durable.clone();
            directory
                .pending
                .iter()
                .for_each(|change| change.apply(&mut names));
            for (name, node) in names {
                let path = if path.is_empty() {
                    name
                } else {
                    format!("{path}/{name}")
                };
                match node {
                    Node::File(inode) => drop(files.insert(path, inode)),
                    Node::Directory => drop(directories.insert(path)),
                }
            }
        }
        (files, directories)
    }

    fn directory(&mut self, path: &str) -> &mut Directory {
        self.directories
            .get_mut(path)
            .expect("the folder was made before")
    }

    fn change_name(&mut self, path: &str, change: impl FnOnce(String) -> NameChange) {
        let (parent, name) = split(path);
        let change = change(name.to_owned());
        self.directory(parent).pending.push(change);
    }
}

fn link(
    directory: &str,
    names: &BTreeMap<&str, BTreeMap<String, Node>>,
    contents: &[Arc<Vec<u8>>],
    inodes: &[Inode],
    image: &mut Image,
) {
    for (name, node) in &names[directory] {
        let path = if directory.is_empty() {
            name.clone()
        } else {
            format!("{directory}/{name}")
        };
        match node {
            Node::File(inode) => {
                let unreadable = inodes[*inode].sectors.unreadable();
                if !unreadable.is_empty() {
                    image.unreadable.insert(path.clone(), unreadable.clone());
                }
                image.files.insert(path, Arc::clone(&contents[*inode]));
            }
            Node::Directory => {
                link(&path, names, contents, inodes, image);
                image.directories.insert(path);
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                let node = names
                    .remove(from)
                    .expect("a folder's changes survive in order");
                names.insert(to.clone(), node);
            }
        }
    }
}

impl Inode {
    fn visible(&self) -> Arc<Vec<u8>> {
        let mut content = Arc::clone(&self.durable);
        for (offset, data) in self.adrift.iter().chain(&self.pending) {
            put(Arc::make_mut(&mut content), *offset, data);
        }
        content
    }

    /// Whether the system can write a stretch: it reads a page first of which it gets a part only, unless the page is
    /// dirty, and so in its cache.
    fn can_write(&self, offset: usize, length: usize) -> bool {
        let end = offset + length;
        let touched = pages(offset, length);
        [touched.start, touched.end.saturating_sub(1)]
            .into_iter()
            .all(|page| {
                let (from, to) = (page * CACHE_PAGE_BYTES, (page + 1) * CACHE_PAGE_BYTES);
                let is_whole = offset <= from && to <= end;
                is_whole || self.is_dirty(page) || self.sectors.are_readable(from, CACHE_PAGE_BYTES)
            })
    }

    fn is_dirty(&self, page: usize) -> bool {
        let mut dirty = self.adrift.iter().chain(&self.pending);
        dirty.any(|(at, data)| pages(*at, data.len()).contains(&page))
    }

    /// A page that is written becomes dirty as a whole, with what a failed sync left in it.
    fn write(&mut self, offset: usize, data: &Bytes) {
        if !self.adrift.is_empty() {
            let pages = pages(offset, data.len());
            let touched =
                |&mut (at, _): &mut (usize, Bytes)| pages.contains(&(at / CACHE_PAGE_BYTES));
            self.pending.extend(self.adrift.extract_if(.., touched));
        }
        self.pending.push((offset, data.clone()));
    }

    /// Writes to the device.
    fn put(&mut self, offset: usize, data: &[u8]) {
        self.sectors.written(&self.durable, offset, data.len());
        put(Arc::make_mut(&mut self.durable), offset, data);
    }

    fn fail_to_sync(&mut self, written: &BTreeSet<usize>) {
        for (offset, data) in std::mem::take(&mut self.pending) {
            for page in pages(offset, data.len()) {
                let start = offset.max(page * CACHE_PAGE_BYTES);
                let end = (offset + data.len()).min((page + 1) * CACHE_PAGE_BYTES);
                let part = data.slice(start - offset..end - offset);
                if written.contains(&page) {
                    self.put(start, &part);
                } else {
                    self.adrift.push((start, part));
                }
            }
        }
    }

    /// The pending writes of each page, in order.
    fn page_versions(&self, page_bytes: usize) -> BTreeMap<usize, Vec<usize>> {
        let mut pages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut touched = BTreeSet::new();
        for (number, (offset, data)) in self.pending.iter().enumerate() {
            touched.clear();
            touched.extend(offset / page_bytes..(offset + data.len()).div_ceil(page_bytes));
            for &page in &touched {
                pages.entry(page).or_default().push(number);
            }
        }
        pages
    }

    fn survive(&self, page_bytes: usize, pick: &mut impl FnMut() -> usize) -> Arc<Vec<u8>> {
        if self.pending.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut content = (*self.durable).clone();
        for (page, writes) in self.page_versions(page_bytes) {
            let survive = pick();
            for &number in &writes[..survive] {
                let (offset, data) = &self.pending[number];
                let start = (page * page_bytes).max(*offset);
                let end = ((page + 1) * page_bytes).min(offset + data.len());
                put(&mut content, start, &data[start - offset..end - offset]);
            }
        }
        Arc::new(content)
    }
}

/// The pages of the cache that a stretch of a file is in.
fn pages(offset: usize, length: usize) -> Range<usize> {
    offset / CACHE_PAGE_BYTES..(offset + length).div_ceil(CACHE_PAGE_BYTES)
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

/// Folder and name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
