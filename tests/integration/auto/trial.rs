//! What was installed is on trial until a boot was healthy: the file that the program writes, the script of the units that counts, and what
//! `recover` undoes. The programs that the script calls of systemd are ours; units on a booted systemd are not tried here.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use dkms_engine::root::Root;
use dkms_fetch::state::Paths;
use dkms_fetch::state::records::Records;
use dkms_tests::inputs;
use dkms_tests::story::{EDU, EDU2, Source, Story};

const FILE: &str = "etc/modprobe.d/dkms-fetch-trial.conf";

/// A machine with the units enabled, and two versions of a driver on offer.
fn machine() -> Story {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.add("edu", "2.0", 0x11e8, Source::Good);
    story.publish();
    for unit in [
        "sysinit.target.wants/dkms-fetch-boot-trial",
        "multi-user.target.wants/dkms-fetch-healthy",
    ] {
        let link = story.path(&format!("etc/systemd/system/{unit}.service"));
        fs::create_dir_all(link.parent().expect("a directory")).expect("a directory");
        symlink("/usr/lib/systemd/system/x.service", link).expect("a link");
    }
    story
}

/// Runs the script of the units in a new boot of a machine that runs `kernel`.
fn boot_trial(story: &Story, kernel: &str, verb: &str) -> String {
    let _ = fs::remove_dir_all(story.path("run/dkms-fetch"));
    boot_trial_again(story, kernel, verb)
}

/// Runs it once more in the same boot.
fn boot_trial_again(story: &Story, kernel: &str, verb: &str) -> String {
    let bin = story.path("trial-bin");
    fs::create_dir_all(&bin).expect("a directory");
    // The target is reached when it is asked for the second time.
    let systemctl = "#!/bin/sh\necho \"$*\" >>\"$0.asked\"\n[ \"$(wc -l <\"$0.asked\")\" -ge 2 ]\n";
    for (name, text) in [
        ("uname", format!("#!/bin/sh\necho {kernel}\n")),
        ("systemctl", systemctl.to_owned()),
        ("sleep", "#!/bin/sh\n".to_owned()),
        // Of what is installed.
        ("modinfo", "#!/bin/sh\necho 2222\n".to_owned()),
    ] {
        fs::write(bin.join(name), text).expect("a program");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("a program");
    }
    let script = fs::read_to_string(inputs::workspace().join("agent/units/boot-trial.in")).expect("a script");
    let ours = format!(
        "{} --root {}",
        dkms_tests::dkms::ours().display(),
        story.path("").display()
    );
    let script = script
        .replace("@bin@/dkms-fetch", &ours)
        .replace("/etc/modprobe.d", &story.path("etc/modprobe.d").display().to_string())
        .replace("/lib/modules", &story.path("lib/modules").display().to_string())
        .replace("/run/dkms-fetch", &story.path("run/dkms-fetch").display().to_string())
        .replace("/sys/module", &story.path("sys/module").display().to_string());
    let path = bin.join("boot-trial");
    fs::write(&path, script).expect("a script");
    let output = Command::new("/bin/sh")
        .arg(&path)
        .arg(verb)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .output()
        .expect("sh runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let asked = fs::read_to_string(bin.join("systemctl.asked")).unwrap_or_default();
    let _ = fs::remove_file(bin.join("systemctl.asked"));
    asked
}

fn trial(story: &Story) -> String {
    fs::read_to_string(story.path(FILE)).unwrap_or_default()
}

/// Makes what is on trial what was loaded when it was installed, as on the running machine.
fn loaded(story: &Story) {
    let text = trial(story).replace("# new ", "# loaded ");
    story.write(FILE, &text);
}

fn quarantined(story: &Story) -> Vec<(String, String)> {
    let records = Records::open(&Paths::of(&Root::at(story.path("")))).expect("records");
    let entries = records.quarantined().expect("records");
    entries.into_iter().map(|entry| (entry.version, entry.reason)).collect()
}

fn is_version(story: &Story, version: &str) -> bool {
    let module = fs::read(story.module("edu")).unwrap_or_default();
    let wanted = format!("version={version}");
    module.windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes())
}

#[test]
fn two_boots_that_end_early_undo_an_update() {
    let story = machine();
    story.write("etc/dkms-fetch/config.toml", "healthy_target = \"graphical.target\"\n");
    let kernel = story.kernel.clone();
    story.run(&["install", "edu/1.0"]).assert(0, &[]);
    let asked = boot_trial(&story, &kernel, "healthy");
    assert_eq!(
        asked,
        "is-active --quiet graphical.target\n".repeat(2),
        "it waits for the target"
    );
    // It was never loaded: it may wait for its key.
    assert!(
        trial(&story).ends_with("\n# boots 0\n# healthy 1\n"),
        "{}",
        trial(&story)
    );
    fs::create_dir_all(story.path("sys/module/edu")).expect("a directory");
    boot_trial(&story, &kernel, "healthy");
    assert!(!story.path(FILE).exists(), "a healthy boot ends it");
    // An ordinary boot writes nothing.
    let before = story.files();
    boot_trial(&story, &kernel, "count");
    assert!(!story.path(FILE).exists());
    story.run(&["recover"]).assert(0, &["no driver stopped this machine"]);
    let changed = |files: Vec<(PathBuf, u64, std::time::SystemTime)>| {
        let stays = |path: &PathBuf| !path.to_string_lossy().contains("trial-bin");
        files
            .into_iter()
            .filter(|(path, ..)| stays(path))
            .map(|(path, len, _)| (path, len))
            .collect::<Vec<_>>()
    };
    assert_eq!(changed(story.files()), changed(before));

    story.run(&["install", "edu/2.0"]).assert(0, &[]);
    loaded(&story);
    let expected = format!("# target graphical.target\n# entry 1\n# boots 0\n# loaded {kernel} edu edu\n");
    assert!(trial(&story).ends_with(&expected), "{}", trial(&story));
    // Another kernel says nothing about it.
    boot_trial(&story, "6.99.0-other", "count");
    assert!(trial(&story).contains("# boots 0\n"));
    for boots in [1, 2] {
        boot_trial(&story, &kernel, "count");
        boot_trial_again(&story, &kernel, "count");
        assert!(trial(&story).contains(&format!("# boots {boots}\n")) && !trial(&story).contains("blacklist"));
        story.run(&["recover"]).assert(0, &["no driver stopped this machine"]);
        assert!(is_version(&story, "2.0"));
    }
    boot_trial(&story, &kernel, "count");
    let undo = format!("# undo {kernel}\nblacklist edu\n");
    assert!(trial(&story).ends_with(&undo), "{}", trial(&story));
    // As often as it takes.
    boot_trial(&story, &kernel, "count");
    boot_trial(&story, &kernel, "healthy");
    assert!(trial(&story).ends_with(&undo), "{}", trial(&story));

    let check = story.run(&["recover", "--check"]);
    check.assert(0, &["would go back to entry 1 of the history for edu on kernel"]);
    assert!(is_version(&story, "2.0"));
    let run = story.run(&["recover", "--detailed-exitcode"]);
    run.assert(10, &["installed edu 1.0 in place of 2.0 for kernel"]);
    assert!(is_version(&story, "1.0") && !story.path(FILE).exists());
    let why = format!("boots with kernel {kernel} have ended before graphical.target was reached");
    assert_eq!(quarantined(&story), [("2.0".to_owned(), why)]);
}

/// What is undone is what is on trial, and what was never loaded has one boot.
#[test]
fn one_boot_is_enough_for_what_was_never_loaded() {
    let story = machine();
    story.add("edu2", "1.0", 0x11e9, Source::Good);
    story.publish();
    story.devices(&[EDU, EDU2]);
    let kernel = story.kernel.clone();
    story.run(&["install", "edu2"]).assert(0, &[]);
    loaded(&story);
    boot_trial(&story, &kernel, "healthy");
    assert!(!story.path(FILE).exists());
    story.auto(&[]).assert(0, &["installed edu 2.0"]);
    assert!(
        trial(&story).ends_with(&format!("# new {kernel} edu edu\n")),
        "{}",
        trial(&story)
    );
    boot_trial(&story, &kernel, "count");
    assert!(!trial(&story).contains("blacklist"), "{}", trial(&story));
    boot_trial(&story, &kernel, "count");
    assert!(trial(&story).contains("\nblacklist edu\n"), "{}", trial(&story));
    // A run does what the unit does, before it decides: the next candidate has its turn.
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    assert!(is_version(&story, "1.0") && story.module("edu2").is_file());
    assert_eq!(quarantined(&story).len(), 1);
    assert!(
        trial(&story).ends_with(&format!("# new {kernel} edu edu\n")),
        "{}",
        trial(&story)
    );
    story.run(&["remove", "edu"]).assert(0, &[]);
    assert!(!story.path(FILE).exists(), "nothing is on trial");
}

/// What keeps the machine from starting goes also where the version before is gone.
#[test]
fn the_version_before_need_not_be_there() {
    let story = machine();
    story.run(&["install", "edu/1.0"]).assert(0, &[]);
    fs::remove_file(story.path(FILE)).expect("a healthy boot");
    story.run(&["install", "edu/2.0"]).assert(0, &[]);
    story.run(&["remove", "edu/1.0"]).assert(0, &[]);
    let text = trial(&story);
    assert!(text.ends_with(&format!("# new {} edu edu\n", story.kernel)), "{text}");
    story.write(FILE, &format!("{text}# undo {}\nblacklist edu\n", story.kernel));
    let run = story.run(&["recover"]);
    run.assert(
        0,
        &["edu 1.0 is not brought back for kernel", "removed edu 2.0 from kernel"],
    );
    assert!(!story.module("edu").exists() && !story.path(FILE).exists());
}

/// A file that nobody can read stops nothing.
#[test]
fn a_damaged_file_stops_nothing() {
    let story = machine();
    story.write(
        FILE,
        "\u{0}# boots x\n# undo\n# entry -3\n# loaded a b\nblacklist edu\n",
    );
    for verb in ["count", "healthy"] {
        boot_trial(&story, &story.kernel, verb);
    }
    story.run(&["recover"]).assert(0, &["no driver stopped this machine"]);
    story.auto(&[]).assert(0, &["installed edu 2.0"]);
    assert!(trial(&story).contains(&format!("# new {} edu edu\n", story.kernel)));
}

/// What was left out of the initramfs comes into it when its trial has ended. Waiting for that is no trial.
#[test]
fn a_healthy_boot_ends_what_was_left_out_of_the_initramfs() {
    let story = machine();
    let kernel = story.kernel.clone();
    for other in ["6.99.0-other", &kernel] {
        fs::create_dir_all(story.path("lib/modules").join(other)).expect("a directory");
    }
    let late = format!("# late {kernel} edu edu\n");
    let new = format!("# new {kernel} edu edu\n");
    let text = format!(
        "# target multi-user.target\n# boots 0\n{new}{late}# late 6.99.0-other edu edu\n# new 5.0-gone edu edu\n# late 5.0-gone edu edu\n"
    );
    story.write(FILE, &text);
    boot_trial(&story, &kernel, "count");
    boot_trial(&story, &kernel, "healthy");
    let stays = format!("{new}{late}# late 6.99.0-other edu edu\n");
    assert!(trial(&story).contains(&stays), "it was not loaded: {}", trial(&story));
    assert!(!trial(&story).contains("5.0-gone"), "nobody boots it any more");
    // The build before is loaded, which the initramfs still has: the new one was not tried.
    story.write("sys/module/edu/srcversion", "1111\n");
    boot_trial(&story, &kernel, "healthy");
    assert!(trial(&story).contains(&stays), "{}", trial(&story));
    loaded(&story);
    boot_trial(&story, &kernel, "healthy");
    assert!(
        trial(&story).contains(&format!("# loaded {kernel} edu edu\n")),
        "{}",
        trial(&story)
    );
    story.write("sys/module/edu/srcversion", "2222\n");
    boot_trial(&story, &kernel, "healthy");
    // This machine has no initramfs, so that of this kernel lacks nothing.
    let left = trial(&story);
    assert!(
        left.contains("# late 6.99.0-other edu edu\n") && !left.contains(&kernel),
        "{left}"
    );
    boot_trial(&story, "6.99.0-other", "count");
    assert_eq!(trial(&story), left, "no boot is counted for it");
    boot_trial(&story, "6.99.0-other", "healthy");
    assert!(!story.path(FILE).exists(), "{}", trial(&story));
}
