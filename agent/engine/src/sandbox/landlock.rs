//! Where bubblewrap cannot work: a thread that restricts itself and then starts the program, which inherits every restriction.
//!
//! Landlock has the rules of the same [`View`], on the file system as it is: what is not named cannot be read or written, though it can be
//! seen to be there. Paths are those of the running system.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::thread::UnshareFlags;

use super::seccomp;
use super::system::{DEVICES, ETC, HIDDEN};
use super::view::{self, View};

/// The newest set of rights that is asked for; an older kernel applies those that it supports.
const NEWEST: ABI = ABI::V6;

/// Whether this kernel has Landlock, and it is on.
pub(super) fn is_available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

/// Starts `command` from a thread that has the restrictions of `view`. Namespaces are made where we may; with `with_landlock` it fails
/// where Landlock cannot be had.
///
/// # Errors
/// When a restriction that is asked for cannot be set, or the program cannot be started.
pub(crate) fn start_restricted(view: &View, with_landlock: bool, command: &mut Command) -> io::Result<Child> {
    let started = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare();
            if with_landlock {
                restrict(view).map_err(io::Error::other)?;
            }
            if let Some(filter) = seccomp::filter() {
                seccompiler::apply_filter(filter).map_err(io::Error::other)?;
            }
            command.spawn()
        });
        thread.join()
    });
    started.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it ended")))
}

#[expect(
    deprecated,
    reason = "its successor is unsafe because of file descriptors, which stay shared here"
)]
fn unshare() {
    // Each as far as it is allowed: only root may, and not in every container.
    for flags in [
        UnshareFlags::NEWPID,
        UnshareFlags::NEWNET,
        UnshareFlags::NEWIPC,
        UnshareFlags::NEWUTS,
    ] {
        let _ = rustix::thread::unshare(flags);
    }
}

fn restrict(view: &View) -> Result<(), RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let mut ruleset = ruleset;
    for path in readable_system(&view.system) {
        ruleset = allow(ruleset, &path, read)?;
    }
    for name in DEVICES {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        ruleset = allow(ruleset, &Path::new("/dev").join(name), access)?;
    }
    ruleset = allow(ruleset, Path::new("/proc"), read)?;
    for bind in &view.binds {
        let access = match bind.access {
            view::Access::Write => AccessFs::from_all(NEWEST),
            view::Access::Read => read,
        };
        ruleset = allow(ruleset, &bind.source, access)?;
    }
    let status = ruleset.restrict_self()?;
    debug_assert_ne!(status.ruleset, RulesetStatus::NotEnforced);
    Ok(())
}

/// One rule; what is not there needs none.
fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(fd) = PathFd::new(path) else {
        return Ok(ruleset);
    };
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    };
    ruleset.add_rule(PathBeneath::new(fd, access))
}

/// The parts of a system that may be read: /usr without the sources and modules of others, and the files of /etc.
fn readable_system(system: &Path) -> Vec<PathBuf> {
    let mut paths = vec![system.join("bin"), system.join("sbin")];
    let usr = system.join("usr");
    for top in [usr.clone(), usr.join("lib"), system.join("lib")] {
        let entries = std::fs::read_dir(&top).into_iter().flatten().filter_map(Result::ok);
        let paths_in = entries.map(|entry| entry.path()).filter(|path| {
            let inside = path
                .strip_prefix(&usr)
                .or_else(|_| path.strip_prefix(system))
                .unwrap_or(path);
            inside != Path::new("lib") && !HIDDEN.iter().any(|hidden| inside == Path::new(hidden))
        });
        paths.extend(paths_in);
    }
    paths.extend(["lib32", "lib64", "libx32"].map(|name| system.join(name)));
    paths.extend(ETC.map(|name| system.join("etc").join(name)));
    paths
}
