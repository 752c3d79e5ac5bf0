//! What a package says or claims on a machine beyond its signed manifest: refused with exit code 4, in quarantine, nothing left.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use dkms_repo::authority::delegate;
use dkms_repo::init::Quorum;
use dkms_repo::intake::{self, Intake};
use dkms_repo::package::Vendors;
use dkms_repo::stage::Stage;
use dkms_tests::story::{EDU, Source, Story};

/// A script that writes a file beside its source, which is in the root of the story.
const SCRIPT: &str = "#!/bin/sh\necho ran >>../ran-as-root\n";

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("written");
}

/// A story with the driver `edu`, whose source has these lines more in dkms.conf and in edu.c.
fn story(conf: &str, code: &str) -> Story {
    let story = Story::new();
    story.add_changed("edu", "1.0", 0x11e8, Source::Good, |dir| {
        append(&dir.join("dkms.conf"), conf);
        append(&dir.join("edu.c"), code);
        append(&dir.join("evil.sh"), SCRIPT);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.join("evil.sh"), executable).expect("a mode");
    });
    story.publish();
    story
}

/// Runs `--auto`: it refuses for this reason, and leaves nothing but a quarantine.
fn check_refused(story: &Story, reason: &str) {
    let run = story.auto(&[]);
    assert_eq!(run.code, 4, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(reason), "{reason}: {}", run.stderr);
    assert!(
        run.stderr.contains("hint: tell the publisher of test"),
        "{}",
        run.stderr
    );
    story.assert_nothing_half_done("edu");
    assert!(!story.path("usr/src/ran-as-root").exists(), "a script ran");
    let status = story.run(&["status"]);
    assert!(status.stdout.contains("quarantine"), "{}", status.stdout);
    let again = story.auto(&[]);
    assert_eq!(again.code, 0, "{}\n{}", again.stdout, again.stderr);
}

#[test]
fn a_script_that_the_publisher_did_not_see_is_not_run() {
    // The marker is there on the machine only.
    for directive in ["POST_ADD", "PRE_INSTALL", "POST_INSTALL", "POST_REMOVE"] {
        let story = story(
            &format!("[ \"$dkms_tree\" = /var/lib/dkms ] || {directive}=evil.sh\n"),
            "",
        );
        check_refused(&story, &format!("its dkms.conf runs {directive} as root"));
    }
}

#[test]
fn a_module_of_another_name_is_not_built() {
    let story = story("[ \"$dkms_tree\" = /var/lib/dkms ] || DEST_MODULE_NAME[0]=e1000e\n", "");
    check_refused(&story, "its dkms.conf installs a module e1000e");
}

#[test]
fn an_alias_beyond_the_vendor_is_refused_and_a_new_device_of_the_vendor_is_told() {
    for alias in ["pci:v000010ECd00008168sv*sd*bc*sc*i*", "fs-ext4"] {
        let story = story("", &format!("MODULE_INFO(alias, \"{alias}\");\n"));
        check_refused(&story, &format!("its module edu claims {alias}"));
    }
    let story = story("", "MODULE_INFO(alias, \"pci:v00001234d0000BEEFsv*sd*bc*sc*i*\");\n");
    let run = story.auto(&[]);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(
        run.stderr
            .contains("edu 1.0 also claims pci:v00001234d0000BEEFsv*sd*bc*sc*i*"),
        "{}",
        run.stderr
    );
    let history = story.run(&["history"]);
    assert!(history.stdout.contains("unlisted-aliases"), "{}", history.stdout);
}

#[test]
fn scripts_that_the_manifest_lists_run_where_the_policy_names_the_package() {
    let story = story("POST_ADD=evil.sh\n", "");
    let refused = story.auto(&[]);
    assert!(!story.module("edu").exists(), "{}", refused.stdout);
    story.write("etc/dkms-fetch/config.toml", "allow_root_scripts = [\"edu\"]\n");
    let run = story.auto(&[]);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(story.module("edu").exists(), "{}", run.stderr);
}

#[test]
fn a_vendors_module_does_not_take_the_place_of_the_kernels() {
    let story = Story::new();
    story.add_changed("edu", "1.0", 0x11e8, Source::Good, |dir| {
        append(&dir.join("dkms.conf"), "DEST_MODULE_NAME[0]=e1000e\n");
    });
    story.publish();
    let run = story.auto(&[]);
    run.assert(
        0,
        &["edu 1.0: may not replace the kernel's own module e1000e: only a package of the curated role may"],
    );
    assert!(!story.module("e1000e").exists());
    story.assert_nothing_half_done("edu");
}

#[test]
fn a_named_package_takes_no_working_driver_from_a_device() {
    let story = Story::new();
    story.add_changed("edu", "1.0", 0x11e8, Source::Good, |dir| {
        append(&dir.join("dkms.conf"), "DEST_MODULE_NAME[0]=ahci\n");
        // Devices of two vendors: the curated role signs.
        let source = fs::read_to_string(dir.join("edu.c")).expect("a source");
        let both = source.replace("ids[] = {", "ids[] = { { PCI_DEVICE(0x10ec, 0x11e8) },");
        assert_ne!(source, both);
        fs::write(dir.join("edu.c"), both).expect("write");
    });
    story.publish();
    let list = story.device_list().display().to_string();
    let arguments = ["install", "edu", "--kernel", &story.kernel, "--devices", &list];
    let run = story.run(&arguments);
    assert_ne!(run.code, 0, "{}", run.stdout);
    run.assert(
        run.code,
        &["may not replace the kernel's own module ahci:", "works with it"],
    );
    assert!(!story.module("ahci").exists());
    story.devices(&[EDU]);
    // No device works with it: it is built, and weighed against the kernel's own by its version.
    story.run(&arguments).assert(0, &["edu 1.0"]);
    assert!(story.path("var/lib/dkms/edu/1.0").exists());
}

#[test]
fn packages_of_one_name_of_two_vendors_are_both_installed() {
    let story = Story::new();
    let one = Quorum { threshold: 1, keys: 1 };
    delegate(
        &story.repo.repository,
        "pci-10ec".parse().expect("a vendor"),
        one,
        story.repo.now,
    )
    .expect("a vendor's role");
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.devices(&[EDU]);
    story.publish();
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    let before = fs::read(story.module("edu")).expect("a module");

    // The other vendor's, with a higher version.
    let dir = story.repo.scratch().join("theirs");
    let edu = story.repo.scratch().join("edu-1.0");
    fs::create_dir_all(&dir).expect("a directory");
    for entry in fs::read_dir(&edu).expect("sources").flatten() {
        let text = fs::read_to_string(entry.path()).expect("text");
        let text = text
            .replace("PCI_DEVICE(0x1234, 0x11e8)", "PCI_DEVICE(0x10ec, 0x9999)")
            .replace("PACKAGE_VERSION=\"1.0\"", "PACKAGE_VERSION=\"999\"")
            .replace("AUTOINSTALL=\"yes\"", "AUTOINSTALL=\"yes\"\nDEST_MODULE_NAME[0]=theirs");
        fs::write(dir.join(entry.file_name()), text).expect("a file");
    }
    let stage = Stage::of(&story.repo.repository);
    let prepared = Intake::on_this_machine(Vendors::of(&story.repo.repository))
        .prepare(&dir)
        .expect("a package");
    assert_eq!(prepared.package.manifest.scope, "by-id/pci-10ec");
    intake::stage(&stage, &prepared, &dir, true).expect("staged");
    story.publish();
    let theirs = "pci:v000010ECd00009999sv00001AF4sd00001100bc00scFFi00";
    story.devices(&[EDU, theirs]);
    story.auto(&[]).assert(0, &["2 devices: 2 installed"]);
    assert!(story.module("theirs").exists());
    assert_eq!(fs::read(story.module("edu")).expect("a module"), before);
    story
        .run(&["status"])
        .assert(0, &["edu 1.0 kernel", "edu.pci-10ec 999 kernel"]);
    // Who signed is noted where only root writes.
    let note = |package: &str| story.path(&format!("var/lib/dkms/{package}/.authority"));
    let noted = |package: &str| fs::read_to_string(note(package)).expect("a note");
    assert_eq!(noted("edu/1.0"), "test by-id/pci-1234\n");
    assert_eq!(noted("edu.pci-10ec/999"), "test by-id/pci-10ec\n");
    story
        .auto(&["--detailed-exitcode"])
        .assert(0, &["2 devices: 2 installed"]);
    // What an earlier version added has none, and gets it when it is installed again.
    fs::remove_file(note("edu/1.0")).expect("a note");
    let mark = format!("var/lib/dkms/edu/kernel-{}-{}", story.kernel, std::env::consts::ARCH);
    fs::remove_file(story.path(&mark)).expect("a mark");
    fs::remove_file(story.module("edu")).expect("a module");
    story.auto(&[]).assert(0, &["2 devices: 2 installed"]);
    assert_eq!(noted("edu/1.0"), "test by-id/pci-1234\n");
    story
        .run(&["remove", "edu.pci-10ec"])
        .assert(0, &["removed edu.pci-10ec/999"]);
    assert!(story.module("edu").exists() && !story.module("theirs").exists());
}
