//! The main job from end to end, on a real kernel: devices in, installed modules out, and everything that can stop it on the
//! way, with its exit code and its words.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dkms_index::document::record::{BuildFact, BuildOutcome};
use dkms_repo::authority::delegate;
use dkms_repo::init::Quorum;
use dkms_repo::intake::{self, Intake};
use dkms_repo::package::Vendors;
use dkms_repo::repository::Expiry;
use dkms_repo::stage::Stage;
use dkms_tests::dkms::ours;
use dkms_tests::inputs;
use dkms_tests::repo::TestRepo;
use jiff::Timestamp;
use snapbox::{Redactions, assert_data_eq, str};

/// A device that no kernel has a driver for: QEMU's `edu`.
const EDU: &str = "pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00";
/// Another one of the same maker.
const EDU2: &str = "pci:v00001234d000011E9sv00001AF4sd00001100bc00scFFi00";
/// One that every kernel drives by itself.
const AHCI: &str = "pci:v00008086d00002829sv000010CFsd00001411bc01sc06i01";

/// A repository, a root with one real kernel, and a list of devices.
struct Story {
    repo: TestRepo,
    root: tempfile::TempDir,
    kernel: String,
}

/// What a run came to.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Story {
    fn new() -> Self {
        let [kernel, _] = inputs::kernels();
        let root = tempfile::tempdir_in(inputs::dir().join("..")).expect("a temporary folder");
        image(&kernel, root.path());
        let repo = TestRepo::at(Timestamp::now(), Expiry::default()).expect("a repository");
        let one = Quorum { threshold: 1, keys: 1 };
        delegate(&repo.repository, "pci-1234".parse().expect("a vendor"), one, repo.now).expect("a vendor's role");
        let etc = root.path().join("etc/dkms-fetch/repos.d");
        fs::create_dir_all(&etc).expect("a folder");
        fs::write(etc.join("test.root.json"), repo.pinned().expect("a root")).expect("a file");
        let story = Self { repo, root, kernel };
        story.use_mirror(&format!("file://{}/", story.repo.public().display()));
        story.devices(&[EDU, AHCI]);
        story
    }

    fn use_mirror(&self, url: &str) {
        let text = format!("name = \"test\"\nroot = \"test.root.json\"\nurls = [\"{url}\"]\n");
        fs::write(self.root.path().join("etc/dkms-fetch/repos.d/test.toml"), text).expect("a file");
    }

    fn devices(&self, modaliases: &[&str]) {
        fs::write(self.repo.scratch().join("devices"), modaliases.join("\n") + "\n").expect("a file");
    }

    /// Adds a driver for the device `product` that compiles, or does not.
    fn add(&self, name: &str, version: &str, product: u16, source: Source) {
        let dir = self.repo.scratch().join(format!("{name}-{version}"));
        driver(&dir, name, version, product, source);
        let stage = Stage::of(&self.repo.repository);
        let prepared = Intake::on_this_machine(Vendors::of(&self.repo.repository))
            .prepare(&dir)
            .expect("a package");
        intake::stage(&stage, &prepared, &dir, true).expect("staged");
    }

    /// Says in the index how a trial build for our kernel went.
    fn fact(&self, name: &str, version: &str, outcome: BuildOutcome) {
        let stage = Stage::of(&self.repo.repository);
        let mut package = stage.get(name, version).expect("a staged package");
        package.record.builds.push(BuildFact {
            kernel: self.kernel.clone(),
            arch: "x86_64".into(),
            compiler: "gcc".into(),
            date: "2026-01-01".into(),
            outcome,
            reason: if outcome == BuildOutcome::Failed {
                "strlcpy is gone".into()
            } else {
                String::new()
            },
        });
        stage.put(&package).expect("staged");
    }

    fn publish(&self) {
        self.repo.publish(0).expect("published");
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(ours());
        command
            .args(["--root".as_ref(), self.root.path().as_os_str()])
            .args(arguments);
        run(&mut command)
    }

    /// `--auto` for the recorded devices.
    fn auto(&self, more: &[&str]) -> Run {
        let devices = self.repo.scratch().join("devices");
        let mut arguments = vec![
            "--auto",
            "--kernel",
            &self.kernel,
            "--devices",
            devices.to_str().expect("UTF-8"),
        ];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// What stands in the way of a plain look at the output: names of temporary folders and of the kernel.
    fn redactions(&self) -> Redactions {
        let mut redactions = Redactions::new();
        let paths = [("[ROOT]", self.root.path().to_owned()), ("[REPO]", self.repo.public())];
        for (name, path) in paths {
            let path = path.canonicalize().unwrap_or(path);
            redactions
                .insert(name, path.display().to_string())
                .expect("a redaction");
        }
        redactions.insert("[KERNEL]", self.kernel.clone()).expect("a redaction");
        redactions
    }

    fn assert_shows(&self, shown: &str, expected: snapbox::data::Inline) {
        let shown = self.redactions().redact(shown);
        assert_data_eq!(shown, expected);
    }

    fn module(&self, name: &str) -> PathBuf {
        self.root
            .path()
            .join(format!("lib/modules/{}/updates/dkms/{name}.ko", self.kernel))
    }

    /// Every file that a run may have touched, with its content's length and time.
    fn files(&self) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
        let roots = ["lib/modules", "usr/src", "var", "etc"].map(|part| self.root.path().join(part));
        let entries = roots
            .iter()
            .flat_map(|root| walkdir::WalkDir::new(root).sort_by_file_name())
            .flatten();
        let of_interest = entries.filter(|entry| entry.file_type().is_file());
        let read = |entry: walkdir::DirEntry| {
            let metadata = entry.metadata().expect("metadata");
            (
                entry.path().to_owned(),
                metadata.len(),
                metadata.modified().expect("a time"),
            )
        };
        of_interest.map(read).collect()
    }
}

/// Whether a driver of ours compiles.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    Good,
    Broken,
}

fn driver(dir: &Path, name: &str, version: &str, product: u16, source: Source) {
    fs::create_dir_all(dir).expect("a folder");
    let write = |file: &str, text: String| fs::write(dir.join(file), text).expect("a file");
    write(
        "dkms.conf",
        format!(
            "PACKAGE_NAME=\"{name}\"\nPACKAGE_VERSION=\"{version}\"\nBUILT_MODULE_NAME[0]=\"{name}\"\n\
             DEST_MODULE_LOCATION[0]=\"/updates/dkms\"\nAUTOINSTALL=\"yes\"\n"
        ),
    );
    write("Makefile", format!("obj-m := {name}.o\n"));
    let broken = if source == Source::Broken {
        "#error this does not compile\n"
    } else {
        ""
    };
    write(
        &format!("{name}.c"),
        format!(
            "#include <linux/module.h>\n#include <linux/pci.h>\n{broken}\
             static const struct pci_device_id ids[] = {{ {{ PCI_DEVICE(0x1234, 0x{product:04x}) }}, {{ }} }};\n\
             MODULE_DEVICE_TABLE(pci, ids);\n\
             static int probe(struct pci_dev *d, const struct pci_device_id *i) {{ return 0; }}\n\
             static struct pci_driver drv = {{ .name = \"{name}\", .id_table = ids, .probe = probe }};\n\
             module_pci_driver(drv);\nMODULE_LICENSE(\"GPL\");\nMODULE_VERSION(\"{version}\");\n"
        ),
    );
}

/// A root with the headers of `kernel`, the lists of its modules and a few of the modules: depmod is quick then.
fn image(kernel: &str, root: &Path) {
    let from = inputs::kernel_root(kernel);
    let modules = root.join("lib/modules").join(kernel);
    fs::create_dir_all(&modules).expect("a folder");
    fs::create_dir_all(root.join("usr")).expect("a folder");
    for entry in fs::read_dir(from.join("lib/modules").join(kernel))
        .expect("a kernel")
        .flatten()
    {
        if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            copy(&entry.path(), &modules);
        }
    }
    let ata = format!("lib/modules/{kernel}/kernel/drivers");
    fs::create_dir_all(root.join(&ata)).expect("a folder");
    copy(&from.join(&ata).join("ata"), &root.join(&ata));
    for part in ["usr/src", "usr/lib"] {
        if from.join(part).is_dir() {
            copy(&from.join(part), &root.join("usr"));
        }
    }
}

/// Copies by hard links where that can be done: nothing changes files of a kernel in place.
fn copy(from: &Path, to: &Path) {
    let cp = |flags: &str| Command::new("cp").arg(flags).arg(from).arg(to).output().expect("cp");
    if !cp("-al").status.success() {
        let copied = cp("-a");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }
}

fn run(command: &mut Command) -> Run {
    command
        .env("NO_COLOR", "1")
        .env_remove("DKMS_FETCH_LOG")
        .env("COLUMNS", "80");
    let Output { status, stdout, stderr } = command.output().expect("dkms-fetch runs");
    Run {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The final document of a run with `--json`.
fn document(run: &Run) -> serde_json::Value {
    let line = run.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {}\n{}", run.stdout, run.stderr))
}

#[test]
fn a_machine_gets_the_driver_it_lacks_and_then_nothing_more() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();

    let before = story.files();
    let check = story.auto(&["--check", "--json", "--detailed-exitcode"]);
    assert_eq!(check.code, 10, "{}", check.stderr);
    assert_eq!(document(&check)["kernels"][0]["packages"][0]["outcome"], "planned");
    assert_eq!(story.files(), before, "--check writes nothing");

    let first = story.auto(&["--json", "--detailed-exitcode"]);
    assert_eq!(first.code, 10, "{}\n{}", first.stdout, first.stderr);
    let report = document(&first);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["kernels"][0]["devices"][0]["verdict"], "installed");
    assert_eq!(report["kernels"][0]["devices"][1]["verdict"], "works-in-tree");
    assert_eq!(report["kernels"][0]["devices"][1]["module"], "ahci");
    assert!(
        first
            .stdout
            .lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
    let module = fs::read(story.module("edu")).expect("the module is installed");
    let vermagic = format!("vermagic={} ", story.kernel);
    assert!(module.windows(vermagic.len()).any(|bytes| bytes == vermagic.as_bytes()));
    let alias = story
        .root
        .path()
        .join(format!("lib/modules/{}/modules.alias", story.kernel));
    assert!(
        fs::read_to_string(alias)
            .expect("depmod ran")
            .contains("v00001234d000011E8")
    );

    let after: Vec<_> = story.files();
    let second = story.auto(&["--detailed-exitcode"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    let lock = |(path, ..): &(PathBuf, u64, std::time::SystemTime)| !path.to_string_lossy().contains("state.db");
    let stable = |files: Vec<_>| files.into_iter().filter(lock).collect::<Vec<_>>();
    assert_eq!(stable(story.files()), stable(after), "a second run changes nothing");
    story.assert_shows(
        &second.stdout,
        str![[r#"
kernel [KERNEL] (x86_64)
installed      [..]edu 1.0
works in-tree  [..]ahci
2 devices: 1 installed, 1 works in-tree

"#]],
    );

    let status = story.run(&["status"]);
    story.assert_shows(
        &status.stdout,
        str![[r#"
installed  edu 1.0  kernel [KERNEL]  from test

"#]],
    );
    let removed = story.run(&["remove", "edu"]);
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    assert!(!story.module("edu").exists());
    assert!(
        !story.root.path().join("usr/src/edu-1.0").exists(),
        "nothing is left behind"
    );
}

#[test]
fn twins_both_get_a_verdict_and_one_package() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();
    story.devices(&[EDU, EDU]);
    let run = story.auto(&["--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let kernel = &document(&run)["kernels"][0];
    assert_eq!(kernel["packages"].as_array().map(Vec::len), Some(1));
    assert_eq!(kernel["packages"][0]["serves"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&kernel["devices"][0]["verdict"], &kernel["devices"][1]["verdict"]),
        (&"installed".into(), &"installed".into())
    );
}

#[test]
fn what_is_known_to_fail_is_not_tried_and_said() {
    let story = Story::new();
    story.add("edu", "2.0", 0x11e8, Source::Broken);
    story.fact("edu", "2.0", BuildOutcome::Failed);
    story.publish();
    let run = story.auto(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // Where lines break depends on the length of the kernel's name.
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    let kernel = &story.kernel;
    let expected = format!("edu 2.0: known not to build on {kernel} (tried 2026-01-01): strlcpy is gone");
    assert!(words.join(" ").contains(&expected), "{}", run.stdout);
    assert!(
        run.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        run.stdout
    );
    assert!(
        !story.root.path().join("var/lib/dkms/edu").exists(),
        "nothing was built"
    );

    // An older version that is proven to build beats it.
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.fact("edu", "1.0", BuildOutcome::Built);
    story.publish();
    let run = story.auto(&["--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(document(&run)["kernels"][0]["packages"][0]["version"], "1.0");
}

#[test]
fn a_failed_build_gives_the_next_candidate_its_turn() {
    let story = Story::new();
    story.add("edu", "2.0", 0x11e8, Source::Broken);
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();
    let run = story.auto(&["--json"]);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    let kernel = document(&run)["kernels"][0].clone();
    assert_eq!(kernel["packages"][0]["outcome"], "failed");
    assert_eq!(kernel["packages"][1]["outcome"], "installed");
    assert_eq!(kernel["devices"][0]["package"]["version"], "1.0");
    assert!(story.module("edu").is_file());
    let status = story.run(&["status", "--json"]);
    assert_eq!(document(&status)["quarantined"][0]["version"], "2.0");
}

#[test]
fn all_builds_failed_is_5_and_some_is_6() {
    let story = Story::new();
    story.add("edu", "2.0", 0x11e8, Source::Broken);
    story.publish();
    let run = story.auto(&[]);
    assert_eq!(run.code, 5, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("this does not compile"), "{}", run.stdout);
    // It is not tried again: that is where the machine stays.
    let again = story.auto(&[]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stdout.contains("failed here before"), "{}", again.stdout);
    // Unless the owner says so; and another device may be luckier.
    assert_eq!(story.run(&["unhold", "edu"]).code, 0);
    story.add("edu2", "1.0", 0x11e9, Source::Good);
    story.publish();
    story.devices(&[EDU, EDU2]);
    let partly = story.auto(&[]);
    assert_eq!(partly.code, 6, "{}\n{}", partly.stdout, partly.stderr);
    assert!(story.module("edu2").is_file());
}

#[test]
fn one_changed_byte_is_refused_and_changes_nothing() {
    let classes = [
        "metadata/timestamp.json",
        "metadata/[0-9]*.snapshot.json",
        "metadata/[0-9]*.targets.json",
        "metadata/[0-9]*.index.json",
        "metadata/[0-9]*.vendor-pci-1234.json",
        "targets/index/*",
        "targets/by-id/*/*",
        "targets/revocations/*",
        "bundles/sha256/*/*",
    ];
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();
    for class in classes {
        let pattern = story.repo.public().join(class);
        let mut files: Vec<PathBuf> = glob::glob(pattern.to_str().expect("UTF-8"))
            .expect("a glob")
            .flatten()
            .collect();
        // The newest of several versions is the one in use.
        files.sort_by_key(|path| fs::metadata(path).and_then(|m| m.modified()).ok());
        let path = files.pop().unwrap_or_else(|| panic!("no file like {class}"));
        let whole = fs::read(&path).expect("a file");
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&path, changed).expect("a file");
        let run = story.auto(&[]);
        assert_eq!(run.code, 4, "{class}: {}\n{}", run.stdout, run.stderr);
        assert!(!story.module("edu").exists(), "{class}");
        assert!(!story.root.path().join("usr/src/edu-1.0").exists(), "{class}");
        assert!(
            run.stdout.contains("edu") || run.stderr.contains("error: failed to"),
            "{class}: {}",
            run.stderr
        );
        fs::write(&path, whole).expect("a file");
        for part in ["var/cache", "var/lib"] {
            // What was refused at once left nothing at all.
            let _ = fs::remove_dir_all(story.root.path().join(part));
        }
    }
    assert_eq!(story.auto(&[]).code, 0, "unchanged, it is good");
}

#[test]
fn without_a_network_the_cache_serves_and_without_a_cache_it_is_3() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();
    // Nobody listens there.
    story.use_mirror("http://127.0.0.1:9/");
    let run = story.auto(&[]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("error: failed to synchronise"), "{}", run.stderr);

    story.use_mirror(&format!("file://{}/", story.repo.public().display()));
    assert_eq!(story.run(&["fetch", "edu"]).code, 0);
    story.use_mirror("http://127.0.0.1:9/");
    let offline = story.auto(&["--offline"]);
    assert_eq!(offline.code, 0, "{}\n{}", offline.stdout, offline.stderr);
    assert!(story.module("edu").is_file());
}

#[test]
fn every_error_has_its_code_and_its_way_out() {
    let story = Story::new();
    let check = |run: Run, code: i32, expected: snapbox::data::Inline| {
        assert_eq!(run.code, code, "{}", run.stderr);
        story.assert_shows(&run.stderr, expected);
    };
    check(
        story.run(&["--kernel", "9.9.9-none", "devices", "--devices", "/dev/null"]),
        2,
        str![[r#"
error: failed to find a device in the recorded machine /dev/null
hint: record a machine with `find /sys/devices -name modalias -exec cat {} + > FILE` or `umockdev-record --all > FILE`

"#]],
    );
    let devices = story.repo.scratch().join("devices");
    let devices = devices.to_str().expect("UTF-8");
    check(
        story.run(&["--kernel", "9.9.9-none", "--devices", devices, "--auto"]),
        2,
        str![[r#"
error: failed to find kernel 9.9.9-none: neither its modules nor its headers are in [ROOT]/lib/modules
hint: there are: [KERNEL]

"#]],
    );
    check(
        story.run(&["remove", "nothing"]),
        2,
        str![[r#"
error: failed to find package nothing: it is not installed
hint: dkms-fetch status

"#]],
    );
    check(
        story.run(&["explain", "ffff:ffff", "--devices", devices]),
        2,
        str![[r#"
error: failed to find device ffff:ffff
hint: dkms-fetch devices --all

"#]],
    );
    check(
        story.run(&["plan", "--devices", devices]),
        3,
        str![[r#"
error: failed to look packages up: no index is cached for test
hint: dkms-fetch sync

"#]],
    );
    // Another run has the lock.
    let lock = story.root.path().join("var/lib/dkms-fetch/lock");
    fs::create_dir_all(lock.parent().expect("a parent")).expect("a folder");
    let file = File::create(&lock).expect("a file");
    file.lock().expect("a lock");
    check(
        story.auto(&[]),
        75,
        str![[r#"
error: failed to start: another dkms-fetch is at work (it holds [ROOT]/var/lib/dkms-fetch/lock)
hint: wait for it to end; who is it? `fuser -v [ROOT]/var/lib/dkms-fetch/lock`

"#]],
    );
    drop(file);
    fs::remove_file(story.root.path().join("etc/dkms-fetch/repos.d/test.toml")).expect("a file");
    check(
        story.auto(&[]),
        2,
        str![[r#"
error: failed to find a repository: there is none in [ROOT]/etc/dkms-fetch/repos.d
hint: put NAME.toml with name, urls and root (the pinned root.json) there; see `dkms-fetch --help` ([ROOT]/etc/dkms-fetch/repos.d/NAME.toml)

"#]],
    );
    assert_eq!(story.run(&["--no-such-option"]).code, 2);
}

#[test]
fn missing_headers_come_with_the_command_that_installs_them() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();
    // A kernel of the image whose headers are nowhere.
    let modules = story.root.path().join("lib/modules/6.99.0-1-amd64");
    fs::create_dir_all(&modules).expect("a folder");
    fs::write(modules.join("modules.order"), "").expect("a file");
    fs::write(story.root.path().join("etc/os-release"), "ID=debian\n").expect("a file");
    let devices = story.repo.scratch().join("devices");
    let run = story.run(&[
        "--auto",
        "--kernel",
        "6.99.0-1-amd64",
        "--devices",
        devices.to_str().expect("UTF-8"),
    ]);
    assert_eq!(run.code, 5, "{}\n{}", run.stdout, run.stderr);
    assert!(
        run.stderr
            .contains("hint: apt-get install linux-headers-6.99.0-1-amd64"),
        "{}",
        run.stderr
    );
    assert!(!story.root.path().join("usr/src/edu-1.0").exists(), "nothing half done");
}

#[test]
fn losers_are_explained() {
    let story = Story::new();
    story.add("edu", "2.0", 0x11e8, Source::Good);
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.fact("edu", "1.0", BuildOutcome::Built);
    story.publish();
    assert_eq!(story.run(&["sync"]).code, 0);
    let run = story.run(&["explain", EDU, "--kernel", &story.kernel]);
    story.assert_shows(
        &run.stdout,
        str![[r#"
pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00
  path      imagined
  modalias  pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00
  kernel    [KERNEL]
  bound     not known
  in-tree   no module of the kernel claims it
  verdict   installable: edu 1.0
  not       edu 2.0: edu 1.0 ranks before it: proven to build on this kernel

"#]],
    );
}

#[test]
fn manual_and_completions_are_complete() {
    let story = Story::new();
    let man = story.run(&["man"]);
    assert_eq!(man.code, 0, "{}", man.stderr);
    for word in ["--detailed-exitcode", "Exit codes", "partly done", "repos.d"] {
        assert!(
            man.stdout.contains(word) || man.stdout.contains(&word.replace('-', "\\-")),
            "{word}"
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            story.run(&["completions", shell]).stdout.contains("detailed-exitcode"),
            "{shell}"
        );
    }
}
