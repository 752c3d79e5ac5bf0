//! `repo add`, `list`, `info` and `remove`: from a machine without a repository to one with its driver.

use std::fs;
use std::process::Command;

use dkms_tests::story::{Story, program};
use sha2::{Digest, Sha256};

/// A machine that trusts nobody yet, and the fingerprint of the repository's root.
fn story() -> (Story, String) {
    let story = Story::with_driver();
    fs::remove_dir_all(story.path("etc/dkms-fetch")).expect("it was there");
    let root = story.repo.pinned().expect("a root");
    (story, hex::encode(Sha256::digest(root)))
}

#[test]
fn one_line_leads_from_nothing_to_a_driver() {
    let (story, fingerprint) = story();
    let devices = story.device_list().display().to_string();
    let looked = story.run(&["--kernel", &story.kernel, "--devices", &devices]);
    looked.assert(
        0,
        &[
            "2 devices",
            "no repository is configured",
            "hint: dkms-fetch repo add URL",
        ],
    );
    let dir = story.repo.repository.path().display().to_string();
    // Nobody has a package of any name, and no run has changed anything.
    story
        .run(&["hold", "edu"])
        .assert(2, &["no repository is configured", "hint: dkms-fetch repo add URL"]);
    let back = story.run(&["rollback", "--last"]);
    back.assert(0, &["no run has changed what is installed"]);
    assert!(!back.stderr.contains("entry 0"), "{}", back.stderr);
    let added = story.run(&["repo", "add", &dir, "--fingerprint", &fingerprint, "--name", "acme"]);
    added.assert(
        0,
        &[
            "repository acme, 1 package",
            &format!("fingerprint {fingerprint}"),
            "signed by 2 of 2 keys",
            "added repository acme",
            "next: `dkms-fetch --root /",
            "--auto` installs the drivers that this machine lacks",
        ],
    );
    assert!(!added.stdout.contains("1 packages"), "{}", added.stdout);
    let info = story.run(&["repo", "info", "acme"]);
    for line in added.stdout.lines().chain(info.stdout.lines()) {
        let is_path = line.contains('/');
        assert!(is_path || line.len() <= 80, "{line}");
    }
    assert!(
        added.stdout.contains("ed25519 key  ") && info.stdout.contains("ed25519 key  "),
        "{}",
        info.stdout
    );
    // The index that was verified is kept, with all that the next sync goes on from.
    let looked = story.run(&["--offline", "--kernel", &story.kernel, "--devices", &devices]);
    looked.assert(0, &["1 driver available"]);
    assert!(!looked.stderr.contains("no index is cached"), "{}", looked.stderr);
    story.run(&["sync"]).assert(0, &["synced acme: 1 package, nothing new"]);
    story.run(&["repo", "list"]).assert(0, &["acme file:///"]);
    story
        .run(&["repo", "info", "acme"])
        .assert(0, &[&fingerprint, "2 of 2 keys"]);
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    story
        .run(&["repo", "remove", "acme"])
        .assert(0, &["removed repository acme"]);
    assert!(!story.path("etc/dkms-fetch/repos.d/acme.root.json").exists());
    assert!(!story.path("var/lib/dkms-fetch/trust/acme").exists());
    assert!(story.module("edu").exists(), "what was installed stays");
    story
        .run(&["repo", "info", "acme"])
        .assert(2, &["no repository named acme"]);
}

#[test]
fn nobody_is_trusted_without_a_fingerprint_or_a_person() {
    let (story, fingerprint) = story();
    let url = story.own_mirror();
    let before = story.files();
    story
        .run(&["repo", "add", &url])
        .assert(2, &["none was given", &fingerprint, "--fingerprint"]);
    let wrong = "0".repeat(64);
    story
        .run(&["repo", "add", &url, "--fingerprint", &wrong])
        .assert(4, &["has the fingerprint", &fingerprint, "nothing was written"]);
    story
        .run(&["repo", "add", &url, "--fingerprint", "short"])
        .assert(2, &["is not a SHA-256"]);
    story
        .run(&["repo", "add", "/nonexistent", "--fingerprint", &wrong])
        .assert(2, &["/nonexistent is not a repository"]);
    story
        .run(&["repo", "add", &url, "--fingerprint", &fingerprint, "--check"])
        .assert(0, &["would add repository"]);
    story.assert_unchanged(&before);

    // On a terminal a person is asked; anything but yes is no.
    let on_terminal = |answer: &str| {
        let words = program(&story.arguments(&["repo", "add", &url, "--name", "acme"]));
        let words = std::iter::once(words.get_program()).chain(words.get_args());
        let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let script = format!("printf '{answer}\\n' | script -qefc \"{}\" /dev/null", line.join(" "));
        let output = Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("script(1) runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let refused = on_terminal("n");
    assert!(
        refused.contains("Trust this repository?") && refused.contains("was not added"),
        "{refused}"
    );
    story.assert_unchanged(&before);
    let trusted = on_terminal("y");
    assert!(trusted.contains("added repository acme"), "{trusted}");
    assert!(story.path("etc/dkms-fetch/repos.d/acme.toml").exists());
    story
        .run(&["repo", "add", &url, "--name", "acme", "--fingerprint", &fingerprint])
        .assert(2, &["a repository named acme is configured", "--name"]);
}

#[test]
fn a_vendors_package_ships_a_repository_and_etc_masks_it() {
    let (story, _) = story();
    let root = story.repo.pinned().expect("a root");
    fs::create_dir_all(story.path("usr/share/dkms-fetch/roots.d")).expect("a directory");
    fs::write(story.path("usr/share/dkms-fetch/roots.d/acme.json"), root).expect("a file");
    story.write(
        "usr/share/dkms-fetch/repos.d/acme.toml",
        &format!(
            "name = \"acme\"\nroot = \"acme.json\"\nurls = [\"{}\"]\n",
            story.own_mirror()
        ),
    );
    story.run(&["sync"]).assert(0, &["acme: 1 package"]);
    story.run(&["repo", "remove", "acme"]).assert(0, &[]);
    assert!(story.path("usr/share/dkms-fetch/repos.d/acme.toml").exists());
    assert_eq!(
        fs::read_to_string(story.path("etc/dkms-fetch/repos.d/acme.toml")).expect("a mask"),
        ""
    );
    story.run(&["sync"]).assert(2, &["no repository is configured"]);
}

#[test]
fn a_file_describes_a_repository() {
    let (story, fingerprint) = story();
    let file = story.repo.scratch().join("acme.repo");
    let text = format!(
        "name = \"acme\"\nurls = [\"{}\"]\nfingerprint = \"{fingerprint}\"\n",
        story.own_mirror()
    );
    fs::write(&file, text).expect("a file");
    let file = file.display().to_string();
    // The file says what its author says; a person has to say it too.
    story.run(&["repo", "add", &file]).assert(2, &["none was given"]);
    let wrong = "0".repeat(64);
    story
        .run(&["repo", "add", &file, "--fingerprint", &wrong])
        .assert(4, &[]);
    story
        .run(&["repo", "add", &file, "--fingerprint", &fingerprint])
        .assert(0, &["added repository acme"]);
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}

#[test]
fn a_file_that_describes_no_repository_is_named_with_its_line() {
    let (story, _) = story();
    let file = story.repo.scratch().join("acme.repo");
    let name = file.display().to_string();
    fs::write(
        &file,
        "[acme]\nname=Acme drivers\nbaseurl=https://drivers.example.org/\n",
    )
    .expect("a file");
    story.run(&["repo", "add", &name]).assert(
        2,
        &[
            &format!("{name}, line 2: this is a .repo file of yum or dnf"),
            "hint: it takes a TOML file",
            "`urls = [\"https://ADDRESS/\"]`",
        ],
    );
    fs::write(&file, "name = \"acme\"\nurl = 3\n").expect("a file");
    story.run(&["repo", "add", &name]).assert(
        2,
        &[
            &format!("{name}, line 2: unknown field `url`"),
            "hint: it takes a TOML file",
        ],
    );
    // The configuration that a hint names is that of the root.
    let config = story.path("etc/dkms-fetch/config.toml").display().to_string();
    story
        .run(&["repo", "add", "http://drivers.example.org/"])
        .assert(2, &[&format!("set `allow_plain_http = true` in {config}")]);
}
