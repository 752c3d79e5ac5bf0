//! The same attempts by every way in which a package's programs come to run: `dkms autoinstall`, `dkms-repo add` and `scan`, and `--auto`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use dkms_engine::sandbox::{Confinement, Layers};
use dkms_tests::story::{Source, Story};

use super::{ATTEMPTS, Outside, WITHOUT_NAMESPACE, build_with_attempts, nothing_reached, outcomes};

const JUDGE: &str = include_str!("judge.sh");

/// What the judge lets pass on this machine.
fn spared() -> String {
    match Layers::here().confinement {
        Confinement::MountNamespace => "none".to_owned(),
        _ => WITHOUT_NAMESPACE.join(" "),
    }
}

#[test]
fn the_judge_fails_where_something_is_reached() {
    let (outside, dir) = (Outside::new(), tempfile::tempdir().expect("a directory"));
    // One attempt that can be made, among many that are refused.
    let mut attempts: String = (0..30).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "attempt refused-{number} false");
        text
    });
    let verdict = |attempts: &str| {
        let begin = ATTEMPTS.split("\nattempt write-etc").next().expect("the functions");
        fs::write(dir.path().join("attempts.sh"), format!("{begin}\n{attempts}")).expect("write");
        fs::write(dir.path().join("judge.sh"), JUDGE).expect("write");
        let script = format!(
            "bash {}/judge.sh none outside {}",
            dir.path().display(),
            outside.arguments()
        );
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        output.status.success()
    };
    assert!(verdict(&attempts), "all are refused");
    attempts.push_str("attempt read-secret cat \"$secret\"\n");
    assert!(!verdict(&attempts), "one is reached");
    assert!(!verdict("attempt refused false\n"), "most were not made");
}

#[test]
fn programs_reach_nothing_by_autoinstall() {
    let (_machine, log, _) = build_with_attempts(&[], "autoinstall");
    for phase in ["pre-build", "make", "post-build"] {
        nothing_reached(&outcomes(&log, phase), phase);
    }
}

/// Has the package at `dir` make all attempts by dkms.conf, PRE_BUILD, MAKE and POST_BUILD, each of which fails if one is reached.
fn attempt_all(dir: &Path, arguments: &str) {
    fs::write(dir.join("attempts.sh"), ATTEMPTS).expect("write");
    fs::write(dir.join("judge.sh"), JUDGE).expect("write");
    let (conf, spared) = (dir.join("dkms.conf"), spared());
    let mut text = fs::read_to_string(&conf).expect("a conf");
    // The quotes in MAKE would end a word in bash: the names are one word there and here.
    let spared = spared.replace(' ', "\\ ");
    let _ = write!(
        text,
        "bash \"${{BASH_SOURCE%/*}}/judge.sh\" {spared} conf {arguments} >/dev/null || exit 1\n\
         PRE_BUILD='pre.sh'\nPOST_BUILD='post.sh'\n\
         MAKE[0]=\"bash make.sh && make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build modules\"\n"
    );
    fs::write(conf, text).expect("write");
    for (script, phase) in [("pre.sh", "pre-build"), ("make.sh", "make"), ("post.sh", "post-build")] {
        let text = format!("#!/bin/bash\nexec bash judge.sh {spared} {phase} {arguments}\n");
        let path = dir.join(script);
        fs::write(&path, text).expect("write");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).expect("chmod");
    }
}

#[test]
fn programs_reach_nothing_by_add_scan_and_auto() {
    let (outside, story) = (Outside::new(), Story::new());
    // Taking the package evaluates its conf, which refuses to be one where something is reached.
    story.add_changed("edu", "1.0", 0x11e8, Source::Good, |dir| {
        attempt_all(dir, &outside.arguments());
    });
    let output = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"))
        .arg("-C")
        .arg(story.repo.repository.path())
        .args(["--json", "scan", "--kernel", &story.kernel, "--root"])
        .arg(story.path(""))
        .env("SECRET_OF_THE_CALLER", "1")
        .output()
        .expect("dkms-repo runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && shown.contains("\"built\""),
        "{shown}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    story.publish();
    let run = story.auto(&[]);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(story.module("edu").is_file(), "{}\n{}", run.stdout, run.stderr);
    let log = story.path(&format!(
        "var/lib/dkms/edu/1.0/{}/{}/log/make.log",
        story.kernel,
        std::env::consts::ARCH
    ));
    let log = fs::read_to_string(log).expect("a log");
    for phase in ["pre-build", "make", "post-build"] {
        nothing_reached(&outcomes(&log, phase), phase);
    }
}
