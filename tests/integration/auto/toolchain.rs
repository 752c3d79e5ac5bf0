//! A run that may install what a build lacks. The real apt and dpkg work on the image's own database, with an archive of small packages of
//! ours; nothing of this machine changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_tests::apt::AptArchive;
use dkms_tests::story::{Run, Story, program};
use rustix::fs::{FlockOperation, fcntl_lock};

use super::waiting::Waiting;

/// A machine without headers, with an apt of its own whose lists are empty.
struct Bare {
    story: Story,
    archive: PathBuf,
    /// Where the link to the headers leads.
    headers: PathBuf,
}

fn run(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Bare {
    fn new() -> Self {
        let story = Story::with_driver();
        let link = story.path(&format!("lib/modules/{}/build", story.kernel));
        let headers = fs::read_link(&link).expect("a link");
        fs::remove_file(&link).expect("a link");
        let archive = story.path("archive");
        for dir in [
            "archive",
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/log/apt",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
        ] {
            fs::create_dir_all(story.path(dir)).expect("a directory");
        }
        story.write("var/lib/dpkg/status", "");
        story.write("etc/os-release", "ID=debian\n");
        story.write(
            "etc/apt/sources.list",
            &format!("deb [trusted=yes] file:{} ./\n", archive.display()),
        );
        Self {
            story,
            archive,
            headers,
        }
    }

    fn headers_package(&self) -> String {
        format!("linux-headers-{}", self.story.kernel)
    }

    /// Puts a package into the archive; `control` are further fields of it.
    fn offer(&self, name: &str, version: &str, control: &str, fill: impl FnOnce(&Path)) -> PathBuf {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("DEBIAN")).expect("a directory");
        let text = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
             Installed-Size: 2000\nDescription: a test\n{control}"
        );
        fs::write(dir.path().join("DEBIAN/control"), text).expect("a file");
        fill(dir.path());
        let deb = self.archive.join(format!("{name}_{version}_all.deb"));
        run(Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group"])
            .arg(dir.path())
            .arg(&deb));
        let list = run(Command::new("dpkg-scanpackages")
            .args(["--multiversion", "."])
            .current_dir(&self.archive));
        fs::write(self.archive.join("Packages"), list).expect("a list");
        deb
    }

    /// The headers as a package that needs another one.
    fn offer_headers(&self, control: &str) {
        self.offer("tiny-kbuild", "1.0", "", |_| {});
        let needs = format!("Depends: tiny-kbuild\n{control}");
        self.offer(&self.headers_package(), "6.1-1", &needs, |dir| {
            let modules = dir.join("lib/modules").join(&self.story.kernel);
            fs::create_dir_all(&modules).expect("a directory");
            symlink(&self.headers, modules.join("build")).expect("a link");
        });
    }

    /// Installs a package by dpkg, as an administrator would.
    fn install(&self, deb: &Path) {
        let root = self.story.path("");
        run(Command::new("dpkg")
            .arg(format!("--root={}", root.display()))
            .arg("-i")
            .arg(deb));
    }

    /// The packages that are installed.
    fn installed(&self) -> Vec<String> {
        let text = fs::read_to_string(self.story.path("var/lib/dpkg/status")).expect("a status");
        let paragraphs = text
            .split("\n\n")
            .filter(|one| one.contains("Status: install ok installed"));
        let name = |one: &str| {
            one.lines()
                .find_map(|line| line.strip_prefix("Package: ").map(str::to_owned))
        };
        let mut names: Vec<String> = paragraphs.filter_map(name).collect();
        names.sort();
        names
    }

    fn configure(&self, text: &str) {
        self.story.write("etc/dkms-fetch/config.toml", text);
    }
}

#[test]
fn what_a_build_lacks_is_installed_and_taken_away_again() {
    let bare = Bare::new();
    bare.offer_headers("");
    let headers = bare.headers_package();
    let without = bare.story.auto(&[]);
    without.assert(5, &[&format!("apt-get install {headers}")]);
    assert_eq!(bare.installed(), [""; 0]);
    bare.configure("toolchain = \"never\"\n");
    bare.story.auto(&["--install-toolchain"]).assert(5, &[]);
    assert_eq!(bare.installed(), [""; 0]);

    bare.configure("toolchain_keep = false\n");
    let run = bare.story.auto(&["--install-toolchain"]);
    let said = format!("installing by apt, for builds: tiny-kbuild 1.0, {headers} 6.1-1 (");
    run.assert(0, &[&said, " KiB to download, 4000 KiB on disk)", "installed edu 1.0"]);
    run.assert(0, &["removed by apt, after the builds: ", "tiny-kbuild"]);
    assert!(bare.story.module("edu").is_file());
    assert_eq!(bare.installed(), [""; 0]);
    assert!(!bare.story.path("var/lib/dkms-fetch/toolchain.json").exists());
    // Nothing is to be built: nothing is installed.
    let again = bare.story.auto(&["--install-toolchain"]);
    assert!(!again.stderr.contains("apt"), "{}", again.stderr);

    // The lists are there now: `--check` can say what it would be, and writes nothing.
    bare.story.run(&["remove", "edu"]).assert(0, &[]);
    let before = bare.story.files();
    let check = bare.story.auto(&["--install-toolchain", "--check"]);
    check.assert(0, &["would install by apt, for builds: tiny-kbuild 1.0"]);
    bare.story.assert_unchanged(&before);
}

#[test]
fn what_others_came_to_need_stays() {
    let bare = Bare::new();
    bare.offer_headers("");
    bare.configure("toolchain = \"install\"\n");
    let headers = bare.headers_package();
    bare.story.auto(&[]).assert(0, &["installed edu 1.0"]);
    assert_eq!(bare.installed(), [headers.clone(), "tiny-kbuild".to_owned()]);
    let user = bare.offer("user", "1.0", "Depends: tiny-kbuild\n", |_| {});
    bare.install(&user);
    bare.configure("toolchain_keep = false\n");
    let run = bare.story.auto(&[]);
    run.assert(0, &["stay installed: user would have to be changed with them"]);
    assert_eq!(bare.installed(), [headers, "tiny-kbuild".to_owned(), "user".to_owned()]);
    assert!(bare.story.path("var/lib/dkms-fetch/toolchain.json").exists());
}

#[test]
fn nothing_else_is_removed_or_upgraded() {
    for (control, expected) in [
        ("Conflicts: precious\n", "apt would have to remove precious for "),
        ("Breaks: precious (<< 2)\n", "apt would have to upgrade precious for "),
    ] {
        let bare = Bare::new();
        let precious = bare.offer("precious", "1.0", "", |_| {});
        bare.install(&precious);
        bare.offer("precious", "2.0", "", |_| {});
        bare.offer_headers(control);
        bare.configure("toolchain = \"install\"\n");
        let run = bare.story.auto(&[]);
        run.assert(
            5,
            &[
                expected,
                "nothing was installed",
                "look at it: apt-get install -s linux-headers-",
            ],
        );
        assert_eq!(bare.installed(), ["precious"]);
        let status = fs::read_to_string(bare.story.path("var/lib/dpkg/status")).expect("a status");
        assert!(status.contains("Version: 1.0"), "{status}");
    }
}

#[test]
fn what_apt_does_not_have_is_told() {
    let bare = Bare::new();
    bare.offer("other", "1.0", "", |_| {});
    bare.configure("toolchain = \"install\"\n");
    let run = bare.story.auto(&[]);
    run.assert(5, &["apt offers no package linux-headers-", "apt-get update; where "]);
    fs::remove_dir_all(bare.story.path("var/lib/dpkg")).expect("a directory");
    bare.story.auto(&[]).assert(
        5,
        &["installed by apt, dnf or zypper only, and this system has none of them"],
    );
}

/// What apt cannot download now, it may get later: no other code would have the first boot try again.
#[test]
fn a_download_that_fails_is_to_be_tried_again() {
    let bare = Bare::new();
    bare.offer_headers("");
    let deb = bare.archive.join("tiny-kbuild_1.0_all.deb");
    let away = bare.story.path("away.deb");
    fs::rename(&deb, &away).expect("moved");
    let auto = || bare.story.auto(&["--install-toolchain"]);
    auto().assert(75, &["apt-get install --download-only", "failed: E: Failed to fetch "]);
    let install = bare.story.run(&["install", "edu", "--install-toolchain"]);
    install.assert(75, &["failed: E: Failed to fetch "]);
    assert_eq!(bare.installed(), [""; 0]);
    fs::rename(&away, &deb).expect("moved");
    auto().assert(0, &["installed edu 1.0"]);
}

/// An upgrade that runs, mostly by itself, holds the lock that every frontend of dpkg takes.
#[test]
fn another_run_of_apt_is_waited_for() {
    let bare = Bare::new();
    bare.offer_headers("");
    let lock = fs::File::create(bare.story.path("var/lib/dpkg/lock-frontend")).expect("a file");
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).expect("a lock");
    let run = Waiting::start(&bare.story, &["apt-get", "install", "--download-only"]);
    assert_eq!(bare.installed(), [""; 0]);
    drop(lock);
    run.end().assert(0, &["installed edu 1.0"]);
}

/// The package that brings kernels is known by what it needs; with it come the headers of kernels that are installed later.
#[test]
fn headers_of_later_kernels_come_with_these() {
    let bare = Bare::new();
    bare.offer_headers("");
    let (kernel, headers) = (bare.story.kernel.clone(), bare.headers_package());
    let image = bare.offer(&format!("linux-image-{kernel}"), "6.1-1", "", |_| {});
    let brings = format!("Depends: linux-image-{kernel} (= 6.1-1)\n");
    let flavour = bare.offer("linux-image-generic", "6.1-1", &brings, |_| {});
    let other = bare.offer(
        "linux-image-other",
        "1",
        "Depends: linux-image-0\nProvides: linux-image-0\n",
        |_| {},
    );
    bare.install(&image);
    bare.install(&flavour);
    run(Command::new("dpkg")
        .arg(format!("--root={}", bare.story.path("").display()))
        .args(["--force-depends", "-i"])
        .arg(&other));
    let needs = format!("Depends: {headers} (= 6.1-1)\n");
    bare.offer("linux-headers-generic", "6.1-1", &needs, |_| {});
    bare.offer("linux-headers-generic", "6.9-1", "Depends: tiny-kbuild\n", |_| {});
    bare.offer("linux-headers-other", "1", "", |_| {});
    let run = bare.story.auto(&["--install-toolchain"]);
    run.assert(0, &["linux-headers-generic 6.1-1", &headers, "installed edu 1.0"]);
    let installed = bare.installed();
    assert!(installed.contains(&"linux-headers-generic".to_owned()), "{installed:?}");
    assert!(!installed.contains(&"linux-headers-other".to_owned()), "{installed:?}");
}

/// The archive of a distribution, with the headers of a kernel, and a key that machines know.
fn signed_archive(bare: &Bare) -> AptArchive {
    let archive = AptArchive::new();
    let put = |name: &str, control: &str, fill: &dyn Fn(&Path)| {
        let tree = tempfile::tempdir().expect("a directory");
        fill(tree.path());
        let fields = format!("Package: {name}\nVersion: 6.1-1\nArchitecture: all\nInstalled-Size: 2000\n{control}");
        archive.put_made(tree.path(), &fields);
    };
    for name in ["tiny-kbuild", "gcc", "make"] {
        put(name, "", &|_| {});
    }
    put(&bare.headers_package(), "Depends: tiny-kbuild\n", &|tree| {
        let modules = tree.join("lib/modules").join(&bare.story.kernel);
        fs::create_dir_all(&modules).expect("a directory");
        symlink(&bare.headers, modules.join("build")).expect("a link");
    });
    archive.index(&[]);
    archive
}

/// Makes a medium on a machine with a network that has this archive.
fn medium_of(bare: &Bare, archive: &AptArchive) -> (tempfile::TempDir, Run) {
    let dir = tempfile::tempdir().expect("a directory");
    let maker = dir.path().join("maker");
    for part in ["etc/apt/trusted.gpg.d", "var/lib/dpkg", "var/lib/apt/lists/partial"] {
        fs::create_dir_all(maker.join(part)).expect("a directory");
    }
    run(Command::new("cp")
        .arg("-a")
        .arg(bare.story.path("etc/dkms-fetch"))
        .arg(maker.join("etc")));
    fs::write(maker.join("var/lib/dpkg/status"), "").expect("a file");
    fs::write(maker.join("etc/os-release"), "ID=debian\n").expect("a file");
    let source = format!("deb file:{} stable main\n", archive.dir().display());
    fs::write(maker.join("etc/apt/sources.list"), source).expect("a file");
    fs::copy(
        archive.path("keyring.gpg"),
        maker.join("etc/apt/trusted.gpg.d/archive.gpg"),
    )
    .expect("copied");
    let devices = bare.story.device_list().display().to_string();
    let (root, out) = (
        maker.display().to_string(),
        dir.path().join("medium").display().to_string(),
    );
    let words = [
        "--root",
        &root,
        "--devices",
        &devices,
        "--kernel",
        &bare.story.kernel,
        "media",
        "make",
        "--toolchain",
        "--out",
        &out,
    ];
    let made = Run::of(&mut program(&words.map(str::to_owned)));
    (dir, made)
}

/// A machine without a network and without headers, with a medium: the packages are verified by the keys of its distribution.
#[test]
fn a_medium_brings_what_builds_need() {
    let bare = Bare::new();
    fs::remove_file(bare.story.path("etc/apt/sources.list")).expect("removed");
    let archive = signed_archive(&bare);
    let (dir, made) = medium_of(&bare, &archive);
    made.assert(0, &["toolchain: 4 packages of "]);
    let medium = dir.path().join("medium");
    let text = medium.display().to_string();
    bare.story.use_mirror("http://127.0.0.1:9/");
    let auto = || bare.story.auto(&["--medium", &text, "--install-toolchain"]);

    // A machine that does not know the key takes nothing.
    let unknown = auto();
    unknown.assert(5, &["apt-get update failed"]);
    assert_eq!(bare.installed(), [""; 0]);

    fs::create_dir_all(bare.story.path("etc/apt/trusted.gpg.d")).expect("a directory");
    fs::copy(
        archive.path("keyring.gpg"),
        bare.story.path("etc/apt/trusted.gpg.d/archive.gpg"),
    )
    .expect("copied");
    // Neither does one whose medium was changed.
    let deb = medium.join(format!(".toolchain/0/pool/main/{}.deb", bare.headers_package()));
    let good = fs::read(&deb).expect("a package");
    let mut bad = good.clone();
    let last = bad.len() - 200;
    bad[last] ^= 1;
    fs::write(&deb, &bad).expect("written");
    // apt 3 does not name the sum that differs.
    auto().assert(
        75,
        &["Failed to fetch copy:", &format!("{}.deb", bare.headers_package())],
    );
    assert_eq!(bare.installed(), [""; 0]);
    fs::write(&deb, &good).expect("written");

    let run = auto();
    run.assert(
        0,
        &["installing by apt, for builds: tiny-kbuild 6.1-1", "installed edu 1.0"],
    );
    assert!(bare.story.module("edu").is_file());
    assert!(bare.installed().contains(&bare.headers_package()));
}

/// What nobody signed is not put on a medium: another machine could not verify it.
#[test]
fn an_archive_that_nobody_signed_is_refused() {
    let bare = Bare::new();
    let archive = signed_archive(&bare);
    fs::remove_file(archive.path("dists/stable/InRelease")).expect("removed");
    let (dir, made) = medium_of(&bare, &archive);
    assert_ne!(made.code, 0);
    assert!(!dir.path().join("medium/.toolchain").exists());
}
