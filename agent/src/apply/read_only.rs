//! Systems whose `/usr` can only be read, such as those that are images or snapshots: no module can be put below `/lib/modules` there.

use std::path::Path;

use dkms_engine::command::find_program;
use dkms_engine::root::Root;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::{Cause, Failure};

/// There while a system of ostree runs (ostree(1)).
const OSTREE: &str = "/run/ostree-booted";

/// Why no module can be installed for a kernel; none where one can be.
pub fn read_only(root: &Root, release: &str) -> Option<Failure> {
    let modules = root.join(Path::new("/lib/modules").join(release));
    let about = statvfs(&modules).ok()?;
    if !about.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return None;
    }
    let shown = modules.display();
    let (why, hint) = match of_images(root) {
        Some((why, hint)) => (format!(", and {why}"), hint),
        None => (String::new(), format!("findmnt --target {shown}")),
    };
    Some(Failure {
        hint: Some(hint),
        ..Failure::of(
            Cause::Machine,
            format!("no driver can be installed: {shown} is on a read-only file system{why}"),
        )
    })
}

/// What kind of system this is where that is known, and how drivers come into it.
fn of_images(root: &Root) -> Option<(&'static str, String)> {
    let has = |program: &str| find_program(root, program).is_some();
    if root.join(OSTREE).exists() {
        let unlock = if has("rpm-ostree") {
            "rpm-ostree usroverlay"
        } else {
            "ostree admin unlock"
        };
        let hint = format!(
            "until the next restart: {unlock}; for good: run dkms-fetch where the image of this system is made"
        );
        return Some(("this system is an image of ostree", hint));
    }
    has("transactional-update").then(|| {
        let hint = "transactional-update run dkms-fetch --auto, then restart".to_owned();
        ("this system changes by transactional-update", hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::put_program;
    use std::fs;

    #[test]
    fn the_way_out_is_that_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let put = |path: &str| put_program(dir.path(), path);
        let hint = || of_images(&root).map(|(_, hint)| hint);
        assert_eq!(hint(), None);
        put("usr/sbin/transactional-update");
        assert!(
            hint()
                .unwrap()
                .starts_with("transactional-update run dkms-fetch --auto")
        );
        put("run/ostree-booted");
        assert!(hint().unwrap().contains("ostree admin unlock"));
        put("usr/bin/rpm-ostree");
        assert!(hint().unwrap().contains("rpm-ostree usroverlay"));
    }

    #[test]
    fn a_directory_that_can_be_written_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("lib/modules/6.1.0")).unwrap();
        let root = Root::at(dir.path());
        assert!(read_only(&root, "6.1.0").is_none() && read_only(&root, "6.2.0").is_none());
    }
}
