//! Publications are put where machines read them: an S3 server, nginx, directories; whole or not at all, and by one publisher at a time.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result};
use dkms_repo::stage::Stage;
use dkms_tests::inputs;
use dkms_tests::nginx::Nginx;
use dkms_tests::process::{self, said};
use dkms_tests::published::{copy_of, files};
use dkms_tests::repo::{Client, Mirror, TestRepo};
use dkms_tests::s3::{BUCKET, S3};
use dkms_tests::story::{patiently, program};
use serde_json::Value;

/// What no output may have.
const SECRET: &str = "wordless-secret";

fn dkms_repo(repo: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    command.arg("-C").arg(repo).args(arguments).stdin(Stdio::null());
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT",
        "DKMS_REPO_HTTP_TOKEN",
    ] {
        command.env_remove(name);
    }
    command
}

fn to_s3(s3: &S3, repo: &Path, arguments: &[&str]) -> Command {
    let mut command = dkms_repo(repo, arguments);
    s3.set_credentials(&mut command);
    command
}

fn address(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = process::succeeds(command);
    assert!(!said(&output).contains(SECRET), "{}", said(&output));
    output
}

#[track_caller]
fn fails(command: &mut Command, words: &[&str]) {
    let text = process::fails(command, 1, words);
    assert!(!text.contains(SECRET), "{text}");
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Stages and publishes one more package, whose version has letters that addresses escape.
fn next_state(repo: &TestRepo) -> Result<()> {
    repo.stage_moving("1.0+dfsg~rc1")?;
    repo.publish(0)?;
    Ok(())
}

/// The real agent, fresh from the factory: how many packages it finds at this address.
fn synced(repo: &TestRepo, url: &str) -> Result<u64> {
    let machine = tempfile::tempdir()?;
    let etc = machine.path().join("etc/dkms-fetch/repos.d");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("test.root.json"), repo.pinned()?)?;
    let text = format!("name = \"test\"\nroot = \"test.root.json\"\nurls = [\"{url}\"]\n");
    fs::write(etc.join("test.toml"), text)?;
    let root = machine.path().display().to_string();
    let output = program(&["--root".to_owned(), root, "--json".to_owned(), "sync".to_owned()]).output()?;
    anyhow::ensure!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout)?;
    let last: Value = serde_json::from_str(text.lines().last().context("a document")?)?;
    last["repositories"][0]["packages"]
        .as_u64()
        .with_context(|| last.to_string())
}

/// How many packages a machine may install, after every signature, manifest and bundle was checked.
fn installable(client: &mut Client, mirror: &Mirror, repo: &TestRepo) -> Result<usize> {
    let synced = client.sync(mirror, repo.now)?;
    for manifest in synced.manifests.values() {
        let manifest = manifest.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        let sha256 = &manifest.manifest().bundle.sha256;
        let path = format!("bundles/sha256/{}/{sha256}", &sha256[..2]);
        anyhow::ensure!(mirror.files.contains_key(&path), "{path} is not there");
    }
    Ok(synced.installable().len())
}

/// In which step a file is written.
fn rank(path: &str) -> usize {
    let kinds = [
        "/bundles/",
        "/targets/",
        ".root.json",
        "/metadata/",
        ".snapshot.json",
        "/timestamp.json",
    ];
    let last = kinds.iter().rposition(|kind| path.contains(kind)).expect(path);
    // Roots lie beside the metadata that they are for.
    if last == 3 && path.ends_with(".root.json") {
        2
    } else {
        last
    }
}

#[test]
fn a_publication_is_put_to_s3_in_order_and_only_once() -> Result<()> {
    let (s3, repo) = (S3::start(), TestRepo::of_today()?);
    let path = repo.repository.path();
    let target = address("linux/drivers");
    s3.hold(0, "before");
    let first = json(&succeeds(&mut to_s3(
        &s3,
        path,
        &["--json", "publish", "--to", &target],
    )));
    assert_eq!(first["to"][0]["before"], Value::Null);
    let writes = s3.writes();
    let order: Vec<usize> = writes
        .iter()
        .map(|write| rank(write["path"].as_str().unwrap_or_default()))
        .collect();
    let without_roots: Vec<usize> = order.iter().copied().filter(|rank| *rank != 2).collect();
    assert!(without_roots.is_sorted(), "{writes:#?}");
    let last = writes.last().context("writes")?;
    assert_eq!(last["path"], format!("/{BUCKET}/linux/drivers/metadata/timestamp.json"));
    assert_eq!(
        (&last["if_none_match"], &last["cache_control"]),
        (&Value::from("*"), &Value::from("no-cache"))
    );
    for write in &writes[..writes.len() - 1] {
        assert_eq!(write["cache_control"], "public, max-age=31536000, immutable", "{write}");
    }
    let kinds: BTreeSet<&str> = writes
        .iter()
        .filter_map(|write| write["content_type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["application/json", "application/octet-stream", "application/zstd"])
    );
    assert_eq!(s3.mirror("linux/drivers").files.len(), writes.len());
    assert_eq!(synced(&repo, &s3.url("linux/drivers"))?, 3);

    // The same again writes nothing; a new state is only what is new.
    s3.hold(0, "before");
    succeeds(&mut to_s3(&s3, path, &["publish", "--to", &target]));
    assert_eq!(s3.writes(), [Value::Null; 0]);
    next_state(&repo)?;
    let dry = json(&succeeds(&mut to_s3(
        &s3,
        path,
        &["--json", "publish", "--dry-run", "--to", &target],
    )));
    assert_eq!(s3.writes(), [Value::Null; 0], "a dry run writes nothing");
    let wet = json(&succeeds(&mut to_s3(
        &s3,
        path,
        &["--json", "publish", "--to", &target],
    )));
    assert_eq!(dry["to"], wet["to"], "a dry run tells what is done then");
    assert_eq!(wet["to"][0]["before"], first["to"][0]["state"]);
    let writes = s3.writes();
    assert!((5..12).contains(&writes.len()), "{writes:#?}");
    assert!(
        writes.last().context("writes")?["if_match"].is_string(),
        "on the condition of what was read"
    );
    assert_eq!(synced(&repo, &s3.url("linux/drivers"))?, 4);
    let mirror = s3.mirror("linux/drivers");
    assert_eq!(installable(&mut Client::new(repo.pinned()?), &mirror, &repo)?, 4);
    assert!(
        mirror
            .files
            .keys()
            .any(|path| path.ends_with(".moving@1.0+dfsg~rc1.json"))
    );

    // What is damaged or missing there comes back; what is damaged here is not spread.
    let bundle = mirror
        .files
        .keys()
        .find(|path| path.starts_with("bundles/"))
        .context("a bundle")?;
    s3.remove(&format!("linux/drivers/{bundle}"));
    succeeds(&mut to_s3(&s3, path, &["publish", "--to", &target]));
    assert_eq!(s3.mirror("linux/drivers"), mirror);
    s3.remove(&format!("linux/drivers/{bundle}"));
    fs::remove_file(repo.public().join(bundle))?;
    fs::write(repo.public().join(bundle), vec![b'x'; mirror.files[bundle].len()])?;
    fails(
        &mut to_s3(&s3, path, &["publish", "--to", &target]),
        &[
            &format!("{bundle} in the published tree is damaged"),
            "hint: `dkms-repo verify`",
        ],
    );
    Ok(())
}

#[test]
fn killed_at_any_write_it_is_the_old_state_or_the_new_one() -> Result<()> {
    let (s3, repo) = (S3::start(), TestRepo::of_today()?);
    let path = repo.repository.path();
    let old = copy_of(path);
    next_state(&repo)?;
    succeeds(&mut to_s3(&s3, old.path(), &["publish", "--to", &address("reference")]));
    let mut veteran = Client::new(repo.pinned()?);
    assert_eq!(installable(&mut veteran, &s3.mirror("reference"), &repo)?, 3);
    succeeds(&mut to_s3(&s3, path, &["publish", "--to", &address("reference")]));
    let reference = s3.mirror("reference");
    for when in ["before", "after"] {
        let mut held = 0;
        loop {
            let prefix = format!("{when}-{held}");
            let target = address(&prefix);
            succeeds(&mut to_s3(&s3, old.path(), &["publish", "--to", &target]));
            s3.hold(held + 1, when);
            let mut publisher = to_s3(&s3, path, &["publish", "--to", &target])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            let ended = patiently("a write or the end", || match publisher.try_wait() {
                Ok(Some(status)) => Some(Some(status)),
                Ok(None) => s3.is_held().then_some(None),
                Err(error) => panic!("{error}"),
            });
            if let Some(status) = ended {
                assert!(status.success());
                break;
            }
            publisher.kill()?;
            publisher.wait()?;
            s3.release();
            let seen = s3.mirror(&prefix);
            for client in [Client::new(repo.pinned()?), veteran.clone()] {
                let count = installable(&mut client.clone(), &seen, &repo)?;
                assert!(count == 3 || count == 4, "{when} write {held}: {count}");
            }
            s3.hold(0, "before");
            succeeds(&mut to_s3(&s3, path, &["publish", "--to", &target]));
            let done = s3.mirror(&prefix);
            assert_eq!(
                done.files.keys().collect::<Vec<_>>(),
                reference.files.keys().collect::<Vec<_>>()
            );
            assert_eq!(done, reference, "{when} write {held}");
            held += 1;
        }
        assert!(held >= 5, "{held} writes {when}");
    }
    Ok(())
}

#[test]
fn of_two_publishers_the_second_is_told_who_won() -> Result<()> {
    let (s3, repo) = (S3::start(), TestRepo::of_today()?);
    let target = address("shared");
    let path = repo.repository.path();
    succeeds(&mut to_s3(&s3, path, &["publish", "--to", &target]));
    let other = copy_of(path);
    // Both go on from the same state. The one here is held just before it would become visible, and the other one is quicker.
    next_state(&repo)?;
    s3.hold(0, "before");
    succeeds(&mut to_s3(
        &s3,
        path,
        &["--json", "publish", "--to", &address("elsewhere")],
    ));
    succeeds(&mut to_s3(
        &s3,
        path,
        &["--json", "publish", "--dry-run", "--to", &target],
    ));
    let dry = json(&succeeds(&mut to_s3(
        &s3,
        path,
        &["--json", "publish", "--dry-run", "--to", &target],
    )));
    let count = dry["to"][0]["written"].as_array().context("a list")?.len();
    s3.hold(count, "before");
    let slow = to_s3(&s3, path, &["publish", "--to", &target])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    patiently("the last write", || s3.is_held().then_some(()));
    succeeds(&mut to_s3(&s3, other.path(), &["timestamp", "--to", &target]));
    let won = s3.mirror("shared");
    // The held request is dropped and sent again by the slow one, now that the other one is done.
    s3.release();
    let output = slow.wait_with_output()?;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("another publisher was quicker: there is timestamp "),
        "{text}"
    );
    assert!(
        text.contains("hint: take that state over with `dkms-repo mirror s3://drivers/shared public"),
        "{text}"
    );
    assert_eq!(s3.mirror("shared"), won);
    // And whoever comes later is told before anything is written.
    s3.hold(0, "before");
    fails(
        &mut to_s3(&s3, path, &["publish", "--to", &target]),
        &[
            "s3://drivers/shared has another state than the one to be written: there is timestamp ",
            "it does not come after that",
        ],
    );
    assert_eq!(s3.writes(), [Value::Null; 0]);
    assert_eq!(
        installable(&mut Client::new(repo.pinned()?), &s3.mirror("shared"), &repo)?,
        3
    );

    // Metadata that another publisher left under the name of ours is not replaced silently.
    let dir = tempfile::tempdir()?;
    let mirror = dir.path().join("mirror");
    let to = mirror.to_str().context("UTF-8")?;
    succeeds(&mut dkms_repo(path, &["publish", "--to", to]));
    repo.stage("moving", "2", "curated", &["usb:v1234p0002d*dc*dsc*dp*ic*isc*ip*in*"])?;
    repo.publish(0)?;
    let mut newest = files(&repo.public().join("metadata")).into_iter().filter(|path| {
        path.to_string_lossy().ends_with(".snapshot.json")
            && !mirror
                .join("metadata")
                .join(path.file_name().unwrap_or_default())
                .exists()
    });
    let newest = newest.next_back().context("a new snapshot")?;
    let name = newest.file_name().context("a name")?.to_string_lossy().into_owned();
    let bytes = fs::read(&newest)?;
    fs::write(mirror.join("metadata").join(&name), vec![b' '; bytes.len()])?;
    fails(
        &mut dkms_repo(path, &["publish", "--to", to]),
        &[&format!("its metadata/{name} is another one than ours"), "--take-over"],
    );
    succeeds(&mut dkms_repo(path, &["publish", "--take-over", "--to", to]));
    assert_eq!(
        installable(&mut Client::new(repo.pinned()?), &Mirror::of(&mirror)?, &repo)?,
        4
    );
    // Another repository is never overwritten.
    let stranger = TestRepo::of_today()?;
    fails(
        &mut dkms_repo(stranger.repository.path(), &["publish", "--take-over", "--to", to]),
        &["another repository is there: its first root is not ours"],
    );
    Ok(())
}

#[test]
fn nginx_takes_a_publication_and_serves_it() -> Result<()> {
    let (nginx, repo) = (Nginx::start(), TestRepo::of_today()?);
    let path = repo.repository.path();
    let target = nginx.url("drivers");
    // By PUT alone: this nginx has no lists.
    let output = succeeds(&mut dkms_repo(path, &["publish", "--to", &target]));
    assert!(said(&output).contains(" files written ("), "{}", said(&output));
    assert_eq!(synced(&repo, &nginx.url("drivers/"))?, 3);
    next_state(&repo)?;
    let before = nginx.log().matches("\"PUT ").count();
    succeeds(&mut dkms_repo(path, &["publish", "--to", &target]));
    let log = nginx.log();
    assert!((5..12).contains(&(log.matches("\"PUT ").count() - before)), "{log}");
    assert_eq!(synced(&repo, &nginx.url("drivers/"))?, 4);
    assert_eq!(
        installable(
            &mut Client::new(repo.pinned()?),
            &Mirror::of(&nginx.directory().join("drivers"))?,
            &repo
        )?,
        4
    );
    fails(
        &mut dkms_repo(path, &["publish", "--delete", "--to", &target]),
        &["has no lists of its files", "leave --delete out"],
    );
    // A directory that it serves; what is put there by name in repo.toml is put there by every command that signs.
    let www = nginx.directory().join("by-name");
    let config =
        fs::read_to_string(path.join("repo.toml"))?.replace("publish_to = []", &format!("publish_to = [{:?}]", www));
    assert!(config.contains("by-name"), "{config}");
    fs::write(path.join("repo.toml"), config)?;
    succeeds(&mut dkms_repo(path, &["publish"]));
    assert_eq!(synced(&repo, &nginx.url("by-name/"))?, 4);
    let timestamp = || fs::read(www.join("metadata/timestamp.json"));
    for command in [
        &["timestamp"][..],
        &["revoke", "moving", "--reason", "it burns"],
        &["unrevoke", "moving"],
        &["rotate", "timestamp"],
    ] {
        let before = timestamp()?;
        succeeds(&mut dkms_repo(path, command));
        assert_ne!(timestamp()?, before, "{command:?}");
        assert_eq!(synced(&repo, &nginx.url("by-name/"))?, 4, "{command:?}");
    }
    Ok(())
}

/// A WebDAV server ends with the value.
struct WebDav(Child);

impl Drop for WebDav {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_webdav_server_takes_a_publication_and_lists_it() -> Result<()> {
    let (repo, dir) = (TestRepo::of_today()?, tempfile::tempdir()?);
    let path = repo.repository.path();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Command::new(inputs::python())
        .args([
            "-c",
            "from wsgidav.server.server_cli import run; run()",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--auth",
            "anonymous",
            "--root",
        ])
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _server = WebDav(server);
    patiently("the WebDAV server", || TcpStream::connect(("127.0.0.1", port)).ok());
    // Its directories are made by requests of their own, and it refuses one that is there.
    let target = format!("http://127.0.0.1:{port}/deep/below");
    succeeds(&mut dkms_repo(path, &["publish", "--to", &target]));
    let there = dir.path().join("deep/below");
    assert_eq!(
        installable(&mut Client::new(repo.pinned()?), &Mirror::of(&there)?, &repo)?,
        3
    );
    assert_eq!(synced(&repo, &format!("{target}/"))?, 3);
    next_state(&repo)?;
    fs::remove_dir_all(Stage::of(&repo.repository).package_dir("moving", "1.0+dfsg~rc1"))?;
    repo.publish(0)?;
    let second = json(&succeeds(&mut dkms_repo(path, &["--json", "publish", "--to", &target])));
    assert!(
        second["to"][0]["written"]
            .as_array()
            .is_some_and(|files| files.len() < 8),
        "{second}"
    );
    succeeds(&mut dkms_repo(path, &["gc", "--keep", "1", "--older-than", "0"]));
    let deleted = json(&succeeds(&mut dkms_repo(
        path,
        &["--json", "publish", "--delete", "--to", &target],
    )));
    assert!(
        deleted["to"][0]["deleted"]
            .as_array()
            .is_some_and(|files| !files.is_empty()),
        "{deleted}"
    );
    let again = json(&succeeds(&mut dkms_repo(
        path,
        &["--json", "publish", "--delete", "--to", &target],
    )));
    assert_eq!(
        (&again["to"][0]["written"], &again["to"][0]["deleted"]),
        (&Value::Array(Vec::new()), &Value::Array(Vec::new()))
    );
    assert_eq!(
        installable(&mut Client::new(repo.pinned()?), &Mirror::of(&there)?, &repo)?,
        3
    );
    Ok(())
}

#[test]
fn what_was_collected_here_is_deleted_there_if_asked() -> Result<()> {
    let repo = TestRepo::of_today()?;
    let path = repo.repository.path();
    let dir = tempfile::tempdir()?;
    let to = dir.path().to_str().context("UTF-8")?;
    succeeds(&mut dkms_repo(path, &["publish", "--to", to]));
    next_state(&repo)?;
    fs::remove_dir_all(Stage::of(&repo.repository).package_dir("moving", "1.0+dfsg~rc1"))?;
    repo.publish(0)?;
    succeeds(&mut dkms_repo(path, &["publish", "--to", to]));
    fs::write(dir.path().join("index.html"), "hello")?;
    fs::write(dir.path().join("metadata/.new-left"), "of a killed publisher")?;
    succeeds(&mut dkms_repo(path, &["gc", "--keep", "1", "--older-than", "0"]));
    let before = files(dir.path()).len();
    succeeds(&mut dkms_repo(path, &["publish", "--to", to]));
    assert_eq!(files(dir.path()).len(), before - 1, "only what a killed publisher left");
    let dry = json(&succeeds(&mut dkms_repo(
        path,
        &["--json", "publish", "--dry-run", "--delete", "--to", to],
    )));
    let gone = dry["to"][0]["deleted"].as_array().context("a list")?.len();
    assert!(gone > 2, "{dry}");
    assert_eq!(files(dir.path()).len(), before - 1, "a dry run deletes nothing");
    succeeds(&mut dkms_repo(path, &["publish", "--delete", "--to", to]));
    assert_eq!(files(dir.path()).len(), before - 1 - gone);
    assert!(dir.path().join("index.html").is_file(), "it is not ours");
    assert_eq!(
        installable(&mut Client::new(repo.pinned()?), &Mirror::of(dir.path())?, &repo)?,
        3
    );
    Ok(())
}

#[test]
fn a_target_that_cannot_be_used_is_an_error_that_says_why() -> Result<()> {
    let (s3, repo) = (S3::start(), TestRepo::of_today()?);
    let path = repo.repository.path();
    let usage = |to: &str, words: &[&str]| -> Result<()> {
        let output = dkms_repo(path, &["publish", "--to", to]).output()?;
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        words
            .iter()
            .for_each(|word| assert!(said(&output).contains(word), "{word}: {}", said(&output)));
        assert!(!said(&output).contains("hunter2"), "{}", said(&output));
        Ok(())
    };
    usage("ftp://example.org/x", &["does not begin with s3://"])?;
    usage("https://example.org/x?sig=hunter3", &["query or fragment"])?;
    fails(
        &mut to_s3(&s3, path, &["publish", "--to", "s3://no-such-bucket/x"]),
        &["cannot ", "s3://no-such-bucket/x", "hint: "],
    );
    let mut plain = to_s3(&s3, path, &["publish", "--to", &address("x")]);
    fails(plain.env_remove("AWS_ALLOW_HTTP"), &["AWS_ALLOW_HTTP=true"]);
    let mut nobody = dkms_repo(path, &["publish", "--to", &address("x")]);
    fails(
        nobody.env("AWS_EC2_METADATA_DISABLED", "true"),
        &[
            "no credentials are set",
            "hint: credentials are read from AWS_ACCESS_KEY_ID",
        ],
    );
    let mut token = dkms_repo(path, &["publish", "--to", "http://192.0.2.1/x"]);
    fails(
        token.env("DKMS_REPO_HTTP_TOKEN", SECRET),
        &["without TLS everybody on the way could read them"],
    );
    let mut half = dkms_repo(path, &["publish", "--to", "http://127.0.0.1:9/x"]);
    fails(
        half.env("DKMS_REPO_HTTP_USER", "me"),
        &["set DKMS_REPO_HTTP_USER and DKMS_REPO_HTTP_PASSWORD"],
    );
    let config = fs::read_to_string(path.join("repo.toml"))?;
    fs::write(
        path.join("repo.toml"),
        config.replace("publish_to = []", "publish_to = [\"https://me:hunter2@example.org/\"]"),
    )?;
    fails(
        &mut dkms_repo(path, &["publish"]),
        &["repo.toml is not valid", "user name or password"],
    );
    fs::write(path.join("repo.toml"), config)?;
    // One target that fails does not keep the others from it.
    let dir = tempfile::tempdir()?;
    let good = dir.path().join("good");
    let bad = dir.path().join("file");
    fs::write(&bad, "x")?;
    let (good, bad) = (good.to_str().context("UTF-8")?, bad.to_str().context("UTF-8")?);
    fails(
        &mut dkms_repo(path, &["publish", "--to", bad, "--to", good]),
        &["cannot create directory", bad],
    );
    assert_eq!(
        installable(&mut Client::new(repo.pinned()?), &Mirror::of(Path::new(good))?, &repo)?,
        3
    );
    Ok(())
}
