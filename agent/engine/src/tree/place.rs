//! The owner of a directory in the source tree: no source replaces that of another package, an administrator's directory or kernel headers.

use std::fs;
use std::io;
use std::path::Path;

use super::{AddError, Tree};
use crate::conf::{ConfContext, evaluate};
use crate::package::DkmsId;

/// Beginnings of the names of directories in `/usr/src` that belong to the kernel packages of distributions.
const RESERVED: [&str; 4] = ["linux-headers-", "linux-kbuild-", "linux-source-", "linux-image-"];

impl Tree {
    /// Makes sure that the directory of `package` in the source tree is its own: there is none yet, it is empty, or its dkms.conf is of
    /// this very package.
    ///
    /// # Errors
    /// [`AddError::Reserved`], [`AddError::SharedPlace`] and [`AddError::Foreign`].
    pub(super) fn require_own_place(&self, package: &DkmsId, ctx: &ConfContext) -> Result<(), AddError> {
        let dir = self.source_tree().join(package.dashed());
        if RESERVED.iter().any(|prefix| package.dashed().starts_with(prefix)) {
            return Err(AddError::Reserved {
                package: package.clone(),
                dir,
            });
        }
        self.require_unshared_place(package)?;
        let foreign = |why: String| AddError::Foreign {
            package: package.clone(),
            dir: dir.clone(),
            why,
        };
        match is_free(&dir) {
            Ok(true) => return Ok(()),
            Ok(false) if self.is_added(package) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(foreign(format!("it cannot be read: {error}"))),
        }
        if !dir.join("dkms.conf").is_file() {
            return Err(foreign("it has no dkms.conf".to_owned()));
        }
        let ctx = ctx.clone().of_package(&package.module, &package.version);
        let conf = evaluate(&dir, &ctx).map_err(|error| foreign(format!("its dkms.conf cannot be used: {error}")))?;
        let is_its_own = conf.package_name == package.module && conf.package_version == package.version;
        if is_its_own {
            return Ok(());
        }
        let found = format!("{}/{}", conf.package_name, conf.package_version);
        Err(foreign(format!("its dkms.conf is of {found}")))
    }

    /// Makes sure that no other package has the directory of `package`: `a-1`/`1.0` and `a`/`1-1.0` have the same.
    ///
    /// # Errors
    /// [`AddError::SharedPlace`].
    pub(super) fn require_unshared_place(&self, package: &DkmsId) -> Result<(), AddError> {
        let dashed = package.dashed();
        let shares = |other: &DkmsId| other != package && other.dashed() == dashed;
        match self.packages().into_iter().find(shares) {
            None => Ok(()),
            Some(owner) => Err(AddError::SharedPlace {
                package: package.clone(),
                owner,
                dir: self.source_tree().join(dashed),
            }),
        }
    }
}

/// True when there is nothing at `dir`, or an empty directory.
fn is_free(dir: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => Ok(fs::read_dir(dir)?.next().is_none()),
        Ok(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Framework;
    use crate::package::KernelId;
    use crate::root::Root;
    use crate::tree::{AddOptions, Added};

    struct World {
        temp: tempfile::TempDir,
        tree: Tree,
    }

    impl World {
        fn new() -> World {
            let temp = tempfile::tempdir().expect("temp dir");
            // The sandbox of dkms.conf reads it as another user.
            let open: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(temp.path(), open).expect("mode");
            let tree = Tree::new(&Root::at(temp.path()), &Framework::default());
            World { temp, tree }
        }

        fn conf(&self, dir: &str, name: &str, version: &str, extra: &str) -> std::path::PathBuf {
            let dir = self.temp.path().join(dir);
            fs::create_dir_all(&dir).expect("dirs");
            let conf = format!(
                "PACKAGE_NAME={name}\nPACKAGE_VERSION={version}\nBUILT_MODULE_NAME=x\nDEST_MODULE_LOCATION=/extra\n{extra}"
            );
            fs::write(dir.join("dkms.conf"), conf).expect("write");
            dir
        }

        fn add(&self, dir: &Path, force: bool) -> Result<Added, AddError> {
            let nothing = DkmsId {
                module: String::new(),
                version: String::new(),
            };
            let kernel = KernelId::new("6.1.0-1-amd64", "x86_64").expect("kernel");
            let lock = self.tree.lock(&()).expect("locks");
            let options = AddOptions {
                force,
                scripts: crate::script::ScriptConsent::None,
                ..AddOptions::default()
            };
            self.tree
                .add_directory(&lock, dir, &self.tree.context(&nothing, &kernel), &options, &())
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.temp.path().join(path)).expect("reads")
        }
    }

    #[test]
    fn no_source_takes_the_place_of_what_is_not_its_own() {
        let world = World::new();
        let top = world.temp.path();
        fs::create_dir_all(top.join("usr/src/linux-6.1/kernel")).expect("dirs");
        fs::write(top.join("usr/src/linux-6.1/kernel/own.c"), "own").expect("write");
        fs::create_dir_all(top.join("usr/src/empty-1")).expect("dirs");
        world.conf("usr/src/other-1", "else", "1", "# own");
        world.conf("usr/src/same-1", "same", "1", "# old");
        world.conf("usr/src/broken-1", "broken", "1", "exit 1\n");
        let check = |name: &str, version: &str, expected: &str| {
            let new = world.conf(&format!("new/{name}"), name, version, "# new");
            for force in [false, true] {
                let error = world.add(&new, force).expect_err(name);
                let hint = error.hint().expect("a hint");
                let text = error.to_string();
                assert!(text.contains(expected), "{name} {force}: {text} ({hint})");
            }
        };
        check("linux-headers-6.1.0-56", "common", "kernel packages");
        check("linux", "6.1", "it has no dkms.conf");
        check("other", "1", "its dkms.conf is of else/1");
        check("broken", "1", "its dkms.conf cannot be used");
        assert_eq!(world.read("usr/src/linux-6.1/kernel/own.c"), "own");
        assert!(world.read("usr/src/other-1/dkms.conf").ends_with("# own"));
        assert!(!top.join("usr/src/linux-headers-6.1.0-56-common").exists());

        let same = world.conf("new/same", "same", "1", "# new");
        world.add(&same, true).expect("its own may be replaced");
        assert!(world.read("usr/src/same-1/dkms.conf").ends_with("# new"));
        let empty = world.conf("new/empty", "empty", "1", "");
        world.add(&empty, false).expect("an empty directory is free");
        assert!(top.join("usr/src/empty-1/dkms.conf").is_file());
    }

    #[test]
    fn two_packages_never_share_a_directory() {
        let world = World::new();
        let first = world.conf("first", "aaa-1", "1.0", "# first");
        let second = world.conf("second", "aaa", "1-1.0", "# second");
        world.add(&first, false).expect("the first");
        for force in [false, true] {
            let error = world.add(&second, force).expect_err("the second");
            assert!(
                error.to_string().contains("aaa-1/1.0 has the same source directory"),
                "{error}"
            );
            assert_eq!(error.hint().as_deref(), Some("dkms remove aaa-1/1.0 --all"));
        }
        assert!(world.read("usr/src/aaa-1-1.0/dkms.conf").ends_with("# first"));
    }
}
