//! What signs the modules of one kernel, and of all kernels of a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::SignError;
use super::keys::{KeyPair, NewKeys, ensure_key_pair, warn_of_shared_key};
use super::program::{Program, require_pair};
use crate::event::{Event, Sink};
use crate::kernel::KernelTarget;
use crate::tree::{Tree, TreeLock};

/// Signs modules for one kernel.
#[derive(Debug, Clone)]
pub struct Signer {
    program: Program,
    hash: String,
    keys: KeyPair,
}

impl Signer {
    /// Finds what is needed to sign for `kernel`, making a key if there is none. None where the kernel knows no signatures, signing is
    /// turned off, or the program that signs is missing, which is reported to `sink`.
    ///
    /// # Errors
    /// When a key is needed and cannot be made.
    pub fn prepare(
        tree: &Tree,
        lock: &TreeLock,
        kernel: &KernelTarget,
        sink: &dyn Sink,
    ) -> Result<Option<Signer>, SignError> {
        let Some(hash) = kernel.config().get("CONFIG_MODULE_SIG_HASH") else {
            return Ok(None);
        };
        if !tree.framework().try_sign_modules {
            return Ok(None);
        }
        let Some(program) = Program::find(tree, kernel) else {
            sink.emit(no_program(tree, kernel));
            return Ok(None);
        };
        let (is_ubuntu, release) = (kernel.distribution.is_ubuntu(), Some(kernel.release.as_str()));
        let keys = ensure_key_pair(tree, lock, is_ubuntu, release, NewKeys::AtDefaultPlace, sink)?;
        if !keys.is_new {
            require_pair(&keys)?;
        }
        Ok(Some(Signer {
            program,
            hash: hash.to_owned(),
            keys,
        }))
    }

    /// The key it signs with.
    pub fn keys(&self) -> &KeyPair {
        &self.keys
    }

    /// Signs the file `module` in its place.
    ///
    /// # Errors
    /// When the program cannot be run or refuses.
    pub fn sign(&self, module: &Path) -> Result<(), SignError> {
        self.program.sign(&self.hash, &self.keys, module)
    }
}

/// The warning that no program to sign with was found, with a suggested fix.
fn no_program(tree: &Tree, kernel: &KernelTarget) -> Event {
    let release = &kernel.release;
    let named = tree.framework().sign_file.as_ref().filter(|_| tree.root().is_host());
    let (why, hint) = match named {
        Some(program) => (
            format!("sign_file in framework.conf is {program}, which is no program"),
            "grep -rn sign_file /etc/dkms/framework.conf /etc/dkms/framework.conf.d/".to_owned(),
        ),
        None => (
            "this machine has neither its sign-file nor openssl".to_owned(),
            kernel.distribution.headers_command(release),
        ),
    };
    Event::Warning {
        text: format!("modules for {release} are not signed: {why}"),
        hint: Some(hint),
    }
}

/// The signers of one run, each kernel's made when it is first needed.
pub(in crate::kbuild) struct Signers<'a> {
    tree: &'a Tree,
    lock: &'a TreeLock,
    enabled: bool,
    sink: &'a dyn Sink,
    by_release: Mutex<BTreeMap<String, Option<Arc<Signer>>>>,
}

impl<'a> Signers<'a> {
    pub(in crate::kbuild) fn new(tree: &'a Tree, lock: &'a TreeLock, enabled: bool, sink: &'a dyn Sink) -> Signers<'a> {
        Signers {
            tree,
            lock,
            enabled,
            sink,
            by_release: Mutex::new(BTreeMap::new()),
        }
    }

    /// The signer for `kernel`. A key that cannot be made is reported once; modules then stay unsigned, as with upstream.
    pub(in crate::kbuild) fn of(&self, kernel: &KernelTarget) -> Option<Arc<Signer>> {
        if !self.enabled {
            return None;
        }
        let mut known = self.by_release.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = known.values().all(Option::is_none);
        let signer = known.entry(kernel.release.clone()).or_insert_with(|| {
            match Signer::prepare(self.tree, self.lock, kernel, self.sink) {
                Ok(signer) => {
                    if let Some(signer) = signer.as_ref().filter(|_| is_first) {
                        warn_of_shared_key(self.tree, &signer.keys, self.sink);
                    }
                    signer.map(Arc::new)
                }
                Err(error) => {
                    let text = format!("modules for {} are not signed: {error}", kernel.release);
                    self.sink.emit(Event::Warning {
                        text,
                        hint: error.hint(),
                    });
                    None
                }
            }
        });
        signer.clone()
    }
}
