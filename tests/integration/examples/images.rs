//! The hook of image builders: drivers of machines that are not there, and those that are for some models only.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use dkms_tests::dkms::ours;
use dkms_tests::process::succeeds;
use dkms_tests::story::{EDU, Source, Story};
use sha2::{Digest, Sha256};

use super::{example, text};

/// The hook as an image builder calls it.
fn hook(story: &Story, arguments: &[&Path], image: Option<&Path>) -> Output {
    let bin = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(ours(), bin.path().join("dkms-fetch")).expect("a link");
    let mut command = Command::new(example("mmdebstrap/customize-dkms-fetch"));
    command
        .args(arguments)
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.path().display()),
        )
        .env("DKMS_FETCH_URL", story.own_mirror())
        .env(
            "DKMS_FETCH_FINGERPRINT",
            hex::encode(Sha256::digest(story.repo.pinned().expect("a root"))),
        )
        .env("DKMS_FETCH_DEVICES", story.device_list());
    if let Some(image) = image {
        command.env("BUILDROOT", image);
    }
    command.output().expect("it runs")
}

/// The hook prepares an image for machines that are not there, as mmdebstrap and mkosi call it.
#[test]
fn the_hook_of_image_builders_installs_drivers_into_the_image() {
    let story = Story::with_driver();
    fs::remove_file(story.path("etc/dkms-fetch/repos.d/test.toml")).expect("a file");
    let root = story.path("");
    let run = hook(&story, &[&root], None);
    assert!(run.status.success(), "{}", text(&run));
    assert!(story.module("edu").is_file());
    // mkosi: its first argument is a word, and the image is in the environment. The repository is there already.
    fs::remove_dir_all(story.path("etc/dkms-fetch/repos.d")).expect("a directory");
    let run = hook(&story, &[Path::new("final")], Some(&root));
    assert!(run.status.success(), "{}", text(&run));
}

/// The command that the example has for publishers limits a version to the images of some models.
#[test]
fn what_is_for_some_models_gets_into_their_images_only() {
    let story = Story::new();
    story.add("acme-box", "1.0", 0x11e8, Source::Good);
    let script = fs::read_to_string(example("mmdebstrap/customize-dkms-fetch")).expect("readable");
    let command = script
        .lines()
        .find_map(|line| line.strip_prefix("#   dkms-repo "))
        .expect("a command for publishers");
    let words: Vec<&str> = command.split(' ').map(|word| word.trim_matches('\'')).collect();
    let repository = story.repo.repository.path();
    let mut publisher = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    succeeds(publisher.arg("-C").arg(repository).args(words));
    story.publish();
    let dmi = |vendor: &str, name: &str| {
        format!("dmi:bvnX:bvr1:bd01/01/2026:svn{vendor}:pn{name}:pvr1:rvnX:rn1:rvr1:cvnX:ct1:cvr1:")
    };
    for (machine, is_for_it) in [
        (Some(dmi("Other", "Box7")), false),
        (Some(dmi("ACME", "Tower")), false),
        // An image is for no machine of which nothing is known.
        (None, false),
        (Some(dmi("ACME", "Box7")), true),
    ] {
        let devices: Vec<&str> = machine.as_deref().into_iter().chain([EDU]).collect();
        story.devices(&devices);
        // Each image is a new one.
        fs::remove_dir_all(story.path("etc/dkms-fetch/repos.d")).expect("a directory");
        let run = hook(&story, &[&story.path("")], None);
        assert!(run.status.success(), "{devices:?}: {}", text(&run));
        assert_eq!(
            story.module("acme-box").is_file(),
            is_for_it,
            "{devices:?}: {}",
            text(&run)
        );
        let is_refused = text(&run).contains("is for other machines");
        assert_eq!(is_refused, !is_for_it, "{devices:?}: {}", text(&run));
    }
}
