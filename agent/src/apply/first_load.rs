//! What makes the first load of a package safe: a driver that stops the machine is not loaded again.
//!
//! Before modprobe is called for the first time, a mark is made durable in the records, and modprobe's settings get a `blacklist` line for
//! each module: udev and systemd-modules-load respect it, modprobe by name does not. Both go when the load ended, whichever way. A run that
//! finds the mark of an earlier boot quarantines the version for that kernel and removes its modules from it.

use std::io;

use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::root::Root;
use dkms_support::chain;

use super::{Attempt, Cause, Failure, RemoveError, Worker};
use crate::files;
use crate::host::boot_id;
use crate::report::progress::ProgressEvent;
use crate::state::StateError;
use crate::state::records::{FirstLoad, Quarantined, Records};
use crate::survey::Survey;

/// Keeps udev from loading what has never been loaded.
const BLACKLIST: &str = "/etc/modprobe.d/dkms-fetch-first-load.conf";

/// Why a version is quarantined whose mark is found.
const REASON: &str = "the machine stopped while its modules were loaded for the first time";

impl Worker<'_> {
    /// Marks a package before its modules are loaded for the first time.
    ///
    /// # Errors
    /// When the mark cannot be made durable. Without it the package may not be loaded.
    pub(super) fn mark_first_load(&self, survey: &Survey, attempt: &Attempt) -> Result<(), Failure> {
        let record = &attempt.offer.record;
        let root = self.tree.root();
        let mark = FirstLoad {
            offer: attempt.offer.id.clone(),
            package: attempt.tree_name.clone(),
            dkms_version: record.dkms_version().to_owned(),
            bundle_sha256: record.bundle.sha256.clone(),
            kernel: survey.kernel.release.clone(),
            arch: survey.kernel.arch.clone(),
            modules: record.modules.clone(),
            boot: boot_id(root),
            at: self.now,
        };
        let failed = |reason: String, hint: Option<String>| Failure {
            hint,
            ..Failure::of(
                Cause::Machine,
                format!("the mark before its first load cannot be written: {reason}"),
            )
        };
        self.records
            .note_first_load(&mark)
            .map_err(|error| failed(chain(&error), error.hint()))?;
        write_blacklist(root, self.records).map_err(|error| failed(chain(&error), error.hint()))
    }

    /// Removes the mark: what became of the package is recorded.
    pub(super) fn end_first_load(&self, survey: &Survey, attempt: &Attempt) -> Result<(), StateError> {
        self.records
            .forget_first_load(&attempt.tree_name, &survey.kernel.release)?;
        write_blacklist(self.tree.root(), self.records)
    }

    /// Takes back what was being loaded for the first time when the machine stopped: each version is quarantined for its kernel, and its
    /// modules are removed from there. A mark of this boot is of a run that was killed, which says nothing about the package.
    ///
    /// # Errors
    /// When files or records cannot be changed. The marks stay, and the next run tries again.
    pub fn recover(&self) -> Result<Vec<Quarantined>, RemoveError> {
        let root = self.tree.root();
        let boot = boot_id(root);
        let marks = self.records.first_loads()?;
        let mut session = self.removal_session();
        let mut quarantined = Vec::new();
        for mark in marks.iter().filter(|mark| mark.boot != boot) {
            let entry = Quarantined {
                bundle_sha256: mark.bundle_sha256.clone(),
                package: mark.offer.name.clone(),
                version: mark.offer.version.clone(),
                kernel: mark.kernel.clone(),
                reason: REASON.to_owned(),
                at: self.now,
            };
            self.records.quarantine(&entry)?;
            self.reporter.report(ProgressEvent::Quarantined {
                package: mark.offer.clone(),
                kernel: mark.kernel.clone(),
                reason: REASON.to_owned(),
            });
            let package = DkmsId::new(&mark.package, &mark.dkms_version);
            if let Some((package, kernel)) = package.zip(KernelId::new(&mark.kernel, &mark.arch)) {
                self.remove(&mut session, &package, &[kernel], REASON)?;
            }
            quarantined.push(entry);
        }
        // The engine's own mark that depmod must run stays, and the next run tries again.
        for error in session.finish().err().into_iter().flatten() {
            self.reporter.report(ProgressEvent::Warning {
                text: error.to_string(),
                hint: error.hint(),
            });
        }
        for mark in &marks {
            self.records.forget_first_load(&mark.package, &mark.kernel)?;
        }
        write_blacklist(root, self.records)?;
        Ok(quarantined)
    }
}

/// Whether the file is there that keeps udev from loading what is being loaded for the first time.
pub fn has_first_load_file(root: &Root) -> bool {
    root.join(BLACKLIST).exists()
}

/// Makes modprobe's settings those of the marks.
fn write_blacklist(root: &Root, records: &Records) -> Result<(), StateError> {
    let path = root.join(BLACKLIST);
    let marks = records.first_loads()?;
    let modules = marks.iter().flat_map(|mark| &mark.modules);
    let lines: String = modules.map(|module| format!("blacklist {module}\n")).collect();
    let written = if lines.is_empty() {
        files::remove(&path)
    } else {
        let text =
            format!("# dkms-fetch loads these for the first time. `dkms-fetch recover` removes this file.\n{lines}");
        files::write_atomically(&path, text.as_bytes())
    };
    match written {
        // There is no such directory: there is no such file.
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::Io { path, source }),
        _ => Ok(()),
    }
}
