//! Keeping a repository: what may not be published, what goes, what waits, and whose keys are where.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use dkms_repo::publish::check::Reason;
use dkms_repo::publish::{Extent, PublishError, publish};
use dkms_repo::repository::Expiry;
use dkms_repo::stage::Stage;
use dkms_tests::process::said;
use dkms_tests::published::files;
use dkms_tests::repo::{Client, Mirror, TestRepo};
use dkms_tests::synthetic::Synthetic;

fn dkms_repo(repo: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    command.arg("-C").arg(repo).args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn nothing_that_machines_would_refuse_is_published() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    let before = repo.mirror()?;
    let staged = |package: &str, file: &str| repo.repository.staging_dir().join(package).join(file);
    let edit = |path: PathBuf, from: &str, to: &str| -> Result<()> {
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "{text}");
        Ok(fs::write(&path, text.replace(from, to))?)
    };
    // What people may write into the documents, each of another kind.
    edit(
        staged("ddcci/0.4.5", "record.json"),
        "\"summary\": \"\"",
        "\"summary\": \"\\u001b[31m\"",
    )?;
    edit(staged("r8168/8.051", "manifest.json"), "v000010EC", "v00008086")?;
    edit(staged("r8169x/1", "manifest.json"), "\"name\"", "name")?;
    repo.stage("far", "1", "by-id/usb-1234", &["usb:v1234p*d*dc*dsc*dp*ic*isc*ip*in*"])?;
    let bundle = repo
        .stage("gone", "1", "curated", &["usb:v1234p*d*dc*dsc*dp*ic*isc*ip*in*"])?
        .manifest
        .bundle;
    fs::remove_file(Stage::of(&repo.repository).bundle_path(&bundle))?;
    let overrides = r#"[{"subject": "device:x", "pattern": "pci:v*", "reason": ""}]"#;
    fs::write(repo.repository.path().join("overrides.json"), overrides)?;

    let error = publish(&repo.repository, Extent::All, repo.now)
        .err()
        .context("published")?;
    let PublishError::Invalid(problems) = &error else {
        anyhow::bail!("{error}")
    };
    let of = |subject: &str, fits: &dyn Fn(&Reason) -> bool| {
        assert!(
            problems.iter().any(|f| f.subject == subject && fits(&f.why)),
            "{subject}: {problems:?}"
        );
    };
    of("ddcci 0.4.5", &|why| matches!(why, Reason::Record(_)));
    of("r8168 8.051", &|why| matches!(why, Reason::Manifest(_)));
    of("r8168 8.051", &|why| matches!(why, Reason::Disagreement(_)));
    of("r8169x 1", &|why| matches!(why, Reason::Staged(_)));
    of("far 1", &|why| matches!(why, Reason::NotDelegated(_)));
    of("gone 1", &|why| matches!(why, Reason::Bundle { what: "missing", .. }));
    of("overrides.json", &|why| matches!(why, Reason::Entry(_)));
    let text = error.to_string();
    assert!(problems.iter().all(|fault| text.contains(&fault.to_string())), "{text}");
    let hints = error.hint().context("a hint")?;
    assert!(
        hints.contains("dkms-repo delegate usb-1234") && hints.contains("add --force"),
        "{hints}"
    );
    assert_eq!(repo.mirror()?, before, "all or nothing");

    // A list that machines would refuse as a whole is not even kept.
    let output = dkms_repo(repo.repository.path(), &["revoke", "x y", "--reason", "it burns"]).output()?;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("name \"x y\""), "{}", said(&output));
    assert!(!repo.repository.path().join("revocations.json").exists());
    Ok(())
}

/// Stages a new version of one of many packages and publishes.
fn next_state(repo: &TestRepo, number: i64) -> Result<()> {
    let pattern = format!("usb:v{:04X}p*d*dc*dsc*dp*ic*isc*ip*in*", 0x1000 + number);
    repo.stage("moving", &number.to_string(), "curated", &[&pattern])?;
    if number > 1 {
        fs::remove_dir_all(Stage::of(&repo.repository).package_dir("moving", &(number - 1).to_string()))?;
    }
    repo.publish(0)?;
    Ok(())
}

#[test]
fn garbage_goes_and_what_recent_states_name_stays() -> Result<()> {
    // The program reads the clock, so this repository lives now.
    let repo = TestRepo::at(jiff::Timestamp::now(), Expiry::default())?.fill()?;
    // Enough of an index for a delta to be worth its entry.
    let mut synthetic = Synthetic::new(3);
    for number in 0..60 {
        let package = synthetic.package(number);
        let aliases: Vec<&str> = package.patterns.iter().map(String::as_str).collect();
        repo.stage(&format!("still-{number}"), "1", "curated", &aliases)?;
    }
    let mut old = Vec::new();
    for number in 1..=8 {
        next_state(&repo, number)?;
        let mirror = repo.mirror()?;
        let mut client = Client::new(repo.pinned()?);
        let synced = client.sync(&mirror, repo.now)?;
        assert_eq!(synced.packages.len(), 64);
        old.push((mirror, client));
    }
    dkms_repo::authority::rotate(&repo.repository, "root", None, repo.now)?;
    let index_of = |mirror: &Mirror| {
        let newest = mirror.files.keys().filter(|path| path.ends_with(".index.json"));
        newest
            .max_by_key(|path| {
                path.trim_start_matches("metadata/")
                    .split('.')
                    .next()
                    .and_then(|n| n.parse::<u64>().ok())
            })
            .cloned()
    };
    let newest = index_of(&repo.mirror()?).context("an index")?;
    let deltas = String::from_utf8(repo.mirror()?.files[&newest].clone())?
        .matches(".delta\"")
        .count();
    assert!(deltas >= 5, "{deltas} deltas in {newest}");
    fs::write(repo.public().join("index.html"), "hello")?;
    fs::write(repo.public().join("targets/robots.txt"), "hello")?;

    // All of it is young, so nothing goes; and a dry run removes nothing in any case.
    let before = repo.mirror()?;
    let gc = |arguments: &[&str]| -> Result<serde_json::Value> {
        let mut all = vec!["gc", "--json"];
        all.extend(arguments);
        let output = dkms_repo(repo.repository.path(), &all).output()?;
        anyhow::ensure!(output.status.success(), "{}", said(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    assert_eq!(
        gc(&["--keep", "1"])?["removed"].as_array().map(Vec::len),
        Some(7),
        "only bundles nobody stages"
    );
    let dry = gc(&["--keep", "3", "--older-than", "0", "--dry-run"])?;
    assert_eq!(repo.mirror()?, before);
    let wet = gc(&["--keep", "3", "--older-than", "0"])?;
    assert_eq!((&dry["removed"], &dry["bytes"]), (&wet["removed"], &wet["bytes"]));
    assert_eq!(wet["snapshots"].as_array().map(Vec::len), Some(3));

    let after = repo.mirror()?;
    let gone: BTreeSet<&String> = before
        .files
        .keys()
        .filter(|path| !after.files.contains_key(*path))
        .collect();
    assert!(gone.len() > 20, "{gone:?}");
    assert!(
        !gone
            .iter()
            .any(|path| path.ends_with("root.json") || path.ends_with(".html") || path.ends_with(".txt"))
    );
    let deltas_left = after.files.keys().filter(|path| path.ends_with(".delta")).count();
    assert!(
        deltas_left >= deltas,
        "{deltas_left} files for {deltas} deltas that the current index names"
    );
    // The current state, for a machine that is new and for each that kept an old one.
    assert_eq!(
        Client::new(repo.pinned()?).sync(&after, repo.now)?.installable().len(),
        64
    );
    for (_, client) in &old {
        assert_eq!(client.clone().sync(&after, repo.now)?.installable().len(), 64);
    }
    // The states before: whoever was in the middle of one of the last two can end it.
    for (nth, (mirror, _)) in old.iter().rev().enumerate() {
        let mut late = after.clone();
        late.files.insert(
            "metadata/timestamp.json".into(),
            mirror.files["metadata/timestamp.json"].clone(),
        );
        let synced = Client::new(repo.pinned()?).sync(&late, repo.now);
        assert_eq!(
            synced.is_ok_and(|s| s.installable().len() == 64),
            nth < 3,
            "{nth} states back"
        );
    }
    let output = dkms_repo(repo.repository.path(), &["verify"]).output()?;
    assert!(
        said(&output).contains("64 records, 64 manifests, 64 bundles"),
        "{}",
        said(&output)
    );
    // Life goes on: deltas from what is left, and nothing to do for a second collection.
    assert_eq!(
        gc(&["--keep", "3", "--older-than", "0"])?["removed"],
        serde_json::json!([])
    );
    next_state(&repo, 9)?;
    assert_eq!(
        Client::new(repo.pinned()?)
            .sync(&repo.mirror()?, repo.now)?
            .installable()
            .len(),
        64
    );
    Ok(())
}

#[test]
fn a_damaged_state_is_no_reason_to_remove_anything() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    next_state(&repo, 1)?;
    let manifest = files(&repo.public().join("targets/by-id"))
        .pop()
        .context("a manifest")?;
    let text = fs::read(&manifest)?;
    fs::remove_file(&manifest)?;
    let before = repo.mirror()?;
    for broken in [None, Some(&b"{}"[..])] {
        if let Some(bytes) = broken {
            fs::write(&manifest, bytes)?;
        }
        let output = dkms_repo(repo.repository.path(), &["gc", "--keep", "1", "--older-than", "0"]).output()?;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("targets/by-id"), "{}", said(&output));
    }
    fs::write(&manifest, text)?;
    assert_eq!(repo.mirror()?.files.len(), before.files.len() + 1);
    Ok(())
}

/// Several programs on one repository: each waits for its turn and does all of its work.
#[test]
fn writers_take_turns() -> Result<()> {
    let repo = TestRepo::new()?;
    let path = repo.repository.path();
    let mut writers = Vec::new();
    for number in 0..6 {
        let name = format!("driver-{number}");
        let source = repo.scratch().join(&name);
        fs::create_dir(&source)?;
        let conf =
            format!("PACKAGE_NAME={name}\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=m\nDEST_MODULE_LOCATION=/updates\n");
        fs::write(source.join("dkms.conf"), conf)?;
        let source = source.to_str().context("UTF-8")?;
        let piped = |command: &mut Command| command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        writers.push(piped(&mut dkms_repo(path, &["add", source]))?);
        writers.push(piped(&mut dkms_repo(
            path,
            &["revoke", &name, "--to", "0", "--reason", "old"],
        ))?);
        writers.push(piped(&mut dkms_repo(path, &["publish"]))?);
    }
    for writer in writers {
        let output = writer.wait_with_output()?;
        assert!(output.status.success(), "{}", said(&output));
    }
    let output = dkms_repo(path, &["publish"]).output()?;
    assert!(output.status.success(), "{}", said(&output));
    let synced = Client::new(repo.pinned()?).sync(&repo.mirror()?, jiff::Timestamp::now());
    let synced = synced.context("a machine takes it")?;
    assert_eq!(synced.installable().len(), 6);
    assert_eq!(synced.metadata.revocations().revoked.len(), 6);
    Ok(())
}

/// What is offered to whom is set by commands, published, and taken back.
#[test]
fn a_version_is_offered_step_by_step_and_taken_back() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    let path = repo.repository.path();
    let run = |arguments: &[&str], code: i32| -> Result<String> {
        let output = dkms_repo(path, arguments).output()?;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        Ok(said(&output))
    };
    let (name, version) = {
        let first = &Stage::of(&repo.repository).list()?[0].manifest;
        (first.name.clone(), format!("{}@{}", first.name, first.version))
    };
    run(&["rollout", &version, "50", "--ring", "lab"], 0)?;
    let shown = run(&["oem-sets", &version, "dmi:*:svnACME:*"], 0)?;
    assert!(
        shown.contains("offered to: 50 of 1000 machines and the rings lab"),
        "{shown}"
    );
    assert!(shown.contains("for the machines: dmi:*:svnACME:*"), "{shown}");
    // More machines, the same ring and the same salt.
    run(&["rollout", &version, "300"], 0)?;
    let of = |name: &str| -> Result<_> {
        let staged = Stage::of(&repo.repository).list()?;
        let package = staged.into_iter().find(|package| package.manifest.name == name);
        package.map(|package| package.record).context("it is staged")
    };
    let rollout = of(&name)?.rollout.context("a rollout")?;
    assert_eq!((rollout.permille, &*rollout.rings), (300, &["lab".to_owned()][..]));
    assert_eq!(rollout.salt, version.replace('@', "-"));
    run(&["rollout", &version, "--all"], 0)?;
    run(&["oem-sets", &version, "--clear"], 0)?;
    assert_eq!((of(&name)?.rollout, of(&name)?.oem_sets.len()), (None, 0));
    run(&["rollout", &version, "1001"], 2)?;
    run(&["rollout", &name, "5"], 2)?;
    run(&["oem-sets", &version, "*"], 1)?;

    run(&["revoke", &name, "--to", "9", "--reason", "it burns"], 0)?;
    let other = run(&["unrevoke", &name], 1)?;
    assert!(other.contains(&format!("{name} --to 9")), "{other}");
    run(&["unrevoke", &name, "--to", "9"], 0)?;

    let before = Stage::of(&repo.repository).list()?.len();
    let absent = run(&["unstage", &version, "nothing@1"], 1)?;
    assert!(absent.contains("nothing 1 is not staged"), "{absent}");
    assert_eq!(Stage::of(&repo.repository).list()?.len(), before, "all or none");
    run(&["unstage", &version], 0)?;
    run(&["publish"], 0)?;
    let synced = Client::new(repo.pinned()?).sync(&repo.mirror()?, jiff::Timestamp::now());
    let synced = synced.context("a machine takes it")?;
    assert!(synced.metadata.revocations().revoked.is_empty());
    assert_eq!(synced.installable().len(), before - 1);
    Ok(())
}

#[test]
fn keys_are_private_never_shown_and_missed_by_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("repo");
    let mut shown = String::new();
    let mut run = |arguments: &[&str], code: i32| -> Result<String> {
        let output = dkms_repo(&path, arguments).output()?;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        shown.push_str(&said(&output));
        Ok(said(&output))
    };
    run(&["init", "--root", "2/3", "--targets", "1/2"], 0)?;
    let keys = path.join("keys");
    assert_eq!(fs::metadata(&keys)?.permissions().mode() & 0o777, 0o700);
    let private: Vec<PathBuf> = files(&keys)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "pem"))
        .collect();
    assert_eq!(private.len(), 3 + 2 + 5);
    for key in &private {
        assert_eq!(
            fs::metadata(key)?.permissions().mode() & 0o777,
            0o600,
            "{}",
            key.display()
        );
    }
    let secrets: Vec<String> = private.iter().map(fs::read_to_string).collect::<std::io::Result<_>>()?;
    let secrets: Vec<&str> = secrets.iter().filter_map(|pem| pem.lines().nth(1)).collect();

    // Two of three root keys are enough; with one nothing is done, and the others are named.
    let offline = dir.path().join("offline");
    fs::create_dir(&offline)?;
    let away = |name: &str| fs::rename(keys.join(name), offline.join(name));
    away("root-2.pem")?;
    run(&["rotate", "snapshot"], 0)?;
    away("root-3.pem")?;
    let before = Mirror::of(&path.join("public"))?;
    let known = files(&keys);
    let missed = run(&["rotate", "snapshot"], 1)?;
    assert_eq!(files(&keys), known, "no key is made in vain");
    for part in [
        "sign role root: 1 of its keys",
        "2 are needed",
        "root-2.pem",
        "root-3.pem",
        &keys.display().to_string(),
    ] {
        assert!(missed.contains(part), "{part}: {missed}");
    }
    assert!(!missed.contains("root-1.pem"), "{missed}");
    assert_eq!(Mirror::of(&path.join("public"))?, before);
    fs::rename(offline.join("root-3.pem"), keys.join("root-3.pem"))?;
    run(&["rotate", "root", "--keys", "1/2"], 0)?;
    assert!(
        keys.join("root-5.pem").exists(),
        "numbers of keys that are offline are not used again"
    );
    // Everyday work needs none of the offline keys.
    for name in [
        "root-1.pem",
        "root-3.pem",
        "root-4.pem",
        "root-5.pem",
        "targets-1.pem",
        "targets-2.pem",
        "curated-1.pem",
    ] {
        away(name)?;
    }
    run(&["timestamp"], 0)?;
    run(&["revoke", "evil", "--reason", "it burns"], 0)?;
    run(&["verify"], 0)?;
    run(&["roles"], 0)?;
    let missed = run(&["delegate", "pci-10ec"], 1)?;
    assert!(missed.contains("targets-1.pem, targets-2.pem"), "{missed}");
    let exposed = keys.join("index-1.pem");
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644))?;
    let refused = run(&["publish"], 1)?;
    assert!(
        refused.contains(&format!("chmod 600 {}", exposed.display())),
        "{refused}"
    );

    for secret in secrets {
        assert!(!shown.contains(secret));
        let public = files(&path.join("public"))
            .into_iter()
            .chain(files(&path.join("staging")));
        for file in public {
            let bytes = fs::read(&file)?;
            assert!(
                !bytes.windows(secret.len()).any(|w| w == secret.as_bytes()),
                "{}",
                file.display()
            );
        }
    }
    Ok(())
}

#[test]
fn a_vendor_keeps_the_private_key_of_its_role() -> Result<()> {
    let repo = TestRepo::at(jiff::Timestamp::now(), Expiry::default())?.fill()?;
    let path = repo.repository.path();
    let run = |arguments: &[&str], code: i32| -> Result<String> {
        let output = dkms_repo(path, arguments).output()?;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        Ok(said(&output))
    };
    // The vendor's own, made by openssl.
    let office = tempfile::tempdir()?;
    let (private, public) = (office.path().join("private.pem"), office.path().join("public.pem"));
    let openssl = |arguments: &[&str]| -> Result<()> {
        let status = Command::new("openssl").args(arguments).status()?;
        anyhow::ensure!(status.success(), "openssl {arguments:?}");
        Ok(())
    };
    let (private_name, public_name) = (private.display().to_string(), public.display().to_string());
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private_name])?;
    openssl(&["pkey", "-in", &private_name, "-pubout", "-out", &public_name])?;

    let before = (repo.mirror()?, files(&path.join("keys")));
    let refused = run(&["delegate", "usb-1234", "--public-key", &private_name], 1)?;
    assert!(
        refused.contains("has a private key") && refused.contains("-pubout"),
        "{refused}"
    );
    let refused = run(
        &["delegate", "usb-1234", "--public-key", &public_name, "--keys", "1/2"],
        1,
    )?;
    assert!(
        refused.contains("the number of public keys is 1, and --keys says 2"),
        "{refused}"
    );
    let twice = [
        "delegate",
        "usb-1234",
        "--public-key",
        &public_name,
        "--public-key",
        &public_name,
    ];
    assert!(run(&twice, 1)?.contains("is given twice"));
    assert_eq!(
        (repo.mirror()?, files(&path.join("keys"))),
        before,
        "nothing is done by halves"
    );

    let said = run(&["delegate", "usb-1234", "--public-key", &public_name], 0)?;
    assert!(said.contains("vendor-usb-1234 has signed nothing yet"), "{said}");
    assert!(path.join("keys/vendor-usb-1234-1.pub").exists());
    assert!(
        !path.join("keys/vendor-usb-1234-1.pem").exists(),
        "no private key is made"
    );
    assert!(run(&["roles"], 0)?.contains("vendor-usb-1234\tnothing is signed yet\t-\t1 of 1 keys"));
    assert!(run(&["delegate", "usb-1234"], 1)?.contains("is delegated already"));
    run(&["verify"], 0)?;
    let pattern = "usb:v1234p*d*dc*dsc*dp*ic*isc*ip*in*";
    repo.stage("far", "1", "by-id/usb-1234", &[pattern])?;
    let missed = run(&["publish"], 1)?;
    assert!(
        missed.contains("vendor-usb-1234: 0 of its keys") && missed.contains("vendor-usb-1234-1.pem"),
        "{missed}"
    );
    let synced = |expected: usize| -> Result<()> {
        let synced = Client::new(repo.pinned()?).sync(&repo.mirror()?, jiff::Timestamp::now())?;
        assert_eq!(synced.installable().len(), expected);
        Ok(())
    };
    let packages = Client::new(repo.pinned()?)
        .sync(&repo.mirror()?, jiff::Timestamp::now())?
        .installable()
        .len();
    run(&["timestamp"], 0)?;
    synced(packages)?;

    // The vendor brings the private key for as long as signing takes, under any name.
    let brought = path.join("keys/brought.pem");
    fs::copy(&private, &brought)?;
    fs::set_permissions(&brought, fs::Permissions::from_mode(0o600))?;
    let said = run(&["publish"], 0)?;
    assert!(
        said.contains("vendor-usb-1234\tversion 1") && !said.contains("signed nothing"),
        "{said}"
    );
    fs::remove_file(&brought)?;
    run(&["verify"], 0)?;
    synced(packages + 1)
}
