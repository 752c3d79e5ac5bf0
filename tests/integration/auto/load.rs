//! What becomes of a package after its module is loaded into the running kernel, on a machine of [`Live`]. Real loading is proved in a virtual
//! machine.

use std::fs;

use dkms_fetch::apply::{Done, End};
use dkms_tests::inputs;
use dkms_tests::story::{EDU, Source, Story, patiently};

use super::live::{DEVICE, Live};

/// How each attempt ended: its version, and in words how.
fn ends(done: &Done) -> Vec<(String, String)> {
    let end = |end: &End| match end {
        End::Installed { loaded: true, .. } => "loaded".to_owned(),
        End::Installed {
            pending: Some(waiting), ..
        } => {
            format!(
                "waits: {} ({})",
                waiting.reason,
                waiting.hint.as_deref().unwrap_or("no hint")
            )
        }
        End::Installed { .. } => "installed".to_owned(),
        End::Failed(failure) => format!("{:?}: {}", failure.cause, failure.reason),
    };
    let attempts = done.attempts.iter();
    attempts
        .map(|attempt| (attempt.offer.id.version.clone(), end(&attempt.end)))
        .collect()
}

#[test]
fn a_driver_that_binds_is_loaded_and_stays() {
    let live = Live::new("mkdir -p \"$device/driver\"");
    assert_eq!(ends(&live.auto()), [("2.0".to_owned(), "loaded".to_owned())]);
    assert_eq!(live.asked(), "view -- edu\n");
    assert!(live.story.module("edu").is_file());
    assert_eq!(live.quarantined(), [""; 0]);
    // It is there: nothing is done again.
    assert!(live.auto().attempts.is_empty());
}

#[test]
fn a_driver_that_does_not_bind_gives_way_to_the_next() {
    let live = Live::new("test \"$1\" = -r && exit 0\ngrep -q version=2.0 \"$module\" || mkdir -p \"$device/driver\"");
    let found = ends(&live.auto());
    let failed = format!("Package: it was loaded and did not bind to {EDU}");
    let expected = [("2.0".to_owned(), failed), ("1.0".to_owned(), "loaded".to_owned())];
    assert_eq!(found, expected);
    assert_eq!(live.asked(), "view -- edu\nview -r -- edu\nview -- edu\n");
    assert_eq!(live.quarantined(), ["2.0"]);
    let installed = fs::read(live.story.module("edu")).expect("a module");
    assert!(installed.windows(11).any(|bytes| bytes == b"version=1.0"));
}

#[test]
fn when_no_driver_binds_none_is_left() {
    let live = Live::new("exit 0");
    let found = ends(&live.auto());
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(live.quarantined(), ["1.0", "2.0"]);
    assert!(!live.story.module("edu").exists());
    let alias = live
        .story
        .path(&format!("lib/modules/{}/modules.alias", live.story.kernel));
    let aliases = fs::read_to_string(alias).expect("depmod ran");
    assert!(!aliases.contains("v00001234d000011E8"), "depmod ran after it, too");
    for version in ["1.0", "2.0"] {
        let source = live.story.path(&format!("usr/src/edu-{version}"));
        assert!(!source.exists(), "{}", source.display());
    }
}

#[test]
fn what_the_kernel_says_decides() {
    let refuse = |text: &str| {
        format!("test \"$1\" = -r && exit 0\necho \"modprobe: ERROR: could not insert 'edu': {text}\" >&2; exit 1")
    };
    let symbols = Live::new(&refuse("Unknown symbol in module, or unknown parameter (see dmesg)"));
    let found = ends(&symbols.auto());
    assert!(
        found[0]
            .1
            .starts_with("Package: edu needs a symbol that the running kernel does not have"),
        "{found:?}"
    );
    assert_eq!(symbols.quarantined(), ["1.0", "2.0"]);

    // No package's fault: it is taken away, and may be tried again.
    let memory = Live::new(&refuse("Cannot allocate memory"));
    let found = ends(&memory.auto());
    assert_eq!(
        found,
        [("2.0".to_owned(), "Machine: not enough memory to load edu".to_owned())]
    );
    assert_eq!(memory.quarantined(), [""; 0]);
    assert!(!memory.story.module("edu").exists());
}

#[test]
fn a_key_that_is_not_enrolled_is_explained_and_waited_for() {
    let live = Live::new("echo \"modprobe: ERROR: could not insert 'edu': Key was rejected by service\" >&2; exit 1");
    let found = ends(&live.auto());
    let certificate = live.story.path("var/lib/dkms/mok.pub");
    let certificate = certificate.canonicalize().expect("a key was made");
    let expected = format!(
        "waits: edu is not signed by a key that this kernel trusts \
         (mokutil --import {}, then restart, choose `Enroll MOK` and give the password that mokutil asked for)",
        certificate.display()
    );
    assert_eq!(found, [("2.0".to_owned(), expected)]);
    assert!(live.story.module("edu").is_file(), "it stays for the time after");
    assert_eq!(live.quarantined(), [""; 0]);
}

#[test]
fn an_older_module_in_use_waits_for_a_reboot() {
    let live = Live::new("test \"$1\" = -r && { echo 'modprobe: FATAL: Module edu is in use.' >&2; exit 1; }; exit 0");
    live.story
        .write("sys/module/edu/srcversion", "0123456789ABCDEF0123456\n");
    live.story.write("sys/module/edu/initstate", "live\n");
    let found = ends(&live.auto());
    let expected = "waits: the running kernel uses another build of edu (systemctl reboot)";
    assert_eq!(found, [("2.0".to_owned(), expected.to_owned())]);
    assert_eq!(live.asked(), "-r -- edu\n");
    // It drives the device, and the next run waits for the same.
    fs::create_dir_all(live.story.path(&format!("sys{DEVICE}/driver"))).expect("a directory");
    assert_eq!(ends(&live.auto()), [("2.0".to_owned(), expected.to_owned())]);
    fs::remove_file(live.story.path("sys/module/edu/srcversion")).expect("a file");
    assert!(live.auto().attempts.is_empty(), "it is the one that is installed");
}

#[test]
fn a_driver_that_somebody_unloaded_is_loaded_again_and_not_blamed() {
    let live = Live::new("test -e \"$root/off\" || mkdir -p \"$device/driver\"");
    assert_eq!(ends(&live.auto()), [("2.0".to_owned(), "loaded".to_owned())]);
    let driver = live.story.path(&format!("sys{DEVICE}/driver"));
    fs::remove_dir(&driver).expect("it was bound");
    assert!(live.auto().attempts.is_empty());
    assert!(driver.exists(), "it was loaded again");
    assert_eq!(live.asked(), "view -- edu\n-- edu\n");

    // The device is switched off: that is not the package's fault.
    fs::remove_dir(&driver).expect("it was bound");
    live.story.write("off", "");
    assert!(live.auto().attempts.is_empty());
    assert!(!driver.exists() && live.story.module("edu").is_file());
    assert_eq!(live.quarantined(), [""; 0]);
}

#[test]
fn what_an_image_brought_and_does_not_bind_gives_way_to_the_next_in_one_run() {
    let live = Live::new("test \"$1\" = -r && exit 0\ngrep -q version=2.0 \"$module\" || mkdir -p \"$device/driver\"");
    // The image was made for a machine that was not there.
    live.story.auto(&[]).assert(0, &["installed edu 2.0"]);
    let found = ends(&live.auto());
    let failed = format!("Package: it was loaded and did not bind to {EDU}");
    let expected = [("2.0".to_owned(), failed), ("1.0".to_owned(), "loaded".to_owned())];
    assert_eq!(found, expected);
    assert_eq!(live.quarantined(), ["2.0"]);
}

#[test]
fn a_driver_is_loaded_before_depmod_while_others_compile() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.add("edu2", "1.0", 0x11e9, Source::Waits);
    let bind = "case $2 in edu2) device=$root/sys/devices/pci0000:00/0000:00:05.0 ;; esac\nmkdir -p \"$device/driver\"";
    let know = "grep -q 11E8 \"$root\"/lib/modules/*/modules.alias && : >\"$root/known\"";
    let live = Live::of(story, &format!("{know}\n{bind}"));
    let done = std::thread::scope(|scope| {
        let run = scope.spawn(|| live.auto());
        let building = live.story.building("edu2");
        patiently("the other driver to be loaded", || {
            live.asked().contains("edu").then_some(())
        });
        live.story.go_on(&building);
        run.join().expect("it ends")
    });
    assert_eq!(live.asked(), "view -- edu\nview -- edu2\n");
    let loaded = ("1.0".to_owned(), "loaded".to_owned());
    assert_eq!(ends(&done), [loaded.clone(), loaded]);
    assert!(
        !live.story.path("known").exists(),
        "depmod ran before a driver was loaded"
    );
    let alias = format!("lib/modules/{}/modules.alias", live.story.kernel);
    let aliases = fs::read_to_string(live.story.path(&alias)).expect("depmod ran");
    assert!(
        aliases.contains("d000011E8") && aliases.contains("d000011E9"),
        "it ran at the end"
    );
}

/// The real modprobe finds in the view what a driver needs, and loads it first.
#[test]
fn modprobe_finds_what_a_driver_needs_before_depmod() {
    let story = Story::new();
    story.add_changed("edu", "1.0", 0x11e8, Source::Good, |dir| {
        let path = dir.join("edu.c");
        let text = fs::read_to_string(&path).expect("a source");
        let needs = "#include <linux/libata.h>\nint (*needed)(void) = ata_ratelimit;\n";
        fs::write(path, text + needs).expect("a file");
    });
    let drivers = format!("lib/modules/{}/kernel/drivers", story.kernel);
    let scsi = inputs::kernel_root(&story.kernel).join(&drivers).join("scsi");
    inputs::link_tree(&scsi, &story.path(&drivers));
    let show = format!(
        "mkdir -p \"$device/driver\"\nPATH=/usr/sbin:/sbin:/usr/bin:/bin\n\
         \"$(command -v modprobe)\" -d \"$view\" -S {} --show-depends edu >\"$root/shown\" 2>&1",
        story.kernel
    );
    let live = Live::of(story, &show);
    assert_eq!(ends(&live.auto()), [("1.0".to_owned(), "loaded".to_owned())]);
    let shown = fs::read_to_string(live.story.path("shown")).expect("modprobe was called");
    let names: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.trim_end().rsplit('/').next())
        .collect();
    assert_eq!(
        names,
        ["scsi_common.ko", "scsi_mod.ko", "libata.ko", "edu.ko"],
        "{shown}"
    );
}

/// What modprobe's settings load with a driver is not in the view.
#[test]
fn a_driver_with_settings_is_loaded_after_depmod() {
    let live = Live::new("mkdir -p \"$device/driver\"");
    live.story
        .write("etc/modprobe.d/edu.conf", "softdep edu pre: i2c-core\n");
    assert_eq!(ends(&live.auto()), [("2.0".to_owned(), "loaded".to_owned())]);
    assert_eq!(live.asked(), "-- edu\n");
}

/// Where udev is told to leave modules alone.
const BLACKLIST: &str = "etc/modprobe.d/dkms-fetch-first-load.conf";

impl Live {
    /// Another boot of the machine, or the same.
    fn boot(&self, id: &str) {
        self.story.write("proc/sys/kernel/random/boot_id", &format!("{id}\n"));
    }

    /// Puts back what was on the disk while the module was loaded: the machine stopped at that moment.
    fn stop_in_first_load(&self) {
        for (saved, place) in [("saved.db", "var/lib/dkms-fetch/state.db"), ("saved.conf", BLACKLIST)] {
            fs::copy(self.story.path(saved), self.story.path(place)).expect("it was saved");
        }
    }
}

#[test]
fn a_driver_that_stops_the_machine_is_not_loaded_again() {
    let save = format!(
        "test \"$1\" = -r && exit 0\n[ -e \"$root/saved.db\" ] || {{ cp \"$root/var/lib/dkms-fetch/state.db\" \"$root/saved.db\"; \
         cp \"$root/{BLACKLIST}\" \"$root/saved.conf\"; }}\nmkdir -p \"$device/driver\""
    );
    let live = Live::new(&save);
    live.boot("first");
    assert_eq!(ends(&live.auto()), [("2.0".to_owned(), "loaded".to_owned())]);
    let told = fs::read_to_string(live.story.path("saved.conf")).expect("udev was told before");
    assert!(told.ends_with("\nblacklist edu\n"), "{told}");
    assert!(!live.story.path(BLACKLIST).exists(), "it is loaded");

    // The run was killed, and the machine is up.
    live.stop_in_first_load();
    live.story
        .run(&["recover"])
        .assert(0, &["no driver stopped this machine"]);
    assert!(live.story.module("edu").is_file() && !live.story.path(BLACKLIST).exists());
    assert_eq!(live.quarantined(), [""; 0]);

    live.stop_in_first_load();
    live.boot("second");
    let check = live.story.run(&["recover", "--check"]);
    check.assert(0, &["would look at edu 2.0 for kernel"]);
    assert!(live.story.path(BLACKLIST).exists() && live.story.module("edu").is_file());
    let why = "the machine stopped while its modules were loaded for the first time";
    let run = live.story.run(&["recover"]);
    run.assert(0, &["quarantined edu 2.0", "removed edu 2.0 from kernel", why]);
    assert_eq!(live.quarantined(), ["2.0"]);
    assert!(!live.story.module("edu").exists() && !live.story.path(BLACKLIST).exists());
    assert!(!live.story.path("usr/src/edu-2.0").exists());
    live.story
        .run(&["recover"])
        .assert(0, &["no driver stopped this machine"]);

    // The next candidate has its turn.
    fs::remove_dir(live.story.path(&format!("sys{DEVICE}/driver"))).expect("it was bound");
    assert_eq!(ends(&live.auto()), [("1.0".to_owned(), "loaded".to_owned())]);
}

/// A run does what the unit at boot does, before it decides.
#[test]
fn a_run_takes_back_what_stopped_the_machine() {
    let live = Live::new(&format!(
        "cp \"$root/var/lib/dkms-fetch/state.db\" \"$root/saved.db\"; cp \"$root/{BLACKLIST}\" \"$root/saved.conf\"\n\
         mkdir -p \"$device/driver\""
    ));
    live.boot("first");
    assert_eq!(ends(&live.auto()), [("2.0".to_owned(), "loaded".to_owned())]);
    live.stop_in_first_load();
    live.boot("second");
    live.story
        .auto(&[])
        .assert(0, &["quarantined edu 2.0", "installed edu 1.0"]);
}

#[test]
fn a_device_that_is_unplugged_is_not_held_against_its_package() {
    let live = Live::new("rm -r \"$device\"");
    assert_eq!(ends(&live.auto()), [("2.0".to_owned(), "loaded".to_owned())]);
    assert_eq!(live.quarantined(), [""; 0]);

    let refuse = "echo \"modprobe: ERROR: could not insert 'edu': No such device\" >&2; exit 1";
    let live = Live::new(&format!("test \"$1\" = -r && exit 0\nrm -r \"$device\"\n{refuse}"));
    let why = "Machine: its device was unplugged while edu was loaded";
    assert_eq!(ends(&live.auto()), [("2.0".to_owned(), why.to_owned())]);
    assert_eq!(live.quarantined(), [""; 0]);
}
