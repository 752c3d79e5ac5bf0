//! A medium: made where there is a network, used where there is none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_index::document::record::BuildOutcome;
use dkms_tests::published::copy_of;
use dkms_tests::story::{AHCI, EDU, EDU2, Run, Source, Story, program};

/// A machine without a network, and another one that trusts the same repository and has neither its devices nor its kernel.
struct Pair {
    story: Story,
    other: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let story = Story::new();
        story.add("edu", "0.9", 0x11e8, Source::Good);
        story.add("edu", "1.0", 0x11e8, Source::Good);
        story.add("unwanted", "1.0", 0x11e9, Source::Good);
        story.publish();
        let other = tempfile::tempdir().expect("a directory");
        let etc = other.path().join("etc");
        fs::create_dir(&etc).expect("a directory");
        let copied = Command::new("cp")
            .arg("-a")
            .args([story.path("etc/dkms-fetch"), etc])
            .status();
        assert!(copied.expect("cp runs").success());
        story.use_mirror("http://127.0.0.1:9/");
        Self { story, other }
    }

    /// The list that the machine without a network writes.
    fn exported(&self) -> PathBuf {
        let file = self.other.path().join("devices.txt");
        let devices = self.story.device_list().display().to_string();
        let run = self.story.run(&[
            "--devices",
            &devices,
            "devices",
            "--export",
            &file.display().to_string(),
        ]);
        run.assert(0, &["devices to"]);
        file
    }

    fn out(&self, name: &str) -> PathBuf {
        self.other.path().join(name)
    }

    fn make(&self, out: &Path, more: &[&str]) -> Run {
        let list = self.exported().display().to_string();
        let (root, out) = (self.other.path().display().to_string(), out.display().to_string());
        let ours = ["--root", &root, "--devices", &list, "--kernel", &self.story.kernel];
        let words = [&ours[..], &["media", "make", "--out", &out], more].concat();
        Run::of(&mut program(&words.iter().map(ToString::to_string).collect::<Vec<_>>()))
    }
}

/// The files below a directory, by their paths.
fn files(dir: &Path) -> Vec<String> {
    let below = |path: &Path| path.strip_prefix(dir).expect("below").display().to_string();
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().flatten();
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| below(entry.path()))
        .collect()
}

fn bundles(dir: &Path) -> Vec<PathBuf> {
    let found = files(&dir.join("test/bundles"));
    found
        .into_iter()
        .map(|file| dir.join("test/bundles").join(file))
        .collect()
}

#[test]
fn a_machine_without_a_network_gets_its_driver_from_a_medium() {
    let pair = Pair::new();
    let list = fs::read_to_string(pair.exported()).expect("a list");
    assert!(list.contains(&format!("/1/modalias:{EDU}\n")), "{list}");
    let out = pair.out("stick");
    let run = pair.make(&out, &[]);
    run.assert(
        0,
        &["repository test: 1 source of", "valid until", "edu 1.0", "--medium"],
    );
    // The newest version for the device, and nothing for devices that the machine does not have.
    assert_eq!(bundles(&out).len(), 1, "{:?}", files(&out));

    let out = out.display().to_string();
    let story = &pair.story;
    story
        .auto(&["--offline"])
        .assert(3, &["no file:// mirror is configured, and the run is offline"]);
    story
        .auto(&["--offline", "--medium", &out])
        .assert(0, &["installed edu 1.0"]);
    assert!(story.module("edu").is_file());
    // Without --offline the mirror that cannot be reached is not missed, and the newest that is known stays.
    story.auto(&["--medium", &out]).assert(0, &[]);
}

#[test]
fn a_medium_is_made_anew_in_place_and_only_what_is_missing_is_written() {
    let pair = Pair::new();
    let out = pair.out("stick");
    pair.make(&out, &[]).assert(0, &["wrote"]);
    let times = |out: &Path| -> Vec<_> {
        let time = |name: &String| fs::metadata(out.join(name)).and_then(|m| m.modified()).expect("a time");
        files(out).iter().map(|name| (name.clone(), time(name))).collect()
    };
    let before = times(&out);
    pair.make(&out, &[]).assert(0, &["wrote"]);
    let changed: Vec<_> = times(&out).into_iter().filter(|file| !before.contains(file)).collect();
    assert!(
        changed
            .iter()
            .all(|(name, _)| name.ends_with("metadata/timestamp.json")),
        "{changed:?}"
    );

    // A source that the disk spoilt is fetched again, and a newer version takes the place of the old one.
    let spoilt = bundles(&out);
    fs::write(&spoilt[0], "spoilt").expect("a file");
    pair.make(&out, &[]).assert(0, &["wrote"]);
    assert_eq!(bundles(&out), spoilt);
    assert_ne!(fs::read(&spoilt[0]).expect("a file"), b"spoilt");
    pair.story.add("edu", "1.1", 0x11e8, Source::Good);
    pair.story.publish();
    pair.make(&out, &[]).assert(0, &["edu 1.1"]);
    assert!(bundles(&out).len() == 1 && bundles(&out) != spoilt, "{:?}", files(&out));
}

#[test]
fn what_is_on_a_medium_is_not_trusted_more_than_a_server() {
    let pair = Pair::new();
    let out = pair.out("stick");
    pair.make(&out, &[]).assert(0, &["wrote"]);
    let medium = out.display().to_string();
    let spoil = |name: &str, from: &str, to: &str| {
        let file = out.join("test").join(name);
        let text = fs::read_to_string(&file).expect("a file");
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replacen(from, to, 1)).expect("a file");
        text
    };
    let good = spoil("metadata/timestamp.json", "\"expires\":\"2", "\"expires\":\"3");
    let run = pair.story.auto(&["--offline", "--medium", &medium]);
    run.assert(4, &["metadata/timestamp.json", "hint:"]);
    pair.story.assert_nothing_half_done("edu");
    fs::write(out.join("test/metadata/timestamp.json"), good).expect("a file");

    let bundle = &bundles(&out)[0];
    fs::write(bundle, "another source").expect("a file");
    let run = pair.story.auto(&["--offline", "--medium", &medium]);
    assert_eq!(run.code, 4, "{}\n{}", run.stdout, run.stderr);
    assert!(!pair.story.module("edu").exists());

    // A medium of another repository says nothing to this machine.
    let stranger = Pair::new();
    let out = stranger.out("stick");
    stranger.make(&out, &[]).assert(0, &["wrote"]);
    let run = pair.story.auto(&["--offline", "--medium", &out.display().to_string()]);
    run.assert(
        3,
        &["warning: ", "has no mirror of a repository that this machine trusts"],
    );
}

#[test]
fn an_image_has_the_label_by_which_the_first_boot_finds_it() {
    let pair = Pair::new();
    let image = pair.out("stick.iso");
    let run = pair.make(&image, &[]);
    run.assert(
        0,
        &[
            "wrote",
            "stick.iso",
            "at its first boot a machine finds it by the label DKMSFETCH",
        ],
    );
    // Whoever writes it to a stick need not be root.
    let mode = fs::metadata(&image).expect("an image").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let run = Command::new("xorriso")
        .args([
            "-indev",
            &image.display().to_string(),
            "-pvd_info",
            "-find",
            "/",
            "-type",
            "f",
        ])
        .output()
        .expect("xorriso runs");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(text.contains("Volume Id    : DKMSFETCH"), "{text}");
    assert!(text.contains("'/test/metadata/timestamp.json'"), "{text}");
    // It is as good as the directory.
    let dir = pair.out("unpacked");
    let unpacked = Command::new("xorriso")
        .args([
            "-osirrox",
            "on",
            "-indev",
            &image.display().to_string(),
            "-extract",
            "/",
        ])
        .arg(&dir)
        .output()
        .expect("xorriso runs");
    assert!(
        unpacked.status.success(),
        "{}",
        String::from_utf8_lossy(&unpacked.stderr)
    );
    let dir = dir.display().to_string();
    pair.story
        .auto(&["--offline", "--medium", &dir])
        .assert(0, &["installed edu 1.0"]);
    let left: Vec<_> = files(pair.other.path())
        .into_iter()
        .filter(|name| name.contains("unfinished"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What is not on the medium is missed where no network is.
#[test]
fn devices_that_get_nothing_are_named_with_the_reason() {
    let pair = Pair::new();
    let nothing = "pci:v0000DEADd0000BEEFsv00000000sd00000000bc02sc80i00";
    let bridge = "pci:v00008086d000029C0sv00000000sd00000000bc06sc00i00";
    pair.story.devices(&[EDU, EDU2, nothing, bridge]);
    pair.story.add("new", "1.0", 0x11ea, Source::Good);
    pair.story.fact("unwanted", "1.0", BuildOutcome::Failed);
    pair.story.publish();
    let out = pair.out("stick");
    let run = pair.make(&out, &[]);
    run.assert(
        0,
        &[
            "repository test: 1 source of",
            "which devices it drives by itself is not known",
            &format!("nothing on it for 2 devices with kernel {}: refused", pair.story.kernel),
            "1234:11e9 unwanted 1.0: known not to build on",
            "no driver known",
            "dead:beef",
            &format!("on the machine: dkms-fetch --auto --medium {}", out.display()),
        ],
    );
    assert!(
        !run.stdout.contains("11e8") && !run.stderr.contains("no driver is on the medium"),
        "{run:?}"
    );
    let document = pair.make(&out, &["--json"]).document();
    let gap = &document["not_served"][0];
    assert_eq!(
        (&gap["kernel"], &gap["modules_known"]),
        (&pair.story.kernel.as_str().into(), &false.into()),
        "{gap}"
    );
    let verdict = |n: usize| (gap["devices"][n]["id"].clone(), gap["devices"][n]["verdict"].clone());
    assert_eq!(verdict(0), ("1234:11e9".into(), "refused".into()), "{gap}");
    assert_eq!(verdict(1), ("dead:beef".into(), "unknown".into()), "{gap}");

    // A kernel that drives the device by itself, and a medium with nothing to install.
    pair.story.devices(&[AHCI, nothing]);
    let list = pair.exported().display().to_string();
    let out = pair.out("empty").display().to_string();
    let words = [
        "--devices",
        &list,
        "--kernel",
        &pair.story.kernel,
        "media",
        "make",
        "--out",
        &out,
    ];
    pair.story.use_mirror(&pair.story.own_mirror());
    let run = pair.story.run(&words);
    run.assert(
        0,
        &[
            "0 sources of 0 bytes",
            "nothing on it for 1 device with kernel",
            "warning: no driver is on the medium",
            "hint: check --kernel",
        ],
    );
    assert!(
        !run.stdout.contains("8086:2829") && !run.stderr.contains("by itself is not known"),
        "{run:?}"
    );
    let document = pair.story.run(&[&words[..], &["--json"]].concat()).document();
    assert!(
        document["warnings"][0]["text"]
            .to_string()
            .contains("no driver is on the medium"),
        "{document}"
    );
}

#[test]
fn what_a_medium_lacks_is_said_before_anything_is_fetched() {
    let pair = Pair::new();
    let out = pair.out("stick");
    let (root, path) = (pair.other.path().display().to_string(), out.display().to_string());
    let check = |words: &[&str], code: i32, said: &[&str]| {
        let words: Vec<String> = [&["--root", &root, "media", "make", "--out", &path], words]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect();
        Run::of(&mut program(&words)).assert(code, said);
        assert!(!out.exists(), "{words:?}");
    };
    let list = pair.exported().display().to_string();
    check(&[], 2, &["none is named", "hint: --this-machine"]);
    check(
        &["--devices", &list],
        2,
        &["made for kernels that are named", "--kernel RELEASE"],
    );
    check(
        &["--devices", &list, "--kernel", "6.1", "--repo", "none"],
        2,
        &["no repository named none"],
    );
    check(
        &["--devices", &list, "--kernel", "6.1", "--check"],
        0,
        &["would write", "edu 1.0"],
    );
    // Another directory is left alone.
    let full = copy_of(&pair.story.path("etc"));
    fs::create_dir(full.path().join("test")).expect("a directory");
    fs::write(full.path().join("test/thesis.tex"), "years").expect("a file");
    let run = pair.make(full.path(), &[]);
    run.assert(2, &["is no medium: it is not overwritten", "hint:"]);
    assert_eq!(
        fs::read_to_string(full.path().join("test/thesis.tex")).expect("a file"),
        "years"
    );
}
