//! Puts the published tree where machines read it: a directory, an object store, a server that takes PUT.
//!
//! Only what is not there yet is written, in the order in which it is written on this disk: bundles, manifests and index, metadata, the
//! snapshot, and at last the timestamp, on the condition that it is still the one that was read at the beginning. Killed at any moment, what
//! is there is the old state or the new one, and the same again completes it. Two publishers cannot undo each other's work: whoever comes
//! second is told so, before anything that machines read was changed.

mod order;
mod state;

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::publish::PublishError;
use crate::reach::{self, Named};
use crate::signed::{self, Signed};
use crate::store::{FIRST_ROOT, Found, Store, StoreError, TIMESTAMP, Written};
use crate::verify::Tree;

use order::Phase;
use state::{Theirs, Wanted};

pub use state::{Conflict, Mark};

/// Requests at the same time.
const AT_ONCE: usize = 8;
/// What a document of a repository may have at most, read from a place that anybody may have written.
pub(crate) const MOST_BYTES: u64 = 64 << 20;

/// Why nothing was put there, or not all.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// What is there was written by somebody else.
    #[error("{target} has another state than the one to be written: {why}")]
    Conflict {
        /// The store.
        target: String,
        /// What is there.
        why: Conflict,
    },
    /// A file of the published tree is not what the metadata says.
    #[error("{0} in the published tree is damaged")]
    Damaged(String),
    /// A file of another mirror is not what the metadata says.
    #[error("{0} is missing, or is not what the signed metadata says")]
    Source(String),
    /// Files cannot be removed where it is not known which there are.
    #[error("{0} has no lists of its files, so what is no longer needed cannot be found")]
    NoLists(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The published tree cannot be read.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl PushError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict { target, why } => Some(why.hint(target)),
            Self::Damaged(_) => {
                Some("`dkms-repo verify` finds all that is damaged; restore public/ from a mirror of it".to_owned())
            }
            Self::Source(_) => {
                Some("copy from another mirror; the same command goes on where this one ended".to_owned())
            }
            Self::NoLists(_) => Some("leave --delete out: files that nothing names do no harm".to_owned()),
            Self::Store(error) => error.hint(),
            Self::Publish(error) => error.hint(),
        }
    }
}

/// How to do it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Only find out what would be done.
    pub dry_run: bool,
    /// Also remove files that the published tree no longer has.
    pub delete: bool,
    /// Replace metadata that another publisher wrote and never made visible.
    pub take_over: bool,
    /// Replace whatever state is there, also a newer one. Machines that saw that refuse this one.
    pub replace: bool,
}

/// A file, and its length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Below the root of the tree.
    pub path: String,
    /// In bytes.
    pub bytes: u64,
}

/// What was put somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The address.
    pub target: String,
    /// The state that machines read there now, or would.
    pub state: Mark,
    /// The state that was there before; none where there was none.
    pub before: Option<Mark>,
    /// Files that were written, or would be, in that order.
    pub written: Vec<File>,
    /// Files that were removed, or would be.
    pub deleted: Vec<File>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many files and bytes are to be written.
    Begins {
        /// Files.
        files: usize,
        /// Bytes.
        bytes: u64,
    },
    /// A file of this length was written.
    Wrote(u64),
}

/// What is to be put somewhere.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The published tree.
    pub tree: &'a Tree,
    /// Where the bundles are that the tree does not have.
    pub bundles: Option<&'a Store>,
    /// Whether manifests may be missing; their bundles are then not wanted.
    pub is_partial: bool,
}

impl<'a> Source<'a> {
    /// A whole tree.
    pub fn of(tree: &'a Tree) -> Self {
        Self {
            tree,
            bundles: None,
            is_partial: false,
        }
    }

    /// A file, if it is what is known of it.
    async fn read(&self, path: &str, content: &Named) -> Result<Vec<u8>, PushError> {
        if let Some(store) = self.bundles.filter(|_| !self.tree.has(path)) {
            let wrong = || PushError::Source(format!("{}/{path}", store.address()));
            let found = match store.read(path, content.length.unwrap_or(MOST_BYTES)).await {
                Err(StoreError::TooLarge { .. }) => return Err(wrong()),
                found => found?,
            };
            return found
                .map(|found| found.bytes)
                .filter(|bytes| content.is(bytes))
                .ok_or_else(wrong);
        }
        let bytes = self.tree.read(path).map_err(PublishError::from)?;
        if content.is(&bytes) {
            Ok(bytes)
        } else {
            Err(PushError::Damaged(path.to_owned()))
        }
    }
}

/// Brings `store` up to the state of `source`.
///
/// # Errors
/// When somebody else wrote there, or the store fails; machines then see what they saw before.
pub async fn push(
    source: &Source<'_>,
    store: &Store,
    options: Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Pushed, PushError> {
    let tree = source.tree;
    let wanted = Wanted::of(tree, source.is_partial)?;
    let conflict = |why: Conflict| PushError::Conflict {
        target: store.address().to_owned(),
        why,
    };
    check_root(&wanted, store)
        .await?
        .map_or(Ok(()), |why| Err(conflict(why)))?;
    let before = store.read(TIMESTAMP, MOST_BYTES).await?;
    let theirs = match Theirs::of(tree, &wanted, before.as_ref().map(|found| &found.bytes[..]))? {
        Ok(theirs) => theirs,
        Err(_) if options.replace => Theirs::Nothing,
        Err(why) => return Err(conflict(why)),
    };
    let there = present(&wanted, store).await?;
    let mut missing = Vec::new();
    for (path, file) in &wanted.files {
        let is_there = there
            .files
            .get(path)
            .is_some_and(|length| file.length.is_none_or(|own| own == *length));
        // Names of metadata are numbers, so that another publisher may have used the same one.
        let is_foreign = is_there
            && path.starts_with("metadata/")
            && !theirs.is_ours(path)
            && store
                .read(path, MOST_BYTES)
                .await?
                .is_some_and(|found| !file.is(&found.bytes));
        if is_foreign && !options.take_over {
            return Err(conflict(Conflict::Leftover(path.clone())));
        }
        if !is_there || is_foreign {
            missing.push((path.clone(), file.clone()));
        }
    }
    let superseded = match (options.delete, there.is_whole) {
        (false, _) => Vec::new(),
        (true, false) => return Err(PushError::NoLists(store.address().to_owned())),
        (true, true) => superseded(tree, &wanted, &there.files),
    };
    let is_bridged = wanted.is_bridged(tree, &there.files)?;
    let timestamp_bytes = (!theirs.is_current()).then_some(wanted.timestamp.len() as u64);
    let plan = order::plan(missing, is_bridged, timestamp_bytes);
    let pushed = Pushed {
        target: store.address().to_owned(),
        state: wanted.mark.clone(),
        before: theirs.mark(),
        written: plan.files().map(|(path, bytes)| File { path, bytes }).collect(),
        deleted: superseded,
    };
    progress(Progress::Begins {
        files: pushed.written.len(),
        bytes: pushed.written.iter().map(|file| file.bytes).sum(),
    });
    if options.dry_run {
        return Ok(pushed);
    }
    for phase in plan.phases {
        match phase {
            Phase::Files(files) => write_all(source, store, files, options, progress).await?,
            Phase::Flush => store.flush()?,
            Phase::Timestamp(bytes) => {
                if let Some(why) = make_visible(&wanted, store, before.as_ref()).await? {
                    return Err(conflict(why));
                }
                progress(Progress::Wrote(bytes));
            }
        }
    }
    let removed = stream::iter(&pushed.deleted).map(|file| store.remove(&file.path));
    removed.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(pushed)
}

/// Another first root is another repository, whose machines would refuse everything of ours.
async fn check_root(wanted: &Wanted, store: &Store) -> Result<Option<Conflict>, StoreError> {
    let found = store.read(FIRST_ROOT, MOST_BYTES).await?;
    let first = wanted.files.get(FIRST_ROOT);
    Ok(match (found, first) {
        (Some(found), Some(first)) if !first.is(&found.bytes) => Some(Conflict::OtherRepository),
        _ => None,
    })
}

/// Which of the wanted files are there.
#[derive(Debug)]
struct There {
    files: BTreeMap<String, u64>,
    /// Whether these are all files, wanted or not.
    is_whole: bool,
}

async fn present(wanted: &Wanted, store: &Store) -> Result<There, StoreError> {
    if let Some(files) = store.list().await? {
        return Ok(There { files, is_whole: true });
    }
    let asked = stream::iter(wanted.files.keys()).map(|path| async move {
        let length = store.length(path).await?;
        Ok::<_, StoreError>(length.map(|length| (path.clone(), length)))
    });
    let found: Vec<Option<(String, u64)>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(There {
        files: found.into_iter().flatten().collect(),
        is_whole: false,
    })
}

/// Files of former states that the published tree does not have any more.
fn superseded(tree: &Tree, wanted: &Wanted, there: &BTreeMap<String, u64>) -> Vec<File> {
    let is_superseded = |path: &String| reach::is_ours(path) && !wanted.files.contains_key(path) && !tree.has(path);
    let files = there.iter().filter(|(path, _)| is_superseded(path));
    files
        .map(|(path, bytes)| File {
            path: path.clone(),
            bytes: *bytes,
        })
        .collect()
}

async fn write_all(
    source: &Source<'_>,
    store: &Store,
    files: Vec<(String, Named)>,
    options: Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), PushError> {
    let writes = stream::iter(files).map(|(path, content)| async move {
        let bytes = source.read(&path, &content).await?;
        let length = bytes.len() as u64;
        if path.starts_with("metadata/") && !options.take_over {
            let written = store.write_new(&path, bytes).await?;
            // An answer that was lost and a request that was sent again look the same as another publisher.
            let is_other = written == Written::Refused
                && store
                    .read(&path, MOST_BYTES)
                    .await?
                    .is_none_or(|found| !content.is(&found.bytes));
            if is_other {
                return Err(PushError::Conflict {
                    target: store.address().to_owned(),
                    why: Conflict::Leftover(path),
                });
            }
        } else {
            store.write(&path, bytes).await?;
        }
        progress(Progress::Wrote(length));
        Ok(())
    });
    writes.buffer_unordered(AT_ONCE).try_collect().await
}

/// Puts the timestamp in place, or tells who was quicker.
async fn make_visible(wanted: &Wanted, store: &Store, before: Option<&Found>) -> Result<Option<Conflict>, PushError> {
    if store.replace(TIMESTAMP, wanted.timestamp.clone(), before).await? == Written::Done {
        return Ok(None);
    }
    let Some(found) = store.read(TIMESTAMP, MOST_BYTES).await? else {
        return Ok(Some(Conflict::Gone));
    };
    if found.bytes == wanted.timestamp {
        return Ok(None);
    }
    let winner: Option<Signed<signed::Timestamp>> = serde_json::from_slice(&found.bytes).ok();
    Ok(Some(match winner {
        Some(winner) => Conflict::Quicker {
            ours: wanted.mark.clone(),
            theirs: Mark::of(&winner),
        },
        None => Conflict::NoTimestamp,
    }))
}
