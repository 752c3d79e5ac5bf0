//! The engine on real packages and real kernels, with Debian's dkms as the reader of what it made.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use dkms_engine::conf::ConfContext;
use dkms_engine::install::{InstallOptions, InstallOutcome, Session};
use dkms_engine::kbuild::{
    BuildError, BuildFailure, BuildOptions, BuildOutcome, BuildRequest, Built, Diagnosis, build_all,
};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::ko::ModuleInfo;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::recovery::lock_and_recover;
use dkms_engine::script::ScriptConsent;
use dkms_engine::tree::{AddOptions, Authority, Filter, State, Tree, TreeLock};
use dkms_tests::engine::tree_and_kernels;
use dkms_tests::{inputs, sources};

/// Trees of their own on the running system, and the two kernels.
struct World {
    dir: tempfile::TempDir,
    tree: Tree,
    kernels: [Arc<KernelTarget>; 2],
}

impl World {
    fn new() -> World {
        let dir = sources::open_tempdir();
        let (tree, kernels) = tree_and_kernels(dir.path());
        World { tree, dir, kernels }
    }

    fn lock(&self) -> TreeLock {
        lock_and_recover(&self.tree, &()).expect("locks")
    }

    fn add(&self, lock: &TreeLock, source: &Path) -> DkmsId {
        let ctx = ConfContext::for_kernel(&self.kernels[0]);
        let options = AddOptions {
            scripts: ScriptConsent::All,
            ..AddOptions::default()
        };
        self.tree
            .add_directory(lock, source, &ctx, &options, &())
            .expect("adds")
            .package
    }

    fn add_deb(&self, lock: &TreeLock, deb: &str) -> DkmsId {
        let unpacked = sources::open_tempdir();
        self.add(lock, &sources::unpack(deb, unpacked.path()))
    }

    fn build(&self, lock: &TreeLock, requests: &[BuildRequest]) -> Vec<BuildOutcome> {
        build_all(
            &self.tree,
            lock,
            requests,
            &BuildOptions::new(jiff::Timestamp::UNIX_EPOCH),
            &(),
        )
    }

    fn request(&self, package: &DkmsId, kernel: usize) -> BuildRequest {
        BuildRequest::new(package.clone(), Arc::clone(&self.kernels[kernel]))
    }

    fn session<'a>(&'a self, lock: &'a TreeLock) -> Session<'a> {
        Session::new(
            &self.tree,
            lock,
            InstallOptions {
                scripts: ScriptConsent::All,
                ..InstallOptions::default()
            },
            &(),
        )
    }

    fn status(&self) -> Vec<String> {
        self.tree
            .status(&Filter::default())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// What Debian's dkms says of the same trees.
    fn dkms_status(&self) -> Vec<String> {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let said = Command::new(inputs::debian_dkms())
            .args([
                "status",
                "--dkmstree",
                &at("dkms"),
                "--sourcetree",
                &at("src"),
                "--installtree",
                &at("lib/modules"),
            ])
            .output()
            .expect("Debian's dkms runs");
        let mut lines: Vec<String> = String::from_utf8_lossy(&said.stdout)
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}

fn built(outcome: &BuildOutcome) -> &Built {
    match outcome {
        BuildOutcome::Built(built) => built,
        other => panic!("{}", explain(other)),
    }
}

fn failed(outcome: &BuildOutcome) -> &BuildFailure {
    match outcome {
        BuildOutcome::Failed(failure) => failure,
        other => panic!("{}", explain(other)),
    }
}

fn explain(outcome: &BuildOutcome) -> String {
    match outcome {
        BuildOutcome::Failed(failure) => format!("{failure}\n{}", failure.tail.join("\n")),
        other => format!("{other:?}"),
    }
}

#[test]
fn real_packages_on_both_kernels_are_read_by_dkms() {
    let world = World::new();
    let lock = world.lock();
    let old = world.add_deb(&lock, "ddcci-dkms_0.4.2");
    let new = world.add_deb(&lock, "ddcci-dkms_0.4.5");
    let edu = world.add(&lock, &sources::own("edu"));
    let requests = [
        world.request(&new, 0),
        world.request(&new, 1),
        world.request(&old, 1),
        world.request(&edu, 0),
        world.request(&edu, 1),
    ];
    let outcomes = world.build(&lock, &requests);

    // Two kernels of one version side by side.
    for (outcome, kernel) in outcomes[..2].iter().zip(&world.kernels) {
        let names: Vec<&str> = built(outcome)
            .modules
            .iter()
            .map(|module| module.name.as_str())
            .collect();
        assert_eq!(names, ["ddcci", "ddcci-backlight"]);
        let info = ModuleInfo::read(&built(outcome).dir.join("module/ddcci.ko")).expect("a module");
        assert!(info.vermagic.starts_with(&kernel.release), "{}", info.vermagic);
        assert!(info.signed, "the kernel knows signatures");
        let log = std::fs::read_to_string(built(outcome).dir.join("log/make.log")).expect("a log");
        let head = format!("make.log for {new} for kernel {} ({})", kernel.release, kernel.arch);
        assert!(
            log.lines()
                .next()
                .is_some_and(|line| line.starts_with("DKMS (") && line.ends_with(&head)),
            "{log}"
        );
    }
    let edu_info = ModuleInfo::read(&built(&outcomes[3]).dir.join("module/qemu_edu.ko")).expect("a module");
    assert_eq!(edu_info.aliases, ["pci:v00001234d000011E8sv*sd*bc*sc*i*"]);
    let log = std::fs::read_to_string(built(&outcomes[4]).dir.join("log/make.log")).expect("a log");
    assert!(!log.contains("warning:"), "{log}");

    // A failure is a value that names the place.
    let failure = failed(&outcomes[2]);
    match &failure.error {
        BuildError::Make {
            diagnosis: Diagnosis::ApiChange { file, line, .. },
            ..
        } => {
            assert!(file.ends_with(".c") && !file.starts_with('/') && *line > 0, "{failure}");
        }
        _ => panic!("{failure}\n{}", failure.tail.join("\n")),
    }
    assert!(failure.log.as_ref().is_some_and(|log| log.is_file()) && !failure.tail.is_empty());
    let remembered = world.tree.failures_of(&old);
    assert_eq!(remembered.len(), 1);
    assert_eq!(remembered[0].record.reason, failure.to_string());

    // Installed, and Debian's dkms says the same.
    let mut session = world.session(&lock);
    for outcome in outcomes[..2].iter().chain(&outcomes[3..]) {
        let built = built(outcome);
        let outcome = session.install(&built.package, &built.kernel).expect("installs");
        assert!(matches!(outcome, InstallOutcome::Installed(_)), "{outcome:?}");
    }
    session.finish().expect("depmod");
    let mut lines = world.status();
    lines.sort();
    assert_eq!(lines, world.dkms_status());
    assert_eq!(lines.len(), 5, "{lines:#?}");
    let dep = std::fs::read_to_string(world.kernels[0].modules_dir.join("modules.dep")).expect("depmod ran");
    assert!(
        dep.contains("updates/dkms/ddcci-backlight.ko: updates/dkms/ddcci.ko"),
        "{dep}"
    );

    // A second run builds nothing and installs nothing.
    let again = world.build(&lock, &requests[..2]);
    assert!(
        again.iter().all(|outcome| matches!(outcome, BuildOutcome::Current(_))),
        "{again:?}"
    );
    let mut session = world.session(&lock);
    let kernel = KernelId::from(&*world.kernels[0]);
    assert_eq!(
        session.install(&new, &kernel).expect("is there"),
        InstallOutcome::Already
    );
    session.finish().expect("nothing to do");

    // And away again, without a trace.
    let mut session = world.session(&lock);
    for package in [&new, &old, &edu] {
        let kernels = session.kernels_of(package);
        assert!(session.remove(package, &kernels).expect("removes"));
    }
    session.finish().expect("depmod");
    assert_eq!(world.status(), Vec::<String>::new());
    let left: Vec<_> = walkdir::WalkDir::new(world.dir.path().join("lib/modules"))
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().to_string_lossy().contains(".ko") || entry.file_name() == "updates")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn who_signed_a_source_is_noted_until_it_is_removed_or_replaced() {
    let world = World::new();
    let lock = world.lock();
    let by_hand = world.add(&lock, &sources::own("edu"));
    let signer = Authority::Signer("main by-id/pci-10ec".into());
    let options = AddOptions {
        authority: signer.clone(),
        ..AddOptions::default()
    };
    let ctx = ConfContext::for_kernel(&world.kernels[0]);
    let add = || {
        let added = world
            .tree
            .add_directory(&lock, &sources::own("hello"), &ctx, &options, &());
        added.expect("adds").package
    };
    let signed = add();
    assert_eq!(world.tree.authority(&by_hand), Some(Authority::Administrator));
    assert_eq!(world.tree.authority(&signed), Some(signer.clone()));
    // Debian's dkms passes the note over.
    let mut lines = world.status();
    lines.sort();
    assert_eq!(lines, world.dkms_status());
    assert_eq!(lines.len(), 2, "{lines:?}");

    // Another source in its place is not what was signed.
    world
        .tree
        .replace_source(&lock, &signed, &sources::own("hello"))
        .expect("replaces");
    assert_eq!(world.tree.authority(&signed), Some(Authority::Administrator));
    world.tree.note_authority(&lock, &signed, &signer).expect("notes");
    let dir = world.tree.version_dir(&signed);
    assert!(world.session(&lock).remove(&signed, &[]).expect("removes"));
    assert!(!dir.exists());
    assert_eq!(world.add(&lock, &sources::own("hello")), signed);
    assert_eq!(world.tree.authority(&signed), Some(Authority::Administrator));
}

#[test]
fn a_failed_rebuild_keeps_the_good_build_and_changes_are_noticed() {
    let world = World::new();
    let lock = world.lock();
    let hello = world.add(&lock, &sources::own("hello"));
    let request = world.request(&hello, 0);
    let kernel = request.kernel_id();
    let good = built(&world.build(&lock, std::slice::from_ref(&request))[0]).clone();
    let ko = good.dir.join("module/hello.ko");
    let bytes = std::fs::read(&ko).expect("built");

    // The same source builds the same bytes, in another directory.
    let forced = BuildRequest {
        force: true,
        ..request.clone()
    };
    built(&world.build(&lock, std::slice::from_ref(&forced))[0]);
    assert_eq!(std::fs::read(&ko).expect("built"), bytes, "a build can be repeated");

    let source = world.tree.source_dir(&hello).join("hello.c");
    let text = std::fs::read_to_string(&source).expect("source");
    std::fs::write(&source, text.replace("pr_info(\"hello\\n\");", "no_such_function();")).expect("write");
    let outcome = &world.build(&lock, std::slice::from_ref(&request))[0];
    let failure = failed(outcome);
    assert!(failure.to_string().contains("hello.c:9"), "{failure}");
    assert_eq!(std::fs::read(&ko).expect("still there"), bytes);
    assert_eq!(world.tree.status(&Filter::default())[0].failures.len(), 1);

    std::fs::write(&source, text.replace("hello\\n", "hello there\\n")).expect("write");
    built(&world.build(&lock, std::slice::from_ref(&request))[0]);
    assert_ne!(std::fs::read(&ko).expect("built"), bytes);
    let status = world.tree.status(&Filter::default());
    assert_eq!((status[0].state, status[0].failures.len()), (State::Built, 0));
    assert!(world.tree.is_built(&hello, &kernel));
}

#[test]
fn what_is_no_module_for_the_kernel_is_not_accepted() {
    let world = World::new();
    let lock = world.lock();
    let check = |name: &str, make: &str, expected: &str| {
        let dir = sources::open_tempdir();
        let conf = format!("PACKAGE_NAME={name}\nPACKAGE_VERSION=1\nDEST_MODULE_LOCATION=/extra\nMAKE='{make}'\n");
        std::fs::write(dir.path().join("dkms.conf"), conf).expect("write");
        std::fs::copy(
            inputs::workspace().join("agent/engine/tests/data/tiny.ko"),
            dir.path().join("tiny.bin"),
        )
        .expect("copy");
        let package = world.add(&lock, dir.path());
        let outcomes = world.build(&lock, &[world.request(&package, 1)]);
        let failure = failed(&outcomes[0]).to_string();
        assert!(failure.contains(expected), "{failure}");
        assert_eq!(world.tree.built_kernels(&package), []);
    };
    check(
        "noise",
        "head -c 2000 /dev/urandom > noise.ko",
        "noise.ko is not a kernel module",
    );
    check("tiny", "cp tiny.bin tiny.ko", "it was built for kernel 6.1.0");
    check("nothing", "true", "make succeeded but did not make nothing.ko");
    check("slow", "echo it is broken >&2; exit 3", "make failed: it is broken");
}

#[test]
fn make_has_no_power() {
    let world = World::new();
    let lock = world.lock();
    let dir = sources::open_tempdir();
    let conf = "PACKAGE_NAME=power\nPACKAGE_VERSION=1\nDEST_MODULE_LOCATION=/extra\nMAKE='make all'\n";
    std::fs::write(dir.path().join("dkms.conf"), conf).expect("write");
    let makefile = "all:\n\t@echo \"error: uid `id -u` home $$HOME secret $$CARGO_MANIFEST_DIR.\"; exit 1\n";
    std::fs::write(dir.path().join("Makefile"), makefile).expect("write");
    let package = world.add(&lock, dir.path());
    let outcomes = world.build(&lock, &[world.request(&package, 1)]);
    let failure = failed(&outcomes[0]).to_string();
    assert!(
        failure.contains("home /nonexistent secret ."),
        "its environment is ours: {failure}"
    );
    assert!(
        !dkms_engine::command::is_root() || !failure.contains("uid 0 "),
        "the compiler of root has another user: {failure}"
    );
}
