//! `release-package`: a machine that has the package trusts the repository, and nothing else has to be done there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_tests::process::{packager, run};
use dkms_tests::repo::TestRepo;
use dkms_tests::sources;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Makes the packages of a repository, which machines reach in its own directory.
fn packages(repo: &TestRepo, out: &Path, more: &[&str]) -> Vec<PathBuf> {
    let url = format!("file://{}", repo.repository.public_dir().display());
    let mut command = packager(&[]);
    command
        .arg("-C")
        .arg(repo.repository.path())
        .args(["release-package", &url, "--out", text(out)])
        .args(more);
    run(&mut command).lines().map(PathBuf::from).collect()
}

#[test]
fn a_machine_with_the_package_needs_nothing_else() {
    let repo = TestRepo::of_today().expect("published");
    let dir = sources::open_tempdir();
    let made = packages(&repo, dir.path(), &["--priority", "-3"]);
    let name = &repo.repository.config().name;
    let [deb, rpm] = made.as_slice() else {
        panic!("{made:?}")
    };
    assert_eq!(*deb, dir.path().join(format!("{name}-release_1-1_all.deb")));
    assert_eq!(*rpm, dir.path().join(format!("{name}-release-1-1.noarch.rpm")));

    // dpkg and rpm unpack them to roots of their own.
    let (debian, fedora) = (dir.path().join("debian"), dir.path().join("fedora"));
    run(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(&debian));
    fs::create_dir(&fedora).expect("created");
    run(Command::new("unshare")
        .args(["--map-root-user", "rpm", "--dbpath", "/rpm", "--root"])
        .arg(&fedora)
        .args(["--install", "--nodeps"])
        .arg(rpm));
    for root in [&debian, &fedora] {
        let agent = |words: &[&str]| {
            run(Command::new(assert_cmd::cargo::cargo_bin("dkms-fetch"))
                .arg("--root")
                .arg(root)
                .args(words))
        };
        let listed: serde_json::Value = serde_json::from_str(&agent(&["repo", "list", "--json"])).expect("JSON");
        let one = &listed["repositories"][0];
        assert_eq!(one["name"], *name, "{listed}");
        assert_eq!(one["priority"], -3, "{listed}");
        // It is verified from the pinned root on.
        agent(&["sync"]);
        assert!(agent(&["search", "ddcci"]).contains("0.4.5"), "the index is there");
    }
    let depends = run(Command::new("dpkg-deb").arg("--field").arg(deb).arg("Depends"));
    assert_eq!(depends.trim_end(), "dkms-fetch");
    let database = dir.path().join("database");
    let requires = run(Command::new("rpm")
        .arg("--dbpath")
        .arg(&database)
        .args(["--query", "--package", "--requires"])
        .arg(rpm));
    assert!(requires.lines().any(|line| line == "dkms-fetch"), "{requires}");
}

#[test]
fn the_same_repository_gives_the_same_bytes_and_a_new_root_another_version() {
    let repo = TestRepo::of_today().expect("published");
    let dir = sources::open_tempdir();
    let out = |name: &str| dir.path().join(name);
    let only = ["--format", "deb"];
    let first = packages(&repo, &out("first"), &only);
    let second = packages(&repo, &out("second"), &only);
    assert_eq!(first.len(), 1, "only the one that was asked for");
    let bytes = |made: &[PathBuf]| fs::read(&made[0]).expect("readable");
    assert_eq!(bytes(&first), bytes(&second));
    run(packager(&[])
        .arg("-C")
        .arg(repo.repository.path())
        .args(["rotate", "timestamp"]));
    let third = packages(&repo, &out("third"), &only);
    assert!(text(&third[0]).ends_with("-release_2-1_all.deb"), "{third:?}");
}

#[test]
fn a_damaged_root_makes_no_package() {
    let repo = TestRepo::of_today().expect("published");
    let root = repo.repository.public_dir().join("metadata/1.root.json");
    let damaged = fs::read_to_string(&root)
        .expect("readable")
        .replace("\"version\":1", "\"version\":2");
    fs::write(&root, damaged).expect("written");
    let dir = sources::open_tempdir();
    let output = packager(&[])
        .arg("-C")
        .arg(repo.repository.path())
        .args(["release-package", "https://drivers.example.org", "--out"])
        .arg(dir.path())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(
        fs::read_dir(dir.path()).expect("readable").count(),
        0,
        "nothing is written"
    );
}
