//! What all builds of a run share: values that are read once, and warnings that are given once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::event::{Event, Sink};
use crate::tree::Tree;

/// The state that all builds of a run share. It lives as long as the run.
#[derive(Debug, Default)]
pub struct RunState {
    environment: OnceLock<Vec<(String, String)>>,
    warned: Mutex<BTreeSet<PathBuf>>,
}

impl RunState {
    /// What `build_environment` adds to the environment of builds. One that cannot be evaluated is warned of, and adds nothing.
    pub(super) fn environment(&self, tree: &Tree, sink: &dyn Sink) -> &[(String, String)] {
        self.environment.get_or_init(|| {
            let found = tree.framework().environment_of_builds(tree.root());
            found.unwrap_or_else(|error| {
                sink.emit(Event::Warning {
                    text: format!("build_environment is ignored: {error}"),
                    hint: Some("grep build_environment /etc/dkms/framework.conf".into()),
                });
                Vec::new()
            })
        })
    }

    /// True for the first call with this `cause`: the path that makes builds run as root.
    pub(super) fn first_warning(&self, cause: &Path) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.insert(cause.to_owned())
    }
}
