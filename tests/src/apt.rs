//! A small apt archive, made and signed by Debian's own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_repo::kernels::debian_arch;

use crate::process::run;
use crate::sources;

/// An apt archive with the suite `stable` and the component `main`, and a key.
#[derive(Debug)]
pub struct AptArchive {
    dir: tempfile::TempDir,
    arch: &'static str,
}

impl AptArchive {
    /// Without packages.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::new_without_default, reason = "it takes a moment")]
    pub fn new() -> Self {
        let archive = Self {
            dir: sources::open_tempdir(),
            arch: debian_arch().expect("a machine that Debian has").0,
        };
        let packages = format!("dists/stable/main/binary-{}", archive.arch);
        for dir in ["pool/main", &packages, "gpg"] {
            fs::create_dir_all(archive.path(dir)).expect("created");
        }
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(archive.path("gpg"), private).expect("chmod");
        let words = [
            "--batch",
            "--passphrase",
            "",
            "--quick-gen-key",
            "Archive <a@example.org>",
            "ed25519",
            "sign",
            "never",
        ];
        archive.gpg(&words);
        archive.gpg(&["--export", "--output", &archive.text("keyring.gpg")]);
        archive
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The place of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    ///
    /// # Panics
    /// When it is none.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// Calls gpg with its keys.
    pub fn gpg(&self, words: &[&str]) {
        run(Command::new("gpg")
            .args(["--quiet", "--homedir"])
            .arg(self.path("gpg"))
            .args(words));
    }

    /// Puts a package into the pool.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn put(&self, deb: &Path) {
        fs::copy(deb, self.path("pool/main").join(deb.file_name().expect("a name"))).expect("copied");
    }

    /// Puts a package of the files below `tree` into the pool. It replaces one with the same name.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn put_made(&self, tree: &Path, fields: &str) {
        let name = fields
            .lines()
            .find_map(|line| line.strip_prefix("Package: "))
            .expect("a name");
        let control = format!("{fields}Maintainer: a <a@example.org>\nDescription: made by a test\n");
        fs::create_dir_all(tree.join("DEBIAN")).expect("created");
        fs::write(tree.join("DEBIAN/control"), control).expect("written");
        run(Command::new("dpkg-deb")
            .args(["-Znone", "--build", "--root-owner-group"])
            .arg(tree)
            .arg(self.path("pool/main").join(format!("{name}.deb"))));
    }

    /// Makes the index anew and signs it. `more` are words for `apt-ftparchive release`.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn index(&self, more: &[&str]) {
        let index = format!("dists/stable/main/binary-{}/Packages", self.arch);
        let packages = run(Command::new("apt-ftparchive")
            .args(["packages", "pool/main"])
            .current_dir(self.dir.path()));
        fs::write(self.path(&index), packages).expect("written");
        run(Command::new("xz").args(["--keep", "--force"]).arg(self.path(&index)));
        let _ = fs::remove_file(self.path("dists/stable/InRelease"));
        let _ = fs::remove_file(self.path("dists/stable/Release"));
        let mut release = Command::new("apt-ftparchive");
        release
            .args(["-o", "APT::FTPArchive::Release::Suite=stable"])
            .args(more)
            .args(["release", "dists/stable"]);
        let release = run(release.current_dir(self.dir.path()));
        fs::write(self.path("dists/stable/Release"), release).expect("written");
        self.gpg(&[
            "--batch",
            "--yes",
            "--clearsign",
            "--output",
            &self.text("dists/stable/InRelease"),
            &self.text("dists/stable/Release"),
        ]);
    }
}
