//! Which drivers reach an initramfs, by the real functions of initramfs-tools, and when its generator is called. dracut and mkinitcpio have
//! functions here that note what the hook gives them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dkms_tests::inputs;
use dkms_tests::story::{Source, Story};

use super::live::Live;

const TRIAL: &str = "etc/modprobe.d/dkms-fetch-trial.conf";
const LATE: &str = "etc/modprobe.d/dkms-fetch-late.conf";
const GENERATES: &str = "updating the initramfs of kernel";

/// A machine with an initramfs and two packages on offer, of which `edu` asks to be in it.
fn machine() -> Story {
    let story = Story::new();
    story.add_changed("edu", "1.0", 0x11e8, Source::Good, |dir| {
        let conf = dir.join("dkms.conf");
        let text = fs::read_to_string(&conf).expect("a conf");
        fs::write(conf, text + "REMAKE_INITRD=\"yes\"\n").expect("a file");
    });
    story.add("edu2", "1.0", 0x11e9, Source::Good);
    story.publish();
    let ours = dkms_tests::dkms::ours().display().to_string();
    answer(
        &story,
        &format!("exec {ours} --root {} \"$@\"", story.path("").display()),
    );
    // Programs of an image run in the image, which has no shell: the generator is called, and fails.
    story.write(&format!("boot/initrd.img-{}", story.kernel), "");
    story.write("usr/sbin/update-initramfs", "#!/bin/sh\nexit 1\n");
    let program = story.path("usr/sbin/update-initramfs");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    story
}

fn listed(story: &Story, more: &[&str]) -> String {
    let run = story.run(&[&["initramfs-modules", &story.kernel], more].concat());
    run.assert(0, &[]);
    run.stdout
}

/// A hook of ours, as it is installed, with a program that is run as `script`.
fn hook(story: &Story, name: &str) -> PathBuf {
    let text = fs::read_to_string(inputs::workspace().join("agent/units").join(name)).expect("a hook");
    let path = story.path(name);
    let bin = story.path("bin").display().to_string();
    fs::write(&path, text.replace("@bin@", &bin)).expect("a hook");
    path
}

/// What the hooks ask: `script` in place of the program on the story's machine.
fn answer(story: &Story, script: &str) {
    story.write("bin/dkms-fetch", &format!("#!/bin/sh\n{script}\n"));
    let program = story.path("bin/dkms-fetch");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("a program");
}

/// Runs the hook of initramfs-tools alone.
fn initramfs_tools(story: &Story, image: &Path) -> Output {
    Command::new("sh")
        .arg("-e")
        .arg(hook(story, "initramfs-tools.in"))
        .env("DKMS_FETCH_HOOK_FUNCTIONS", inputs::initramfs_functions())
        .env("DESTDIR", image)
        .env("version", &story.kernel)
        .env("verbose", "n")
        .env("CONFDIR", story.path("etc"))
        .env("MODPROBE_OPTIONS", format!("-d {}", story.path("").display()))
        .output()
        .expect("sh")
}

fn modules_in(image: &Path) -> Vec<String> {
    let files = walkdir::WalkDir::new(image).into_iter().flatten();
    let names = files.filter_map(|entry| entry.file_name().to_str().map(str::to_owned));
    names.filter(|name| name.contains(".ko")).collect()
}

/// Runs a hook of bash with functions that print what they are given. `call` is how its generator calls it.
fn by_functions(story: &Story, name: &str, call: &str, image: &Path) -> Output {
    let script = format!(
        "instmods() {{ echo \"$@\"; }}; add_module() {{ echo \"$@\"; }}; error() {{ :; }}; . {}; {call}",
        hook(story, name).display()
    );
    Command::new("bash")
        .args(["-c", &script])
        .envs([("kernel", &story.kernel), ("KERNELVERSION", &story.kernel)])
        .envs([("initdir", image), ("BUILDROOT", image)])
        .output()
        .expect("bash")
}

/// dracut goes on after a failure of `install`, and not after one of `installkernel`.
const OF_BASH: [(&str, &str); 2] = [
    ("dracut-module.in", "installkernel || exit 1; install"),
    ("mkinitcpio.in", "build"),
];

/// What all three generators take: modules that are put in, and those that are not to be loaded.
fn assert_generators_take(story: &Story, taken: &str, late: &str) {
    let image = story.path("image");
    let clean = || drop(fs::remove_dir_all(&image));
    let listed = || fs::read_to_string(image.join(LATE)).expect("the hook writes it");
    clean();
    let output = initramfs_tools(story, &image);
    assert!(output.status.success(), "{output:?}");
    let found = modules_in(&image).join(" ");
    assert_eq!(found.contains("edu.ko"), taken == "edu\n", "{found} {output:?}");
    assert!(!found.contains("edu2.ko"), "{found}");
    assert_eq!(listed(), late);
    for (name, call) in OF_BASH {
        clean();
        let output = by_functions(story, name, call, &image);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!((&*String::from_utf8_lossy(&output.stdout), &*listed()), (taken, late));
    }
}

#[test]
fn a_driver_for_disks_reaches_the_initramfs() {
    let story = machine();
    story.run(&["install", "edu2"]).assert(0, &["installed edu2 1.0"]);
    assert_eq!(listed(&story, &[]), "", "it drives no disks");
    let run = story.run(&["install", "edu"]);
    run.assert(0, &[GENERATES, "update-initramfs -u -k"]);
    assert_eq!(run.stderr.matches(GENERATES).count(), 1, "{}", run.stderr);
    assert_eq!(
        (listed(&story, &[]), listed(&story, &["--left-out"])),
        ("edu\n".into(), "".into())
    );
    assert!(!story.run(&["install", "edu"]).stderr.contains(GENERATES));
    assert_generators_take(&story, "edu\n", "");
    story.run(&["remove", "edu"]).assert(0, &[GENERATES]);
}

/// What is on trial, and not needed to start, stays out of it until the trial has ended, and then comes in.
#[test]
fn what_is_on_trial_is_left_out_of_it() {
    let story = machine();
    let kernel = story.kernel.clone();
    story.run(&["install", "edu", "edu2"]).assert(0, &[GENERATES]);
    let lines = format!("# late {kernel} edu edu\n# late {kernel} edu2 edu2\n");
    story.write(
        TRIAL,
        &format!("{lines}# loaded {kernel} edu edu\n# new {kernel} edu2 edu2\n"),
    );
    assert_eq!(
        (listed(&story, &[]), listed(&story, &["--left-out"])),
        ("".into(), "edu\nedu2\n".into())
    );
    assert_generators_take(&story, "", "blacklist edu\nblacklist edu2\n");
    let update = || story.run(&["initramfs-modules", &kernel, "--update"]);
    assert!(!update().stderr.contains(GENERATES), "it is on trial");

    // A healthy boot, which did not load edu2.
    story.write(TRIAL, &format!("{lines}# new {kernel} edu2 edu2\n"));
    let other = story.run(&["initramfs-modules", "6.99.0-other", "--update"]);
    assert_eq!((other.code, &*other.stderr), (0, ""));
    for _ in 0..2 {
        update().assert(0, &[GENERATES, "hint: update-initramfs -u -k"]);
        let text = fs::read_to_string(story.path(TRIAL)).expect("a file");
        assert!(
            text.contains(&format!("# late {kernel} edu edu\n")),
            "it failed, and is tried again: {text}"
        );
    }
    assert_generators_take(&story, "edu\n", "blacklist edu2\n");
    // A machine without a generator has nothing to make.
    fs::remove_file(story.path("usr/sbin/update-initramfs")).expect("a program");
    assert!(!update().stderr.contains(GENERATES));
    let text = fs::read_to_string(story.path(TRIAL)).expect("a file");
    assert!(
        text.contains(&format!("# late {kernel} edu2 edu2\n# new {kernel} edu2 edu2\n"))
            && !text.contains(" edu edu\n"),
        "{text}"
    );

    // What does not belong into it needs none.
    story.write(TRIAL, &format!("# late {kernel} edu2 edu2\n"));
    assert!(!update().stderr.contains(GENERATES));
    assert!(!story.path(TRIAL).exists());
}

/// The image has to be made again also where a driver goes that was left out: it says that the driver is not to be loaded.
#[test]
fn an_image_without_it_does_not_outlive_the_driver() {
    let story = machine();
    story.run(&["install", "edu"]).assert(0, &[]);
    let kernel = &story.kernel;
    story.write(TRIAL, &format!("# new {kernel} edu edu\n# late {kernel} edu edu\n"));
    story.run(&["remove", "edu"]).assert(0, &[GENERATES]);
    assert!(!story.path(TRIAL).exists());
}

/// Whether a driver that was installed for the running kernel is left out, on a machine whose units are enabled and that `change` makes.
fn is_left_out(change: impl FnOnce(&Story)) -> bool {
    let live = Live::new("mkdir -p \"$device/driver\"");
    for unit in [
        "sysinit.target.wants/dkms-fetch-boot-trial",
        "multi-user.target.wants/dkms-fetch-healthy",
    ] {
        live.story.write(&format!("etc/systemd/system/{unit}.service"), "");
    }
    change(&live.story);
    let done = live.auto();
    assert!(done.attempts[0].is_installed(), "{done:?}");
    let trial = fs::read_to_string(live.story.path(TRIAL)).expect("it is on trial");
    trial.contains(&format!("# late {} edu edu\n", live.story.kernel))
}

#[test]
fn what_this_machine_does_not_need_to_start_is_left_out() {
    assert!(is_left_out(|_| {}), "it was not loaded before");
    // It was, and nothing says what for.
    assert!(!is_left_out(|story| story.write("sys/module/edu/refcnt", "0\n")));
    // It was, for nothing that is known.
    assert!(is_left_out(
        |story| story.write("sys/module/edu/drivers/pci:edu/uevent", "")
    ));
}

/// An image without the driver of its disk does not start: a mistake in the configuration changes nothing, and where there is no answer the
/// image before stays.
#[test]
fn no_image_is_made_without_an_answer() {
    let story = machine();
    story.run(&["install", "edu"]).assert(0, &[]);
    story.write("etc/dkms-fetch/config.toml", "nonsense");
    story.write("etc/dkms-fetch/repos.d/broken.toml", "nonsense");
    assert_generators_take(&story, "edu\n", "");
    answer(&story, "exit 1");
    let image = story.path("image");
    assert_ne!(initramfs_tools(&story, &image).status.code(), Some(0));
    for (name, call) in OF_BASH {
        assert_ne!(
            by_functions(&story, name, call, &image).status.code(),
            Some(0),
            "{name}"
        );
    }
}
