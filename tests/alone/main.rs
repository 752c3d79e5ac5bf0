//! What troubles the whole machine while it runs. It is a program of its own, because cargo runs these one after the other.

use std::fs;
use std::process::Command;

use dkms_tests::dkms::{Hello, Machine, Program};
use dkms_tests::repo::TestRepo;

const HELLO: Hello = Hello::quick("hello", "1");
const BOMB: &str = ":() { : | : & }; :";
const ENDED: &str = "it was still running after 20 s";

/// The kernel counts processes by user. While one `dkms.conf` forks until the limit of its evaluation, others that are read as the
/// same user can fail to fork; as soon as it is ended, all is well again.
#[test]
fn a_conf_that_forks_without_end_is_ended() {
    by_dkms();
    by_dkms_repo();
}

fn by_dkms() {
    let machine = Machine::new(Program::Ours);
    HELLO.with(BOMB).put(&machine);
    let outcome = machine.dkms(&["add", "hello/1"]);
    assert_eq!(outcome.code, 8, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains(ENDED) && outcome.stderr.contains("hint: "),
        "{}",
        outcome.stderr
    );
    HELLO.put(&machine);
    let outcome = machine.dkms(&["add", "hello/1"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
}

fn by_dkms_repo() {
    let repo = TestRepo::new().expect("a repository");
    let package = tempfile::tempdir().expect("a directory");
    let add = |line: &str| {
        let conf = format!(
            "PACKAGE_NAME=evil\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=evil\nDEST_MODULE_LOCATION=/updates\n{line}\n"
        );
        fs::write(package.path().join("dkms.conf"), conf).expect("a file");
        let output = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"))
            .arg("-C")
            .arg(repo.repository.path())
            .arg("add")
            .arg(package.path())
            .output()
            .expect("dkms-repo runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = add(BOMB);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(ENDED) && said.contains("hint: correct the dkms.conf in "),
        "{said}"
    );
    let (code, said) = add("");
    assert_eq!(code, Some(0), "{said}");
}
