//! Keys in several safes: a change is prepared without them, signed part by part on machines without a repository, and merged.
//! python-tuf is one of those who sign, and reads the result.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use dkms_repo::repository::Expiry;
use dkms_tests::process::{fails, run, succeeds};
use dkms_tests::repo::{Client, TestRepo};
use dkms_tests::{inputs, peer};
use serde_json::{Value, json};

/// A publisher whose keys of root, targets and curated are elsewhere.
struct Publisher {
    repo: TestRepo,
    /// The safes: `root-1.pem` and on.
    away: PathBuf,
}

impl Publisher {
    fn new() -> Result<Self> {
        let repo = TestRepo::at(jiff::Timestamp::now(), Expiry::default())?.fill()?;
        let away = repo.scratch().join("away");
        fs::create_dir(&away)?;
        for name in ["root-1.pem", "root-2.pem", "targets-1.pem", "curated-1.pem"] {
            fs::rename(repo.repository.keys_dir().join(name), away.join(name))?;
        }
        Ok(Self { repo, away })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
        command.arg("-C").arg(self.repo.repository.path()).args(words);
        command.stdin(Stdio::null()).env_remove("DKMS_REPO_PASSPHRASE");
        command
    }

    /// Prepares a change, and copies it to a stick of this name.
    fn prepare(&self, words: &[&str], stick: &str) -> Result<PathBuf> {
        let printed = run(&mut self.command(&[words, &["--prepare"]].concat()));
        self.copy(Path::new(printed.trim()), stick)
    }

    fn copy(&self, set: &Path, stick: &str) -> Result<PathBuf> {
        let stick = self.repo.scratch().join(stick);
        run(Command::new("cp").arg("-r").arg(set).arg(&stick));
        Ok(stick)
    }

    fn merge(&self, files: &[&Path]) -> Result<Value> {
        let mut command = self.command(&["--json", "merge"]);
        Ok(serde_json::from_str(&run(command.args(files)))?)
    }

    fn key(&self, name: &str) -> PathBuf {
        self.away.join(name)
    }

    /// A new key in a safe. Gives its public half.
    fn new_key(&self, name: &str) -> String {
        run(Command::new("openssl")
            .args(["genpkey", "-algorithm", "ed25519", "-out"])
            .arg(self.key(&format!("{name}.pem"))));
        let public = self.key(&format!("{name}.pub.pem"));
        run(Command::new("openssl")
            .args(["pkey", "-pubout", "-in"])
            .arg(self.key(&format!("{name}.pem")))
            .arg("-out")
            .arg(&public));
        public.display().to_string()
    }

    fn root_version(&self) -> u64 {
        let metadata = self.repo.public().join("metadata");
        (1..)
            .take_while(|n| metadata.join(format!("{n}.root.json")).exists())
            .last()
            .unwrap_or_default()
    }

    /// What is published is read by our client and by python-tuf.
    fn is_read(&self) -> Result<()> {
        let mirror = self.repo.mirror()?;
        Client::new(self.repo.pinned()?).sync(&mirror, jiff::Timestamp::now())?;
        let work = tempfile::tempdir()?;
        let output = peer::python_tuf(&self.repo.public(), &work.path().join("peer"), &[]);
        assert_eq!(output["versions"]["root"], json!(self.root_version()));
        Ok(())
    }
}

/// `dkms-repo sign` where no repository is.
fn sign(file: &Path, key: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    command.arg("sign").arg(file).arg("--key").arg(key).arg("--yes");
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .env_remove("DKMS_REPO_PASSPHRASE");
    command
}

fn said(command: &mut Command) -> String {
    dkms_tests::process::said(&succeeds(command))
}

/// Writes the signed part of a file, changed, back into it.
fn change(file: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut document: Value = serde_json::from_slice(&fs::read(file)?)?;
    change(&mut document);
    Ok(fs::write(file, document.to_string())?)
}

/// Two of the three old keys and two of the three new ones sign a root, each somewhere else, one of them by python-tuf.
#[test]
fn root_keys_in_three_safes_are_replaced() -> Result<()> {
    let publisher = Publisher::new()?;
    let mut words = vec!["rotate".to_owned(), "root".into(), "--keys".into(), "2/3".into()];
    for name in ["new-1", "new-2", "new-3"] {
        words.extend(["--public-key".to_owned(), publisher.new_key(name)]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let before = publisher.repo.mirror()?;
    let first = publisher.prepare(&words, "first")?;
    assert_eq!(publisher.repo.mirror()?, before, "nothing is published");
    let summary = fs::read_to_string(first.join("summary.txt"))?;
    assert!(summary.contains("root version 2 replaces version 1."), "{summary}");
    let set = publisher.repo.repository.path().join("prepared/1");
    let [second, third] = ["second", "third"].map(|stick| publisher.copy(&set, stick));
    let (second, third) = (second?, third?);
    let file = |stick: &Path| stick.join("2.root.json");

    // Without an answer nothing is signed.
    let unsigned = fs::read(file(&first))?;
    let mut unasked = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    unasked
        .arg("sign")
        .arg(file(&first))
        .arg("--key")
        .arg(publisher.key("root-1.pem"));
    fails(
        unasked.stdin(Stdio::null()),
        1,
        &["is not signed: there is nobody to be asked", "hint: "],
    );
    assert_eq!(fs::read(file(&first))?, unsigned);

    // The first safe compares with the root that it has.
    let pinned = publisher.repo.public().join("metadata/1.root.json");
    let text = said(
        sign(&file(&first), &publisher.key("root-1.pem"))
            .arg("--from")
            .arg(&pinned),
    );
    for part in [
        "root version 2 replaces version 1.",
        "Role root changes: 2 of 3 keys sign for it, before 2 of 2.",
        "  goes   ",
        "  comes  ",
        "Role timestamp stays as it is: 1 of 1 keys sign for it.",
        "signed by 1 of the keys in root version 1: 1 more is needed",
        "signed by 0 of the keys in root version 2: 2 more are needed",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    // python-tuf signs a copy, and so do the holders of new keys, in another one.
    let signer = |stick: &Path, key: &str| {
        let arguments = [file(stick), publisher.key(key)].map(|path| path.display().to_string());
        peer::script("tuf_signer.py", &arguments);
    };
    signer(&second, "root-2.pem");
    succeeds(&mut sign(&file(&third), &publisher.key("new-1.pem")));

    // One more copy, with a signature that is there already.
    let merged = publisher.merge(&[&file(&first), &file(&third), &file(&first)])?;
    let needs = &merged["waiting"][0]["documents"][0]["needs"];
    assert_eq!(merged["published"], json!({}));
    assert_eq!(needs[0]["signed"].as_array().map(Vec::len), Some(1), "{needs:#}");
    assert_eq!(needs[1]["signed"].as_array().map(Vec::len), Some(1), "{needs:#}");
    assert_eq!(publisher.root_version(), 1);
    let text = said(&mut publisher.command(&["merge"]));
    for part in [
        "change 1 (rotate root) waits in ",
        "root version 2\tsigned by 1 of the keys in root version 1: 1 more is needed\tmissing: root-2.pem",
        "missing: root-4.pem, root-5.pem",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let merged = publisher.merge(&[&file(&second)])?;
    assert_eq!(merged["waiting"][0]["documents"][0]["complete"], json!(false));
    assert_eq!(publisher.root_version(), 1, "the new keys have to sign, too");
    signer(&second, "new-3.pem");
    let merged = publisher.merge(&[&file(&second)])?;
    assert_eq!(merged["published"]["1"]["signed"], json!({"root": 2}));
    assert_eq!(publisher.root_version(), 2);
    assert!(!set.exists(), "what is published waits for nothing");
    publisher.is_read()?;
    assert_eq!(publisher.merge(&[])?, json!({"published": {}, "waiting": [], "to": []}));
    fails(
        publisher.command(&["merge"]).arg(file(&second)),
        4,
        &["has version 2 of root, and version 2 is published"],
    );
    Ok(())
}

/// Manifests that two of three have to sign; the old keys of a role; a vendor.
#[test]
fn manifests_are_signed_by_two_of_three() -> Result<()> {
    let publisher = Publisher::new()?;
    let public: Vec<String> = ["c-1", "c-2", "c-3"].map(|name| publisher.new_key(name)).into();
    let options = public.iter().flat_map(|key| ["--public-key", key]);
    let words: Vec<&str> = ["rotate", "curated", "--keys", "2/3"]
        .into_iter()
        .chain(options)
        .collect();
    let stick = publisher.prepare(&words, "rotation")?;
    let (targets, curated) = (stick.join("3.targets.json"), stick.join("3.curated.json"));
    succeeds(&mut sign(&targets, &publisher.key("targets-1.pem")));
    succeeds(
        sign(&curated, &publisher.key("c-1.pem"))
            .arg("--key")
            .arg(publisher.key("c-2.pem")),
    );
    fails(
        &mut sign(&curated, &publisher.key("curated-1.pem")),
        1,
        &["does not sign curated version 3", "hint: these keys sign it: "],
    );
    let merged = publisher.merge(&[&targets, &curated])?;
    assert_eq!(merged["published"]["1"]["signed"]["curated"], json!(3), "{merged:#}");
    publisher.is_read()?;

    // A publication. What is staged afterwards is not what they signed.
    publisher.repo.stage_moving("1")?;
    let stick = publisher.prepare(&["publish"], "publication")?;
    let curated = stick.join("4.curated.json");
    let text = said(&mut sign(&curated, &publisher.key("c-3.pem")));
    assert!(text.contains("File curated/moving@1.json comes: "), "{text}");
    assert!(text.contains("1 files stay as they are."), "{text}");
    // A token's program, here openssl.
    let program = publisher.key("token");
    let script = format!(
        "#!/bin/sh -e\ncat >\"$0.in\"\nopenssl pkeyutl -sign -rawin -inkey '{}' -in \"$0.in\"\n",
        publisher.key("c-2.pem").display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::write(publisher.key("card.signer"), format!("command = [{program:?}]\n"))?;
    fs::copy(&public[1], publisher.key("card.pub"))?;
    succeeds(&mut sign(&curated, &publisher.key("card.signer")));
    let before = publisher.repo.mirror()?;
    publisher.repo.stage_moving("2")?;
    fails(
        publisher.command(&["merge"]).arg(&curated),
        1,
        &[
            "prepared/1 is not what would be published of role curated now:",
            "File curated/moving@2.json comes: ",
            "hint: `dkms-repo merge --drop 1`, and prepare the change again",
        ],
    );
    assert_eq!(publisher.repo.mirror()?, before);
    // Nothing is lost: the signatures are there when what was signed is staged again.
    run(&mut publisher.command(&["unstage", "moving@2"]));
    run(&mut publisher.command(&["timestamp"]));
    let merged = publisher.merge(&[])?;
    assert_eq!(merged["published"]["1"]["signed"]["curated"], json!(4), "{merged:#}");
    run(&mut publisher.command(&["verify"]));
    publisher.is_read()?;

    // `targets` with a new key: its old one is waited for, unless it is said that it is lost.
    let new = publisher.new_key("t-2");
    let stick = publisher.prepare(&["rotate", "targets", "--public-key", &new], "targets")?;
    let (root, targets) = (stick.join("2.root.json"), stick.join("4.targets.json"));
    for key in ["root-1.pem", "root-2.pem"] {
        succeeds(&mut sign(&root, &publisher.key(key)));
    }
    succeeds(&mut sign(&targets, &publisher.key("t-2.pem")));
    let merged = publisher.merge(&[&root, &targets])?;
    let needs = &merged["waiting"][0]["documents"][1]["needs"];
    assert_eq!(needs[1]["required"], json!(false), "{merged:#}");
    let text = said(&mut publisher.command(&["merge", "--unbridged"]));
    assert!(
        text.contains("warning: targets could not be signed by its old keys"),
        "{text}"
    );
    publisher.is_read()?;

    // A vendor, by the new key of targets; and the root again, for its lifetime.
    let vendor = publisher.new_key("vendor");
    let stick = publisher.prepare(&["delegate", "usb-0bda", "--public-key", &vendor], "vendor")?;
    let targets = stick.join("5.targets.json");
    let text = said(&mut sign(&targets, &publisher.key("t-2.pem")));
    assert!(
        text.contains("Role vendor-usb-0bda is new: 1 of 1 keys sign for it."),
        "{text}"
    );
    assert!(
        text.contains("Role vendor-usb-0bda may sign by-id/usb-0bda/*."),
        "{text}"
    );
    publisher.merge(&[&targets])?;
    let stick = publisher.prepare(&["renew", "root"], "renewal")?;
    let root = stick.join("3.root.json");
    for key in ["root-2.pem", "root-1.pem"] {
        succeeds(&mut sign(&root, &publisher.key(key)));
    }
    let merged = publisher.merge(&[&root])?;
    assert_eq!(merged["published"]["1"]["signed"], json!({"root": 3}), "{merged:#}");
    publisher.is_read()
}

/// What must not be signed is not, and what must not be merged is not.
#[test]
fn what_is_not_as_it_was_prepared_is_refused() -> Result<()> {
    let publisher = Publisher::new()?;
    let stick = publisher.prepare(&["renew", "root"], "stick")?;
    let file = stick.join("2.root.json");
    let (good, key) = (fs::read(&file)?, publisher.key("root-1.pem"));
    let text = String::from_utf8(good.clone())?;
    fails(
        &mut publisher.command(&["renew", "root", "--prepare"]),
        1,
        &[
            "version 2 of root is prepared already, in ",
            "hint: let it be signed and merge it, or `dkms-repo merge --drop 1`",
        ],
    );
    fails(
        &mut publisher.command(&["rotate", "index", "--prepare", "--to", "x"]),
        2,
        &["cannot be used with"],
    );
    fails(
        &mut publisher.command(&["renew", "x", "--prepare"]),
        1,
        &["there is no role x"],
    );
    fails(
        &mut publisher.command(&["renew", "timestamp", "--prepare"]),
        1,
        &[
            "nothing is left for others to sign",
            "hint: the same command without --prepare",
        ],
    );

    // Files that say more than is shown, or two things at once.
    for (changed, words) in [
        (
            text.replace("\"version\":2", "\"version\":2,\"version\":3"),
            "the name \"version\" is there twice",
        ),
        (
            text.replace("\"version\":2", "\"version\":2,\"extra\":1"),
            "it has fields that this program does not know",
        ),
        (
            text.replace("\"version\":2", "\"version\":2.0"),
            "JSON without fractions",
        ),
        (
            text.replace("\"version\":2", "\"version\":3"),
            "its name says version 2, and it is version 3",
        ),
        (
            text.replace("\"threshold\":2", "\"threshold\":0"),
            "needs 0 signatures and has 2 keys",
        ),
        (
            text.replace("\"_type\":\"root\"", "\"_type\":\"targets\""),
            "it is of the type \"targets\"",
        ),
        (
            text.replace("Z\",\"keys\"", ".000Z\",\"keys\""),
            "or a value that is not written as it has to be",
        ),
        (text[..text.len() - 1].to_owned(), "is not metadata that can be signed"),
    ] {
        assert_ne!(changed, text, "{words}");
        fs::write(&file, changed)?;
        fails(&mut sign(&file, &key), 4, &[words, "hint: "]);
    }
    fs::write(&file, &good)?;
    // One key under two ids.
    change(&file, |document| {
        let keys = document["signed"]["keys"].as_object_mut().expect("keys");
        let (id, key) = keys
            .iter()
            .next()
            .map(|(id, key)| (id.clone(), key.clone()))
            .expect("a key");
        keys.insert(format!("{:0>64}", 1), key);
        drop(id);
    })?;
    fails(&mut sign(&file, &key), 4, &["is there under another id, too"]);
    fs::write(&file, &good)?;

    // Wrong places and keys.
    let other = stick.join("root.json");
    fs::copy(&file, &other)?;
    fails(
        &mut sign(&other, &key),
        1,
        &["is not named as metadata is: VERSION.ROLE.json"],
    );
    fs::remove_file(&other)?;
    fails(
        &mut sign(&file, &publisher.key("targets-1.pem")),
        1,
        &["does not sign root version 2, which is in "],
    );
    let alone = publisher.repo.scratch().join("alone");
    fs::create_dir(&alone)?;
    fs::copy(&file, alone.join("2.root.json"))?;
    fails(
        &mut sign(&alone.join("2.root.json"), &key),
        1,
        &["what ", "changes cannot be told", "hint: copy the whole directory"],
    );
    // A root that the signer knows, and another one of its version on the stick.
    let foreign = TestRepo::of_today()?.pinned()?;
    let known = publisher.repo.scratch().join("known.json");
    fs::write(&known, &foreign)?;
    fails(
        sign(&file, &key).arg("--from").arg(&known),
        4,
        &["is not to be trusted", "hint: do not sign"],
    );
    let base = stick.join("published/1.root.json");
    let kept = fs::read(&base)?;
    change(&base, |document| {
        document["signed"]["roles"]["root"]["threshold"] = json!(1)
    })?;
    fails(
        &mut sign(&file, &key),
        4,
        &["1.root.json is not to be trusted: it is not signed by"],
    );
    fs::write(&base, &kept)?;
    // Back to an older version.
    fs::copy(&base, stick.join("1.root.json"))?;
    fails(
        &mut sign(&stick.join("1.root.json"), &key),
        4,
        &["has version 1 of root, and version 1 is published"],
    );
    fs::remove_file(stick.join("1.root.json"))?;

    // Two people who sign different bytes.
    let forged = publisher.copy(&stick, "forged")?.join("2.root.json");
    change(&forged, |document| {
        document["signed"]["expires"] = json!("2031-01-01T00:00:00Z")
    })?;
    succeeds(&mut sign(&forged, &publisher.key("root-2.pem")));
    succeeds(&mut sign(&file, &key));
    fails(
        publisher.command(&["merge"]).arg(&file).arg(&forged),
        4,
        &[
            "2.root.json is not the root version 2 that was prepared in ",
            "It expires at 2031-01-01T00:00:00Z and not at ",
            "hint: let everybody sign the same file",
        ],
    );
    // A signature for other bytes, and one that is nobody's.
    let signature = |file: &Path| -> Result<Value> {
        let document: Value = serde_json::from_slice(&fs::read(file)?)?;
        Ok(document["signatures"][0].clone())
    };
    let moved = signature(&forged)?;
    fs::copy(&file, &forged)?;
    change(&forged, |document| {
        document["signatures"].as_array_mut().expect("a list").push(moved)
    })?;
    fails(
        publisher.command(&["merge"]).arg(&forged),
        4,
        &["has a signature by key ", "that does not fit it"],
    );
    fails(&mut sign(&forged, &key), 4, &["that does not fit it"]);
    let waiting = publisher.merge(&[])?;
    let signed = &waiting["waiting"][0]["documents"][0]["needs"][0]["signed"];
    assert_eq!(signed, &json!([]), "nothing of a refused call is kept");
    assert_eq!(publisher.root_version(), 1);

    // A passphrase; then the repository goes on before all have signed.
    publisher.merge(&[&file])?;
    let passphrase = publisher.key("passphrase");
    fs::write(&passphrase, "correct horse\n")?;
    let encrypted = publisher.key("root-2b.pem");
    run(Command::new("openssl")
        .args(["pkcs8", "-topk8", "-passout", "pass:correct horse", "-in"])
        .arg(publisher.key("root-2.pem"))
        .arg("-out")
        .arg(&encrypted));
    fs::set_permissions(&encrypted, fs::Permissions::from_mode(0o600))?;
    let keys = publisher.repo.repository.keys_dir();
    for name in ["root-1.pem", "root-2.pem"] {
        fs::copy(publisher.key(name), keys.join(name))?;
    }
    // In the same second it would be the very root that was prepared.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    run(&mut publisher.command(&["renew", "root"]));
    assert_eq!(publisher.root_version(), 2);
    succeeds(sign(&file, &encrypted).arg("--passphrase-file").arg(&passphrase));
    fails(
        publisher.command(&["merge"]).arg(&file),
        1,
        &[
            "prepared/1 has version 2 of root, and version 2 is published: the repository went on since",
            "hint: `dkms-repo merge --drop 1`, and prepare the change again",
        ],
    );
    assert!(publisher.repo.repository.path().join("prepared/1/2.root.json").exists());
    fails(
        &mut publisher.command(&["merge", "--drop", "7"]),
        1,
        &["there is no prepared change 7"],
    );
    run(&mut publisher.command(&["merge", "--drop", "1"]));
    let text = said(&mut publisher.command(&["merge"]));
    assert!(text.contains("nothing is prepared"), "{text}");
    fails(
        &mut publisher.command(&["renew", "root", "--prepare"]),
        1,
        &["nothing is left for others"],
    );
    fails(
        publisher.command(&["merge"]).arg(inputs::workspace().join("README.md")),
        1,
        &["is not named as metadata is"],
    );
    publisher.is_read().context("after it")
}

/// Signed by all, and too late: nothing expired is published.
#[test]
fn what_expired_before_it_was_merged_is_not_published() -> Result<()> {
    use dkms_repo::authority::change::Wanted;
    use dkms_repo::ceremony::{CeremonyError, Reading, merge, prepare};
    let repo = TestRepo::with_packages()?;
    let (keys, away) = (repo.repository.keys_dir(), repo.scratch().join("away"));
    fs::create_dir(&away)?;
    fs::rename(keys.join("curated-1.pem"), away.join("curated-1.pem"))?;
    let wanted = Wanted::Renew { role: "curated".into() };
    let set = prepare(&repo.repository, Some(&wanted), repo.now)?;
    let file = &set.documents[0].file;
    let ring = dkms_repo::keys::KeyRing::load(&away)?;
    Reading::of(file, None, repo.now)?.sign(&ring)?;
    let before = repo.mirror()?;
    // Manifests are good for 120 days.
    let error = merge(&repo.repository, &[], true, repo.day(121))
        .err()
        .context("refused")?;
    assert!(matches!(error, CeremonyError::Expired { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("merge --drop 1")));
    assert_eq!(repo.mirror()?, before);
    let merged = merge(&repo.repository, &[], true, repo.day(1))?;
    assert!(merged.published.contains_key(&1), "{merged:?}");
    Ok(())
}
