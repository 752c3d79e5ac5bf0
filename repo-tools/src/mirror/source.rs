//! Files that were read from a store, in memory.

use std::collections::BTreeMap;

use crate::store::{Store, StoreError};
use crate::verify::Tree;

/// What was read so far.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    store: &'a Store,
    files: BTreeMap<String, Vec<u8>>,
}

impl<'a> Gathered<'a> {
    pub(super) fn of(store: &'a Store) -> Self {
        Self {
            store,
            files: BTreeMap::new(),
        }
    }

    /// A file, each read once; none where there is no such file.
    pub(super) async fn fetch(&mut self, path: &str, most_bytes: u64) -> Result<Option<&[u8]>, StoreError> {
        if !self.files.contains_key(path) {
            let found = self.store.read(path, most_bytes).await?;
            self.files.extend(found.map(|found| (path.to_owned(), found.bytes)));
        }
        Ok(self.files.get(path).map(Vec::as_slice))
    }

    /// The tree of these files, and no others.
    pub(super) fn into_tree(self) -> Tree {
        Tree::in_memory(self.files)
    }
}
