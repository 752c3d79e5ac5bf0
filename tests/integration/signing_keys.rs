//! Private keys: encrypted by a passphrase, or in a program's hands, such as a token's. OpenSSL and SoftHSM are the other side.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dkms_repo::repository::Expiry;
use dkms_tests::inputs;
use dkms_tests::process::{self, run, said, succeeds};
use dkms_tests::repo::TestRepo;

const PASSPHRASE: &str = "correct horse ü";

/// The program without a terminal, so that it can ask nobody.
fn dkms_repo(repo: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(assert_cmd::cargo::cargo_bin("dkms-repo"));
    command.arg("-C").arg(repo).args(arguments).stdin(Stdio::null());
    command.env_remove("DKMS_REPO_PASSPHRASE");
    command
}

#[track_caller]
fn fails(command: &mut Command, words: &[&str]) {
    let text = process::fails(command, 1, words);
    assert!(!text.contains(PASSPHRASE), "{text}");
}

fn key(repo: &TestRepo, file: &str) -> PathBuf {
    repo.repository.keys_dir().join(file)
}

/// Writes a file that only its owner can read.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[test]
fn keys_can_have_a_passphrase() -> Result<()> {
    let repo = TestRepo::of_today()?;
    let path = repo.repository.path();
    let dir = tempfile::tempdir()?;
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    write(&good, &format!("{PASSPHRASE}\nsecond line\n"), 0o600)?;
    write(&bad, "wrong\n", 0o600)?;
    let (good, bad) = (good.to_str().context("UTF-8")?, bad.to_str().context("UTF-8")?);
    let plain = fs::read(key(&repo, "curated-1.pem"))?;
    succeeds(&mut dkms_repo(
        path,
        &["--passphrase-file", good, "encrypt-key", "curated-1"],
    ));
    let pem = fs::read_to_string(key(&repo, "curated-1.pem"))?;
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");
    assert_eq!(
        fs::metadata(key(&repo, "curated-1.pem"))?.permissions().mode() & 0o777,
        0o600
    );
    // OpenSSL reads it, and it is the same key.
    let decrypted = run(Command::new("openssl")
        .args(["pkey", "-in"])
        .arg(key(&repo, "curated-1.pem"))
        .arg("-passin")
        .arg(format!("pass:{PASSPHRASE}")));
    let public = |pem: &[u8]| -> Result<String> {
        let file = dir.path().join("some.pem");
        fs::write(&file, pem)?;
        Ok(run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(file)))
    };
    assert_eq!(public(decrypted.as_bytes())?, public(&plain)?);

    // What does not need it is not asked for it.
    succeeds(&mut dkms_repo(path, &["timestamp"]));
    repo.stage_moving("1")?;
    let before = repo.mirror()?;
    fails(
        &mut dkms_repo(path, &["publish"]),
        &[
            "curated-1.pem is encrypted, and no passphrase was given",
            "hint: give it on a terminal",
        ],
    );
    fails(
        &mut dkms_repo(path, &["--passphrase-file", bad, "publish"]),
        &["curated-1.pem cannot be decrypted: the passphrase is wrong"],
    );
    fails(
        &mut dkms_repo(path, &["--passphrase-file", "/nonexistent", "publish"]),
        &["cannot read the passphrase in /nonexistent"],
    );
    fails(
        &mut dkms_repo(path, &["--passphrase-file", good, "encrypt-key", "curated-1"]),
        &["is encrypted already", "openssl pkcs8"],
    );
    fails(
        &mut dkms_repo(path, &["--passphrase-file", good, "encrypt-key", "../x"]),
        &["is not the name of a key"],
    );
    assert_eq!(repo.mirror()?, before);
    succeeds(&mut dkms_repo(path, &["--passphrase-file", good, "publish"]));
    repo.stage_moving("2")?;
    succeeds(dkms_repo(path, &["publish"]).env("DKMS_REPO_PASSPHRASE", PASSPHRASE));
    repo.stage_moving("3")?;
    // By a descriptor, and by a person who mistypes once.
    let program = assert_cmd::cargo::cargo_bin("dkms-repo");
    let line = format!(
        "'{}' -C '{}' --passphrase-fd 5 publish 5<'{good}'",
        program.display(),
        path.display()
    );
    run(Command::new("bash").args(["-ec", &line]));
    repo.stage_moving("4")?;
    let line = format!("'{}' -C '{}' publish", program.display(), path.display());
    let typed =
        format!("(sleep 2; echo wrong; sleep 2; echo '{PASSPHRASE}'; sleep 2) | script -qefc \"{line}\" /dev/null");
    let output = Command::new("bash")
        .args(["-c", &typed])
        .env_remove("DKMS_REPO_PASSPHRASE")
        .output()?;
    let text = said(&output);
    assert!(
        text.contains("passphrase of ") && text.contains("this is not the passphrase"),
        "{text}"
    );
    assert!(!text.contains(PASSPHRASE), "the terminal shows nothing of it: {text}");
    assert!(text.contains("curated\tversion"), "{text}");
    // A file of another key.
    fs::copy(key(&repo, "index-1.pub"), key(&repo, "curated-1.pub"))?;
    repo.stage_moving("5")?;
    let output = dkms_repo(path, &["--passphrase-file", good, "publish"]).output()?;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));

    // One that was made elsewhere, before the repository.
    let new = dir.path().join("new");
    fs::create_dir_all(new.join("keys"))?;
    run(Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-aes-256-cbc", "-pass"])
        .arg(format!("pass:{PASSPHRASE}"))
        .arg("-out")
        .arg(new.join("keys/root-1.pem")));
    let new_text = new.to_str().context("UTF-8")?;
    fails(
        &mut dkms_repo(path, &["--passphrase-file", bad, "init", new_text]),
        &["root-1.pem cannot be decrypted"],
    );
    succeeds(&mut dkms_repo(path, &["--passphrase-file", good, "init", new_text]));
    succeeds(&mut dkms_repo(&new, &["verify"]));
    Ok(())
}

/// Replaces the key of `curated` by one that only `openssl` has.
fn hand_over(repo: &TestRepo, secret: &Path) -> Result<()> {
    run(Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(secret));
    run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(secret)
        .arg("-out")
        .arg(key(repo, "curated-2.pub")));
    Ok(())
}

#[test]
fn a_program_can_sign() -> Result<()> {
    let repo = TestRepo::of_today()?;
    let path = repo.repository.path();
    let dir = tempfile::tempdir()?;
    let secret = dir.path().join("elsewhere.pem");
    hand_over(&repo, &secret)?;
    let script = dir.path().join("sign");
    // openssl 3.0 signs by ed25519 only what is in a file.
    let signing = format!(
        "cat >\"$0.in\"\nopenssl pkeyutl -sign -rawin -inkey '{}' -in \"$0.in\"",
        secret.display()
    );
    let program = |body: &str| write(&script, &format!("#!/bin/sh -e\n{body}\n"), 0o755);
    let signer = key(&repo, "curated-2.signer");
    write(&signer, &format!("command = [{:?}]\n", script), 0o644)?;
    program(&signing)?;
    let public = key(&repo, "curated-2.pub");
    let public = public.to_str().context("UTF-8")?;
    succeeds(&mut dkms_repo(path, &["rotate", "curated", "--public-key", public]));
    fs::remove_file(key(&repo, "curated-1.pem"))?;
    repo.stage_moving("1")?;
    succeeds(&mut dkms_repo(path, &["publish"]));
    succeeds(&mut dkms_repo(path, &["verify"]));
    // In hex, too; it is told which key it is.
    program(&format!(
        "[ \"$DKMS_REPO_KEY\" = curated-2 ]\n({signing}) | od -An -v -tx1 | tr -d ' \\n'; echo"
    ))?;
    repo.stage_moving("2")?;
    succeeds(&mut dkms_repo(path, &["publish"]));
    succeeds(&mut dkms_repo(path, &["verify"]));

    // What it leaves behind with its pipes open holds nobody up.
    program(&format!("sleep 600 2>/dev/null & echo $! >\"$0.pid\"\n{signing}"))?;
    repo.stage_moving("3")?;
    let begun = Instant::now();
    succeeds(&mut dkms_repo(path, &["publish"]));
    assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    let left = fs::read_to_string(dir.path().join("sign.pid"))?;
    succeeds(Command::new("kill").arg(left.trim()));

    repo.stage_moving("4")?;
    let before = repo.mirror()?;
    let refused = |body: &str, words: &[&str]| -> Result<()> {
        program(body)?;
        fails(&mut dkms_repo(path, &["publish"]), words);
        assert_eq!(repo.mirror()?, before, "{body}");
        Ok(())
    };
    refused(
        "cat >/dev/null; echo no",
        &[
            "gave 3 bytes; a signature has 64 bytes, or 128 hex digits",
            "hint: run its command by hand",
        ],
    )?;
    refused(
        "cat >/dev/null; head -c 64 /dev/zero",
        &["what its program gave is not a signature by the key in curated-2.pub"],
    )?;
    refused(
        &format!("{signing} | tail -c 64; exit 3"),
        &["it failed (exit status: 3)"],
    )?;
    refused("cat >/dev/null; cat /dev/zero", &["its program "])?;
    fs::remove_file(&script)?;
    fails(&mut dkms_repo(path, &["publish"]), &["its program ", "No such file"]);
    write(&signer, "command = []\n", 0o644)?;
    fails(
        &mut dkms_repo(path, &["publish"]),
        &["curated-2.signer: `command` has no program"],
    );
    write(&signer, "comand = 1\n", 0o644)?;
    fails(
        &mut dkms_repo(path, &["publish"]),
        &["cannot sign by ", "unknown field"],
    );
    write(&signer, "command = [\"x\"]\n", 0o666)?;
    fails(
        &mut dkms_repo(path, &["publish"]),
        &["can be written by others than its owner"],
    );
    write(&signer, "command = [\"x\"]\n", 0o644)?;
    fs::remove_file(key(&repo, "curated-2.pub"))?;
    fails(&mut dkms_repo(path, &["publish"]), &["there is no public key in "]);
    assert_eq!(repo.mirror()?, before);
    Ok(())
}

/// The example for a PKCS #11 token, with one in software.
#[test]
fn a_token_signs_by_the_example() -> Result<()> {
    let repo = TestRepo::of_today()?;
    let path = repo.repository.path();
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("tokens"))?;
    let conf = dir.path().join("softhsm2.conf");
    fs::write(
        &conf,
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            dir.path().join("tokens").display()
        ),
    )?;
    let module = "/usr/lib/softhsm/libsofthsm2.so";
    let hsm = |program: &str, words: &[&str]| run(Command::new(program).args(words).env("SOFTHSM2_CONF", &conf));
    hsm(
        "softhsm2-util",
        &[
            "--init-token",
            "--free",
            "--label",
            "drivers",
            "--so-pin",
            "0000",
            "--pin",
            "1234",
        ],
    );
    let tool = ["--module", module, "--token-label", "drivers"];
    let make = [
        "--login",
        "--pin",
        "1234",
        "--keypairgen",
        "--key-type",
        "EC:edwards25519",
        "--label",
        "curated-2",
    ];
    hsm("pkcs11-tool", &[&tool[..], &make].concat());
    let public = key(&repo, "curated-2.pub");
    let public = public.to_str().context("UTF-8")?;
    hsm(
        "pkcs11-tool",
        &[
            &tool[..],
            &[
                "--read-object",
                "--type",
                "pubkey",
                "--label",
                "curated-2",
                "-o",
                public,
            ],
        ]
        .concat(),
    );
    let example = inputs::workspace().join("docs/examples/signers/pkcs11");
    write(
        &key(&repo, "curated-2.signer"),
        &format!("command = [{:?}, {module:?}, \"drivers\"]\n", example),
        0o644,
    )?;
    let with_token = |words: &[&str]| {
        let mut command = dkms_repo(path, words);
        command.env("SOFTHSM2_CONF", &conf).env("PKCS11_PIN", "1234");
        command
    };
    succeeds(&mut with_token(&["rotate", "curated", "--public-key", public]));
    fs::remove_file(key(&repo, "curated-1.pem"))?;
    repo.stage_moving("1")?;
    fails(
        with_token(&["publish"]).env("PKCS11_PIN", "9999"),
        &["cannot sign by ", "it failed"],
    );
    succeeds(&mut with_token(&["publish"]));
    succeeds(&mut with_token(&["verify"]));
    Ok(())
}

#[test]
fn a_timer_learns_what_expires() -> Result<()> {
    let fresh = TestRepo::of_today()?;
    let output = succeeds(&mut dkms_repo(fresh.repository.path(), &["expiry"]));
    assert!(
        said(&output).starts_with("timestamp\tversion 3\tuntil "),
        "{}",
        said(&output)
    );
    let now = jiff::Timestamp::now();
    let days = |days: i64| now - jiff::SignedDuration::from_hours(24 * days);
    let check = |made: i64, words: &[&str], code: i32, expected: &[&str]| -> Result<()> {
        let repo = TestRepo::at(days(made), Expiry::default())?.fill()?;
        let output = dkms_repo(repo.repository.path(), &[&["expiry"], words].concat()).output()?;
        assert_eq!(output.status.code(), Some(code), "{made} {words:?}: {}", said(&output));
        expected
            .iter()
            .for_each(|word| assert!(said(&output).contains(word), "{word}: {}", said(&output)));
        Ok(())
    };
    check(1, &[], 0, &["\tgood"])?;
    check(
        1,
        &["--within", "2"],
        3,
        &[
            "timestamp\tversion 3",
            "\texpires soon",
            "hint: online roles are renewed by `dkms-repo timestamp`",
        ],
    )?;
    check(3, &[], 3, &["\texpired\n"])?;
    check(5, &["--within", "0"], 3, &["\texpired\n", "index\tversion 2"])?;
    let repo = TestRepo::at(days(3), Expiry::default())?.fill()?;
    let output = dkms_repo(repo.repository.path(), &["expiry", "--openmetrics"]).output()?;
    assert_eq!(output.status.code(), Some(3));
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("metrics.prom");
    fs::write(&file, &output.stdout)?;
    let samples = run(Command::new(inputs::python())
        .arg(inputs::workspace().join("tests/support/metrics.py"))
        .arg(&file));
    let samples: serde_json::Value = serde_json::from_str(&samples)?;
    let of = |name: &str, role: &str| {
        let all = samples.as_array().into_iter().flatten();
        let mut fits = all.filter(|sample| sample["name"] == name && sample["labels"]["role"] == role);
        fits.next().and_then(|sample| sample["value"].as_f64())
    };
    assert_eq!(of("dkms_repo_role_due", "timestamp"), Some(1.0), "{samples}");
    assert_eq!(of("dkms_repo_role_due", "root"), Some(0.0), "{samples}");
    assert!(
        of("dkms_repo_role_expires_timestamp_seconds", "root") > Some(now.as_second() as f64),
        "{samples}"
    );
    assert_eq!(of("dkms_repo_role_version", "timestamp"), Some(3.0), "{samples}");
    Ok(())
}
