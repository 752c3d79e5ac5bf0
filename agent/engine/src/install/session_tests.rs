//! Whole runs on roots made of plain files: originals, versions, other versions of the same package.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::event::{Event, Sink};
use crate::framework::Framework;
use crate::package::{DkmsId, KernelId};
use crate::recovery::lock_and_recover;
use crate::root::Root;
use crate::tree::{Filter, Tree};

const RELEASE: &str = "6.1.0-56-amd64";

/// A root with one kernel and one built package `m` of module `tiny`, as another dkms would have built it.
struct World {
    dir: tempfile::TempDir,
    tree: Tree,
    kernel: KernelId,
}

impl World {
    fn new(os_release: &str) -> World {
        let dir = tempfile::tempdir().expect("temp dir");
        let tree = Tree::new(&Root::at(dir.path()), &Framework::default());
        let kernel = KernelId::new(RELEASE, "x86_64").expect("a kernel");
        let world = World { dir, tree, kernel };
        world.write("etc/os-release", os_release.as_bytes());
        fs::create_dir_all(world.modules()).expect("dirs");
        world
    }

    fn write(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("dirs");
        fs::write(&path, bytes).expect("write");
        path
    }

    fn modules(&self) -> PathBuf {
        self.dir.path().join("lib/modules").join(RELEASE)
    }

    /// A shell, and `env`, which starts it: scripts of an image run nowhere but in it.
    fn with_shell(&self) {
        for program in ["/bin/sh", "/usr/bin/env"] {
            let ldd = std::process::Command::new("ldd")
                .arg(program)
                .output()
                .expect("ldd runs");
            let text = String::from_utf8_lossy(&ldd.stdout).into_owned();
            let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
            for path in libraries.chain([program]) {
                let to = self.dir.path().join(path.trim_start_matches('/'));
                fs::create_dir_all(to.parent().expect("a parent")).expect("dirs");
                fs::copy(path, to).expect("copies");
            }
        }
    }

    /// A version of `m` with a build that holds `bytes` as `tiny.ko`.
    fn built(&self, version: &str, bytes: &[u8], more: &str) -> DkmsId {
        self.built_of("m", version, bytes, more)
    }

    fn built_of(&self, name: &str, version: &str, bytes: &[u8], more: &str) -> DkmsId {
        let package = DkmsId::new(name, version).expect("a package");
        let conf = format!(
            "PACKAGE_NAME={name}\nPACKAGE_VERSION={version}\nBUILT_MODULE_NAME=tiny\nDEST_MODULE_LOCATION=/kernel/drivers\n{more}"
        );
        self.write(&format!("usr/src/{name}-{version}/dkms.conf"), conf.as_bytes());
        let built = format!("var/lib/dkms/{name}/{version}");
        self.write(&format!("{built}/{RELEASE}/x86_64/module/tiny.ko"), bytes);
        let source = self.dir.path().join(&built).join("source");
        std::os::unix::fs::symlink(format!("/usr/src/{name}-{version}"), source).expect("link");
        package
    }

    fn install(&self, package: &DkmsId, options: InstallOptions) -> Result<InstallOutcome, InstallError> {
        let lock = lock_and_recover(&self.tree, &()).expect("locks");
        let options = InstallOptions {
            no_depmod: true,
            ..options
        };
        Session::new(&self.tree, &lock, options, &()).install(package, &self.kernel)
    }

    fn uninstall(&self, package: &DkmsId) -> bool {
        let lock = lock_and_recover(&self.tree, &()).expect("locks");
        let options = InstallOptions {
            no_depmod: true,
            ..InstallOptions::default()
        };
        Session::new(&self.tree, &lock, options, &())
            .uninstall(package, &self.kernel)
            .expect("uninstalls")
    }

    fn status(&self) -> Vec<String> {
        self.tree
            .status(&Filter::default())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Every file below the kernel's directory with what it holds.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = walkdir::WalkDir::new(self.modules())
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                (
                    relative(entry.path(), &self.modules()),
                    fs::read(entry.path()).expect("reads"),
                )
            })
            .collect();
        files.sort();
        files
    }

    fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|(name, _)| name).collect()
    }
}

fn relative(path: &Path, dir: &Path) -> String {
    path.strip_prefix(dir).expect("below").display().to_string()
}

const TINY: &[u8] = include_bytes!("../../tests/data/tiny.ko");

/// The module as somebody else built it: another source, and a version that sorts before or after ours (1.2).
fn other(version: &str) -> Vec<u8> {
    let mut bytes = TINY.to_vec();
    let find = |bytes: &[u8], text: &[u8]| {
        bytes
            .windows(text.len())
            .position(|part| part == text)
            .expect("it is there")
    };
    let at = find(&bytes, b"\0version=1.2\0") + b"\0version=".len();
    bytes[at..at + 3].copy_from_slice(version.as_bytes());
    let at = find(&bytes, b"srcversion=") + b"srcversion=".len();
    bytes[at..at + 4].copy_from_slice(b"0000");
    bytes
}

#[test]
fn originals_go_and_come_back() {
    let world = World::new("ID=fedora\n");
    let package = world.built("1", TINY, "");
    let prefix = format!("lib/modules/{RELEASE}");
    world.write(&format!("{prefix}/extra/tiny.ko"), &other("1.0"));
    world.write(&format!("{prefix}/kernel/drivers/tiny.ko"), &other("0.9"));
    world.write(&format!("{prefix}/kernel/drivers/else.ko"), b"another module");
    let before = world.files();

    world.install(&package, InstallOptions::default()).expect("installs");
    assert_eq!(world.names(), ["extra/tiny.ko", "kernel/drivers/else.ko"]);
    assert_eq!(fs::read(world.modules().join("extra/tiny.ko")).expect("ours"), TINY);
    let line = format!("m/1, {RELEASE}, x86_64: installed (Original modules exist)");
    assert_eq!(world.status(), [line]);
    let originals = world.tree.originals_dir("m", &world.kernel);
    assert_eq!(fs::read(originals.join("tiny.ko")).expect("kept"), other("1.0"));
    assert_eq!(
        fs::read(originals.join("collisions/kernel/drivers/tiny.ko")).expect("kept"),
        other("0.9")
    );

    assert!(world.uninstall(&package));
    assert_eq!(world.files(), before, "all is as it was");
    assert!(!world.dir.path().join("var/lib/dkms/m/original_module").exists());
    assert_eq!(world.status(), [format!("m/1, {RELEASE}, x86_64: built")]);
    assert!(!world.uninstall(&package), "there is nothing to uninstall any more");
}

#[test]
fn originals_that_upstream_archived_go_back_to_where_it_says() {
    let world = World::new("ID=fedora\n");
    let package = world.built("1", TINY, "");
    world.install(&package, InstallOptions::default()).expect("installs");
    let archive = format!("var/lib/dkms/m/original_module/{RELEASE}/x86_64");
    world.write(&format!("{archive}/tiny.ko"), &other("1.0"));
    let origin = format!("/lib/modules/{RELEASE}/kernel/net/tiny.ko\n");
    world.write(&format!("{archive}/tiny.ko.origin"), origin.as_bytes());
    let outside = format!("/lib/modules/{RELEASE}/../../../etc/tiny.ko\n");
    world.write(&format!("{archive}/collisions/extra/tiny.ko"), &other("0.9"));
    world.write(
        &format!("{archive}/collisions/extra/tiny.ko.origin"),
        outside.as_bytes(),
    );
    assert!(world.uninstall(&package));
    assert_eq!(world.names(), ["extra/tiny.ko", "kernel/net/tiny.ko"]);
    assert!(!world.dir.path().join("etc/tiny.ko").exists());
}

#[test]
fn originals_stay_on_debian() {
    let world = World::new("ID=debian\n");
    let package = world.built("1", TINY, "");
    let prefix = format!("lib/modules/{RELEASE}");
    world.write(&format!("{prefix}/kernel/drivers/tiny.ko"), &other("1.0"));
    let before = world.files();
    world.install(&package, InstallOptions::default()).expect("installs");
    assert_eq!(world.names(), ["kernel/drivers/tiny.ko", "updates/dkms/tiny.ko"]);
    assert_eq!(
        world.install(&package, InstallOptions::default()).expect("is there"),
        InstallOutcome::Already
    );
    fs::write(world.modules().join("updates/dkms/tiny.ko"), "damaged").expect("write");
    let line = format!("m/1, {RELEASE}, x86_64: installed (Differences between built and installed modules)");
    assert_eq!(world.status(), [line]);
    let repaired = world.install(&package, InstallOptions::default()).expect("repairs");
    assert!(matches!(repaired, InstallOutcome::Installed(_)));
    assert!(world.uninstall(&package));
    assert_eq!(world.files(), before);
    assert!(!world.modules().join("updates").exists());
}

#[test]
fn a_module_of_another_package_comes_back() {
    let place = "updates/dkms/tiny.ko";
    for removed_first in ["b", "a"] {
        let world = World::new("ID=debian\n");
        let (a, b) = (
            world.built_of("a", "1", &other("1.0"), ""),
            world.built_of("b", "1", TINY, ""),
        );
        world.install(&a, InstallOptions::default()).expect("installs");
        world.install(&b, InstallOptions::default()).expect("installs");
        assert_eq!(fs::read(world.modules().join(place)).expect("b's"), TINY);
        let lines = world.status();
        assert!(lines[1].ends_with("installed (Original modules exist)"), "{lines:?}");
        if removed_first == "b" {
            assert!(world.uninstall(&b));
            assert_eq!(fs::read(world.modules().join(place)).expect("a's"), other("1.0"));
            assert_eq!(world.status()[0], format!("a/1, {RELEASE}, x86_64: installed"));
            assert!(world.uninstall(&a));
        } else {
            assert!(world.uninstall(&a));
            assert_eq!(fs::read(world.modules().join(place)).expect("b's stays"), TINY);
            assert_eq!(world.status()[1], format!("b/1, {RELEASE}, x86_64: installed"));
            assert!(world.uninstall(&b), "and a's does not come back");
        }
        assert_eq!(world.names(), Vec::<String>::new());
        assert!(!world.tree.originals_dir("b", &world.kernel).exists());
    }
}

#[test]
fn status_of_another_dkms_s_build_needs_no_conf_where_modules_lie_as_usual() {
    let world = World::new("ID=debian\n");
    // An evaluation would not end before its limit.
    world.built("1", TINY, "while :; do :; done\n");
    world.write(&format!("lib/modules/{RELEASE}/updates/dkms/tiny.ko"), TINY);
    let mark = world.tree.mark("m", &world.kernel);
    std::os::unix::fs::symlink(format!("1/{RELEASE}/x86_64"), mark).expect("link");
    let started = std::time::Instant::now();
    assert_eq!(world.status(), [format!("m/1, {RELEASE}, x86_64: installed")]);
    assert!(started.elapsed() < crate::sandbox::Limits::evaluation().time);
    world.write(&format!("lib/modules/{RELEASE}/updates/dkms/tiny.ko"), b"other");
    let line = format!("m/1, {RELEASE}, x86_64: installed (Differences between built and installed modules)");
    assert_eq!(world.status(), [line]);
    assert!(world.tree.dependents("other", &world.kernel).is_empty());
    assert!(started.elapsed() < crate::sandbox::Limits::evaluation().time);
    let top = world.built_of("top", "1", TINY, "BUILD_DEPENDS=m\n");
    std::os::unix::fs::symlink(format!("1/{RELEASE}/x86_64"), world.tree.mark("top", &world.kernel)).expect("link");
    assert_eq!(world.tree.dependents("m", &world.kernel), [top]);
}

#[test]
fn a_run_leaves_nothing_of_its_own_in_the_tree() {
    let world = World::new("ID=debian\n");
    let package = world.built("1", TINY, "");
    let lock = lock_and_recover(&world.tree, &()).expect("locks");
    let mut session = Session::new(&world.tree, &lock, InstallOptions::default(), &());
    session.install(&package, &world.kernel).expect("installs");
    let kernels = session.kernels_of(&package);
    assert!(session.remove(&package, &kernels).expect("removes"));
    session.finish().expect("depmod");
    let left = fs::read_dir(world.tree.path()).expect("there");
    let left: Vec<_> = left.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn the_kernels_own_module_counts_only_when_it_is_newer_or_the_same() {
    let check = |theirs: &[u8], options: InstallOptions, installs: bool| {
        let world = World::new("ID=debian\n");
        let package = world.built("1", TINY, "");
        world.write(&format!("lib/modules/{RELEASE}/kernel/tiny.ko"), theirs);
        let result = world.install(&package, options);
        match result {
            Ok(outcome) => assert!(installs, "{outcome:?}"),
            Err(InstallError::NotNewer { kept, .. }) => assert!(!installs && kept.len() == 1, "{kept:?}"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(world.modules().join("updates/dkms/tiny.ko").exists(), installs);
    };
    let plain = InstallOptions::default;
    check(&other("1.1"), plain(), true);
    check(&other("1.2"), plain(), true);
    check(&other("1.3"), plain(), false);
    check(TINY, plain(), false);
    check(b"no module at all", plain(), true);
    check(&other("1.3"), InstallOptions { force: true, ..plain() }, true);
    check(
        &other("1.3"),
        InstallOptions {
            force_version_override: true,
            ..plain()
        },
        true,
    );
}

#[test]
fn a_distribution_may_list_modules_whose_version_does_not_count() {
    let check = |list: &str, installs: bool| {
        let world = World::new("ID=debian\n");
        let package = world.built("1", TINY, "");
        world.write(&format!("lib/modules/{RELEASE}/kernel/tiny.ko"), &other("1.3"));
        world.write("usr/share/dkms/modules_to_force_install/some-package", list.as_bytes());
        let installed = world.install(&package, InstallOptions::default());
        assert_eq!(installed.is_ok(), installs, "{list:?}: {installed:?}");
    };
    check("m\n", true);
    check("other\nm_version-override\n", true);
    check("mm\nother\n", false);
}

#[test]
fn a_new_version_takes_the_place_of_the_old_one() {
    let world = World::new("ID=debian\n");
    let (old, new) = (world.built("1", &other("1.0"), ""), world.built("2", TINY, ""));
    world.install(&old, InstallOptions::default()).expect("installs");
    world.install(&new, InstallOptions::default()).expect("installs");
    assert_eq!(world.names(), ["updates/dkms/tiny.ko"]);
    assert_eq!(
        fs::read(world.modules().join("updates/dkms/tiny.ko")).expect("ours"),
        TINY
    );
    let lines = [
        format!("m/1, {RELEASE}, x86_64: built"),
        format!("m/2, {RELEASE}, x86_64: installed"),
    ];
    assert_eq!(world.status(), lines);
    let lock = lock_and_recover(&world.tree, &()).expect("locks");
    let mut session = Session::new(
        &world.tree,
        &lock,
        InstallOptions {
            no_depmod: true,
            ..InstallOptions::default()
        },
        &(),
    );
    let kernels = session.kernels_of(&new);
    assert!(session.remove(&new, &kernels).expect("removes"));
    assert_eq!(world.names(), Vec::<String>::new());
    assert!(
        session
            .remove(&old, std::slice::from_ref(&world.kernel))
            .expect("removes")
    );
    assert!(!world.dir.path().join("var/lib/dkms/m").exists());
    assert!(world.dir.path().join("usr/src/m-1").exists(), "sources stay");
}

#[test]
fn a_pre_install_that_says_no_changes_nothing() {
    let world = World::new("ID=debian\n");
    let package = world.built("1", TINY, "PRE_INSTALL='check.sh now'\n");
    let marker = world.dir.path().join("ran");
    let script = format!(
        "#!/bin/sh\n[ ! -d {0} ] || echo >{0}/ran\necho not $1\nexit 7\n",
        world.dir.path().display()
    );
    let script = world.write("usr/src/m-1/check.sh", script.as_bytes());
    fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let scripts = InstallOptions {
        scripts: crate::script::ScriptConsent::All,
        ..InstallOptions::default()
    };
    // An image without a shell cannot run it, and this machine does not.
    let installed = world
        .install(&package, scripts.clone())
        .expect("goes on without the script");
    assert!(matches!(installed, InstallOutcome::Installed(_)) && !marker.exists());
    world.uninstall(&package);
    world.with_shell();
    let error = world.install(&package, scripts.clone()).expect_err("PRE_INSTALL fails");
    let InstallError::PreInstall { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(source.to_string().contains("not now"), "{source}");
    assert_eq!(world.names(), Vec::<String>::new());
    world
        .install(&package, InstallOptions { force: true, ..scripts })
        .expect("force goes on");
}

#[test]
fn writers_wait_and_readers_do_not() {
    let world = World::new("ID=debian\n");
    world.built("1", TINY, "");
    let lock = lock_and_recover(&world.tree, &()).expect("locks");
    let waiting = std::sync::atomic::AtomicBool::new(false);
    let sink = |event: Event| {
        if matches!(event, Event::Note(_)) {
            waiting.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    };
    let sink: &dyn Sink = &sink;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| lock_and_recover(&world.tree, sink).map(drop));
        while !waiting.load(std::sync::atomic::Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert_eq!(world.status().len(), 1, "a reader has its answer while a writer waits");
        assert!(!other.is_finished());
        drop(lock);
        other.join().expect("no panic").expect("has its turn");
    });
}

#[test]
fn depmod_is_told_while_it_runs() {
    let world = World::new("ID=debian\n");
    let package = world.built("1", TINY, "");
    let told = std::sync::Mutex::new(Vec::new());
    let sink = |event: Event| match event {
        Event::DepmodStarted { release } => told.lock().expect("lock").push(format!("{release} starts")),
        Event::DepmodEnded { release } => told.lock().expect("lock").push(format!("{release} ends")),
        _ => {}
    };
    let lock = lock_and_recover(&world.tree, &()).expect("locks");
    let mut session = Session::new(&world.tree, &lock, InstallOptions::default(), &sink);
    session.install(&package, &world.kernel).expect("installs");
    session.finish().expect("depmod");
    let expected = [format!("{RELEASE} starts"), format!("{RELEASE} ends")];
    assert_eq!(*told.lock().expect("lock"), expected);
}
