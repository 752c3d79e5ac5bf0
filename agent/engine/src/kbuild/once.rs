//! What a run finds out or tells once, however many builds it has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::event::{Event, Sink};
use crate::tree::Tree;

/// Kept with the lock of a tree, which is held as long as a run lasts.
#[derive(Debug, Default)]
pub(crate) struct Once {
    environment: OnceLock<Vec<(String, String)>>,
    told: Mutex<BTreeSet<PathBuf>>,
}

impl Once {
    /// What `build_environment` adds to the environment of builds. One that cannot be evaluated is told, and adds nothing.
    pub(super) fn environment(&self, tree: &Tree, sink: &dyn Sink) -> &[(String, String)] {
        self.environment.get_or_init(|| {
            let found = tree.framework().environment_of_builds(tree.root());
            found.unwrap_or_else(|error| {
                sink.emit(Event::Warning {
                    text: format!("build_environment is left out of account: {error}"),
                    hint: Some("grep build_environment /etc/dkms/framework.conf".into()),
                });
                Vec::new()
            })
        })
    }

    /// True for the first one who says that `cause` makes builds run as root.
    pub(super) fn first_warning(&self, cause: &Path) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(cause.to_owned())
    }
}
