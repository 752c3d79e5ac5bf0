//! `dkms-repo mirror` and `diff`: copies that were verified, whole or of some packages, and what differs between states.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use dkms_repo::stage::Stage;
use dkms_tests::nginx::Nginx;
use dkms_tests::process::{fails, said, succeeds};
use dkms_tests::published::{copy_of, files};
use dkms_tests::repo::{Client, Mirror, TestRepo};
use serde_json::Value;

fn dkms_repo(repo: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    command.arg("-C").arg(repo).args(arguments).stdin(Stdio::null());
    command
}

fn json(output: &Output) -> Result<Value> {
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn next_state(repo: &TestRepo, version: &str) -> Result<()> {
    repo.stage_moving(version)?;
    repo.publish(0)?;
    Ok(())
}

/// How many packages a new machine may install from the tree at `path`.
fn installable(path: &Path, repo: &TestRepo) -> Result<usize> {
    let synced = Client::new(repo.pinned()?).sync(&Mirror::of(path)?, repo.now)?;
    Ok(synced.installable().len())
}

fn bundles(path: &Path) -> usize {
    files(&path.join("bundles")).len()
}

#[test]
fn a_mirror_is_verified_whole_and_brought_up_to_date() -> Result<()> {
    let (nginx, repo) = (Nginx::start(), TestRepo::of_today()?);
    let path = repo.repository.path();
    next_state(&repo, "1.0+dfsg~rc1")?;
    dkms_repo::authority::rotate(&repo.repository, "timestamp", None, repo.now)?;
    let www = nginx.directory().join("drivers");
    let www_text = www.to_str().context("UTF-8")?;
    succeeds(&mut dkms_repo(path, &["publish", "--to", www_text]));
    let url = nginx.url("drivers");
    let dir = tempfile::tempdir()?;
    let to = dir.path().join("mirror");
    let to_text = to.to_str().context("UTF-8")?;
    let mirror = ["mirror", &url, to_text];

    // A bundle that was changed on the way, and one that is missing: nothing is visible, and then it goes on where it was.
    let bundle = files(&www.join("bundles")).pop().context("a bundle")?;
    let good = fs::read(&bundle)?;
    let mut bad = good.clone();
    bad[0] ^= 1;
    fs::write(&bundle, &bad)?;
    fails(
        &mut dkms_repo(path, &mirror),
        4,
        &[
            "is missing, or is not what the signed metadata says",
            "hint: copy from another mirror",
        ],
    );
    assert!(!to.join("metadata/timestamp.json").exists());
    fs::write(&bundle, &good)?;
    succeeds(&mut dkms_repo(path, &mirror));
    assert_eq!(Mirror::of(&to)?, Mirror::of(&www)?);
    assert_eq!(installable(&to, &repo)?, 4);

    // The same again: nothing to write. A new state: what is new.
    let again = json(&succeeds(&mut dkms_repo(path, &["--json", "mirror", &url, to_text])))?;
    assert_eq!(again["written"], Value::Array(Vec::new()));
    let old = copy_of(&www);
    next_state(&repo, "2")?;
    succeeds(&mut dkms_repo(path, &["publish", "--to", www_text]));
    let dry = json(&succeeds(&mut dkms_repo(
        path,
        &["--json", "mirror", "--dry-run", &url, to_text],
    )))?;
    let wet = json(&succeeds(&mut dkms_repo(path, &["--json", "mirror", &url, to_text])))?;
    assert_eq!(dry["written"], wet["written"]);
    assert!(
        (5..12).contains(&wet["written"].as_array().context("a list")?.len()),
        "{wet}"
    );
    assert_eq!(Mirror::of(&to)?, Mirror::of(&www)?);

    // What is older, of other keys, or tampered with does not replace it.
    let current = Mirror::of(&to)?;
    let old_text = old.path().to_str().context("UTF-8")?;
    fails(
        &mut dkms_repo(path, &["mirror", old_text, to_text]),
        1,
        &["it does not come after that", "--replace"],
    );
    let stranger = TestRepo::of_today()?;
    let root = stranger.public().join("metadata/1.root.json");
    let root = root.to_str().context("UTF-8")?;
    fails(
        &mut dkms_repo(path, &["mirror", "--from", root, &url, to_text]),
        4,
        &["hint: copy from another mirror"],
    );
    let outside = tempfile::tempdir()?;
    fails(
        &mut dkms_repo(outside.path(), &["mirror", &url, to_text]),
        1,
        &["--from ROOT.JSON"],
    );
    let timestamp = fs::read_to_string(www.join("metadata/timestamp.json"))?;
    fs::write(
        www.join("metadata/timestamp.json"),
        timestamp.replace("\"version\":", "\"version\":1"),
    )?;
    fails(&mut dkms_repo(path, &mirror), 4, &["hint: "]);
    assert_eq!(Mirror::of(&to)?, current);
    succeeds(&mut dkms_repo(path, &["mirror", "--replace", old_text, to_text]));
    assert_eq!(installable(&to, &repo)?, 4);
    fails(
        &mut dkms_repo(path, &["mirror", &nginx.url("nothing"), to_text]),
        1,
        &["hint: "],
    );
    Ok(())
}

#[test]
fn a_mirror_can_have_some_packages() -> Result<()> {
    let repo = TestRepo::of_today()?;
    let path = repo.repository.path();
    let public = repo.public();
    let public = public.to_str().context("UTF-8")?;
    let check = |choice: &[&str], expected: usize| -> Result<()> {
        let dir = tempfile::tempdir()?;
        let to = dir.path().to_str().context("UTF-8")?;
        succeeds(&mut dkms_repo(path, &[&["mirror", public, to], choice].concat()));
        let synced = Client::new(repo.pinned()?).sync(&Mirror::of(dir.path())?, repo.now)?;
        assert_eq!(synced.packages.len(), 3, "the index is whole: {choice:?}");
        assert_eq!(
            (synced.installable().len(), bundles(dir.path())),
            (expected, expected),
            "{choice:?}"
        );
        // The whole one on top of it.
        succeeds(&mut dkms_repo(path, &["mirror", public, to]));
        assert_eq!(installable(dir.path(), &repo)?, 3);
        Ok(())
    };
    check(&["--vendor", "pci-10ec"], 2)?;
    check(&["--bus", "ddcci"], 1)?;
    check(&["--bus", "pci", "--package", "ddcci"], 3)?;
    check(&["--package", "r8168", "--kernel", "6.1"], 1)?;
    let dir = tempfile::tempdir()?;
    let to = dir.path().to_str().context("UTF-8")?;
    fails(
        &mut dkms_repo(path, &["mirror", public, to, "--bus", "usb"]),
        1,
        &["has no package that was asked for"],
    );
    assert_eq!(files(dir.path()).len(), 0);
    let output = dkms_repo(path, &["mirror", public, to, "--vendor", "realtek"]).output()?;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    Ok(())
}

/// The way out that a publisher is told who came second.
#[test]
fn the_second_of_two_publishers_goes_on_from_the_state_of_the_first() -> Result<()> {
    let repo = TestRepo::of_today()?;
    let path = repo.repository.path();
    let dir = tempfile::tempdir()?;
    let target = dir.path().join("target");
    let target = target.to_str().context("UTF-8")?;
    succeeds(&mut dkms_repo(path, &["publish", "--to", target]));
    let other = copy_of(path);
    succeeds(&mut dkms_repo(
        other.path(),
        &["revoke", "ddcci", "--reason", "it burns"],
    ));
    succeeds(&mut dkms_repo(other.path(), &["publish", "--to", target]));
    next_state(&repo, "1")?;
    succeeds(&mut dkms_repo(path, &["timestamp"]));
    fails(
        &mut dkms_repo(path, &["publish", "--to", target]),
        1,
        &["hint: take that state over with `dkms-repo mirror "],
    );
    let public = repo.public();
    succeeds(&mut dkms_repo(
        path,
        &["mirror", target, public.to_str().context("UTF-8")?, "--replace"],
    ));
    succeeds(&mut dkms_repo(path, &["publish", "--take-over", "--to", target]));
    assert_eq!(installable(Path::new(target), &repo)?, 4);
    succeeds(&mut dkms_repo(path, &["verify"]));
    Ok(())
}

#[test]
fn what_differs_is_told() -> Result<()> {
    let repo = TestRepo::of_today()?;
    let path = repo.repository.path();
    let before = copy_of(&repo.public());
    let before = before.path().to_str().context("UTF-8")?;
    let diff = |words: &[&str]| -> Result<String> {
        let output = succeeds(&mut dkms_repo(path, &[&["diff"], words].concat()));
        Ok(said(&output))
    };
    assert!(diff(&[])?.starts_with("no differences between "), "{}", diff(&[])?);
    repo.stage("moving", "2", "curated", &["usb:v1234p0001d*dc*dsc*dp*ic*isc*ip*in*"])?;
    repo.stage("ddcci", "0.4.5", "curated", &["ddcci:*", "ddcci-dependent:*"])?;
    fs::remove_dir_all(Stage::of(&repo.repository).package_dir("r8169x", "1"))?;
    let staged = diff(&[])?;
    assert_eq!(
        staged,
        "~ ddcci 0.4.5\n    patterns:\n      + ddcci-dependent:*\n+ moving 2\n- r8169x 1\n",
    );
    succeeds(&mut dkms_repo(path, &["publish"]));
    succeeds(&mut dkms_repo(path, &["revoke", "moving", "--reason", "it burns"]));
    succeeds(&mut dkms_repo(path, &["rotate", "index"]));
    let public = repo.public();
    let public = public.to_str().context("UTF-8")?;
    let published = diff(&[before, public])?;
    assert!(published.starts_with(&staged), "{published}");
    for word in [
        "+ revocation {",
        "it burns",
        "~ role index\n",
        "    keys:\n      - ",
        "~ role timestamp\n",
        "    version: ",
    ] {
        assert!(published.contains(word), "{word}: {published}");
    }
    assert!(!published.contains("role root"), "{published}");
    let back = json(&succeeds(&mut dkms_repo(path, &["--json", "diff", public, before])))?;
    let changes: Vec<&str> = back["packages"]
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|one| one["change"].as_str())
        .collect();
    assert_eq!(changes, ["changed", "removed", "added"]);
    assert_eq!(back["unrevoked"][0]["reason"], "it burns");
    // A published state is verified.
    let stranger = TestRepo::of_today()?;
    let theirs = stranger.public();
    fails(
        &mut dkms_repo(path, &["diff", theirs.to_str().context("UTF-8")?]),
        4,
        &["hint: "],
    );
    Ok(())
}
