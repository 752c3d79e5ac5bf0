//! The same attempts where the caller is not root, and where there is no mount namespace.

use std::fs;
use std::process::{Command, Output};

use dkms_engine::sandbox::{Confinement, Layers};

use super::{ATTEMPTS, Outside, WITHOUT_NAMESPACE, build_with_attempts, names, outcomes};

/// The user who publishes, where the tests run as root.
const PUBLISHER: u32 = 1000;

#[test]
fn the_mount_namespace_is_the_layer_in_use_where_it_works() {
    let tried = Command::new("bwrap")
        .args([
            "--ro-bind",
            "/",
            "/",
            "--unshare-pid",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "true",
        ])
        .output();
    let works = tried.as_ref().is_ok_and(|output| output.status.success());
    let layers = Layers::here();
    assert_eq!(layers.no_mount_namespace.is_none(), works, "{layers:?}\n{tried:?}");
    if works {
        assert_eq!(layers.confinement, Confinement::MountNamespace, "{layers:?}");
    }
    // The programs find the same: they are other processes with another environment.
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(assert_cmd::cargo::cargo_bin("dkms-fetch"))
        .args(["doctor", "--json", "--root"])
        .arg(dir.path())
        .output()
        .expect("dkms-fetch runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        text.contains("\"mount, PID, network and IPC namespaces"),
        works,
        "{text}"
    );
}

/// A conf that says in BUILD_DEPENDS how many of the attempts were refused, and which were not.
fn conf(arguments: &str) -> String {
    format!(
        "PACKAGE_NAME=evil\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=evil\nDEST_MODULE_LOCATION=/updates\nrefused=0\n\
         while read -r _ _ name outcome; do\n\
         if [ $outcome = refused ]; then ((refused += 1)); else BUILD_DEPENDS+=(\"$outcome+$name\"); fi\n\
         done < <(bash \"${{BASH_SOURCE%/*}}/attempts.sh\" conf {arguments})\nBUILD_DEPENDS+=(\"refused+$refused\")\n"
    )
}

#[test]
fn a_conf_of_a_publisher_who_is_not_root_reaches_nothing() {
    let (outside, dir) = (Outside::new(), dkms_tests::sources::open_tempdir());
    let source = dir.path().join("evil");
    fs::create_dir(&source).expect("a directory");
    fs::write(source.join("attempts.sh"), ATTEMPTS).expect("write");
    fs::write(source.join("dkms.conf"), conf(&outside.arguments())).expect("write");
    fs::write(source.join("evil.c"), "MODULE_LICENSE(\"GPL\");\n").expect("write");
    fs::write(source.join("Makefile"), "obj-m := evil.o\n").expect("write");
    // Where the build directory lies may be closed to other users.
    let program = dir.path().join("dkms-repo");
    fs::copy(assert_cmd::cargo::cargo_bin("dkms-repo"), &program).expect("copy");
    let home = dir.path().join("home");
    fs::create_dir(&home).expect("a directory");
    let is_root = dkms_engine::command::is_root();
    if is_root {
        std::os::unix::fs::chown(&home, Some(PUBLISHER), Some(PUBLISHER)).expect("chown");
    }
    let run = |words: &[&str]| -> Output {
        let mut command = Command::new(if is_root { "setpriv" } else { "env" });
        if is_root {
            command.args(["--reuid=1000", "--regid=1000", "--clear-groups"]);
        }
        command
            .arg(&program)
            .args(words)
            .env("HOME", &home)
            .env("TMPDIR", &home);
        command.current_dir(&home).output().expect("dkms-repo runs")
    };
    let succeed = |words: &[&str]| {
        let output = run(words);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    succeed(&["init", "repository"]);
    succeed(&["-C", "repository", "add", source.to_str().expect("UTF-8")]);
    let shown = succeed(&["-C", "repository", "show", "evil", "--json"]);
    let layers = Layers::here();
    let spared = |name: &str| layers.confinement != Confinement::MountNamespace && WITHOUT_NAMESPACE.contains(&name);
    for name in names().into_iter().filter(|name| !spared(name)) {
        assert!(!shown.contains(&format!("reached+{name}\"")), "{name}: {shown}");
    }
    let refused = names().iter().filter(|name| !spared(name)).count();
    assert!(
        layers.confinement != Confinement::MountNamespace || shown.contains(&format!("\"refused+{refused}\"")),
        "{shown}"
    );
}

#[test]
fn without_the_right_to_mount_landlock_keeps_contents() {
    // As in a container: bubblewrap cannot make a namespace there.
    let weak = ["setpriv", "--bounding-set=-sys_admin"];
    let (_machine, log, stderr) = build_with_attempts(&weak, "build");
    let warning = "packages cannot be confined on this machine";
    if !Layers::here().landlock {
        assert!(stderr.contains(warning), "{stderr}");
        return;
    }
    assert!(!stderr.contains(warning), "{stderr}");
    for phase in ["pre-build", "make", "post-build"] {
        let found = outcomes(&log, phase);
        for name in names().into_iter().filter(|name| !WITHOUT_NAMESPACE.contains(name)) {
            let outcome = found.get(name).map(String::as_str);
            assert_eq!(outcome, Some("refused"), "{name} in {phase}: {found:?}");
        }
    }
}
