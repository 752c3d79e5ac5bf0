//! Faults of upstream's dkms that ours does not have, each as a story on a machine of its own.

use dkms_tests::dkms::{Fact, Hello, Machine, Program};
use dkms_tests::inputs;

const HELLO: Hello = Hello::quick("hello", "1");

fn machine() -> Machine {
    let machine = Machine::new(Program::Ours);
    inputs::kernels().iter().for_each(|release| machine.add_kernel(release));
    machine
}

/// Runs `dkms` and asks for its exit code. Answers what it printed.
fn dkms(machine: &Machine, code: i32, line: &str) -> String {
    let [k1, k2] = inputs::kernels();
    let line = line.replace("K1", &k1).replace("K2", &k2);
    let outcome = machine.dkms(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(outcome.code, code, "dkms {line}\n{}{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}

fn state(machine: &Machine) -> String {
    let [k1, k2] = inputs::kernels();
    let text = dkms(machine, 0, "status");
    text.trim()
        .replace(&k1, "K1")
        .replace(&k2, "K2")
        .replace(std::env::consts::ARCH, "A")
}

#[test]
fn two_builds_at_once_both_succeed() {
    let machine = machine();
    HELLO.put(&machine);
    dkms(&machine, 0, "add hello/1");
    let calls = inputs::kernels().map(|release| {
        let mut call = machine.command(&["dkms", "build", "hello/1", "-k", &release]);
        call.stderr(std::process::Stdio::null()).spawn().expect("spawn")
    });
    for mut call in calls {
        assert!(call.wait().expect("wait").success());
    }
    assert_eq!(state(&machine), "hello/1, K1, A: built\nhello/1, K2, A: built");
}

#[test]
fn a_build_that_fails_keeps_the_good_one_and_is_remembered() {
    let machine = machine();
    HELLO.put(&machine);
    dkms(&machine, 0, "install hello/1 -k K1");
    let before = machine.snapshot();
    HELLO.with("MAKE[0]=false").put(&machine);
    dkms(&machine, 10, "build hello/1 -k K1 --force");
    assert_eq!(state(&machine), "hello/1, K1, A: installed");
    let module = |snapshot: &dkms_tests::dkms::Snapshot| -> Vec<Fact> {
        snapshot
            .0
            .values()
            .filter(|fact| matches!(fact, Fact::Module(_)))
            .cloned()
            .collect()
    };
    assert_eq!(module(&machine.snapshot()), module(&before));
    let document: serde_json::Value = serde_json::from_str(&dkms(&machine, 0, "status --json")).expect("JSON");
    assert_eq!(document["schema"], "dkms-status/1");
    let failure = &document["packages"][0]["failures"][0];
    assert!(
        failure["reason"].as_str().is_some_and(|reason| reason.contains("make")),
        "{document:#}"
    );
    let log = failure["log"]
        .as_str()
        .expect("the log's path")
        .replace("/var/lib/dkms", "dkms");
    assert!(machine.path(&log).is_file(), "{log}");
    // Once it builds again, the failure is forgotten.
    HELLO.put(&machine);
    dkms(&machine, 0, "build hello/1 -k K1 --force");
    assert!(!dkms(&machine, 0, "status --json").contains("reason"));
}

#[test]
fn the_exit_code_of_a_failure_is_kept_and_the_other_kernels_are_built() {
    let machine = machine();
    HELLO.put(&machine);
    dkms(&machine, 21, "build hello/1 -k 9.9.9-none -k K1");
    assert_eq!(state(&machine), "hello/1, K1, A: built");
}

#[test]
fn what_is_no_module_for_this_kernel_is_refused() {
    let machine = machine();
    let other = &inputs::kernels()[1];
    let wrong_kernel = format!("MAKE[0]=\"'cp' prebuilt/{other} hello.ko\"").leak();
    let confs = [
        ("random", "MAKE[0]=\"head -c 2000 hello.c > hello.ko\""),
        ("empty", "MAKE[0]=\"touch hello.ko\""),
        ("elsewhere", wrong_kernel),
    ];
    for (name, conf) in confs {
        Hello::quick(name, "1").with(conf).put(&machine);
        dkms(&machine, 7, &format!("install {name}/1 -k K1"));
    }
    assert_eq!(state(&machine), "elsewhere/1: added\nempty/1: added\nrandom/1: added");
    assert_eq!(machine.snapshot().files("modules").count(), 0);
}

#[test]
fn a_conf_cannot_write_where_only_root_can() {
    let machine = machine();
    let conf = "touch /usr/src/written-by-the-conf /var/lib/dkms/written-by-the-conf";
    HELLO.with(conf).put(&machine);
    dkms(&machine, 0, "install hello/1 -k K1");
    dkms(&machine, 0, "status");
    dkms(&machine, 0, "autoinstall -k K1");
    let found = machine.snapshot();
    let written: Vec<_> = found.files("").filter(|path| path.contains("written-by")).collect();
    assert!(written.is_empty(), "{written:?}");
}

#[test]
fn a_run_has_one_depmod_for_each_kernel_and_none_with_nothing_to_do() {
    let machine = machine();
    for name in ["a", "b", "c"] {
        Hello::quick(name, "1").put(&machine);
        dkms(&machine, 0, &format!("add {name}/1"));
    }
    dkms(&machine, 0, "autoinstall -k all");
    assert_eq!(machine.depmod_runs(), 2);
    assert_eq!(
        state(&machine)
            .lines()
            .filter(|line| line.ends_with("installed"))
            .count(),
        6
    );
    dkms(&machine, 0, "autoinstall -k all");
    assert_eq!(machine.depmod_runs(), 2);
    dkms(&machine, 0, "kernel_prerm -k K1");
    assert_eq!(machine.depmod_runs(), 3);
    dkms(&machine, 0, "kernel_postinst -k K1");
    assert_eq!(machine.depmod_runs(), 4);
}

#[test]
fn it_is_built_again_when_its_source_changed_and_not_otherwise() {
    let machine = machine();
    HELLO.put(&machine);
    dkms(&machine, 0, "install hello/1 -k K1");
    let built_at = || {
        let log = format!(
            "dkms/hello/1/{}/{}/log/make.log",
            inputs::kernels()[0],
            std::env::consts::ARCH
        );
        machine
            .path(&log)
            .metadata()
            .and_then(|meta| meta.modified())
            .expect("the log")
    };
    let first = built_at();
    dkms(&machine, 0, "autoinstall -k K1");
    dkms(&machine, 0, "build hello/1 -k K1");
    assert_eq!(built_at(), first);
    machine.write("src/hello-1/more.c", "// more");
    dkms(&machine, 0, "autoinstall -k K1");
    assert_ne!(built_at(), first);
    assert_eq!(state(&machine), "hello/1, K1, A: installed");
}

#[test]
fn build_depends_are_asked_for() {
    let machine = machine();
    HELLO.put(&machine);
    Hello::quick("needy", "1").with("BUILD_DEPENDS[0]=hello").put(&machine);
    dkms(&machine, 13, "build needy/1 -k K1");
    dkms(&machine, 0, "build hello/1 -k K1");
    dkms(&machine, 0, "build needy/1 -k K1");
}

#[test]
fn packages_and_kernels_call_the_glue() {
    let machine = machine();
    HELLO.put(&machine);
    for (name, text) in dkms_engine::glue::FILES.iter().map(|file| (file.path, file.text)) {
        let name = name.rsplit('/').next().expect("a name");
        let dir = if name == "dkms" { continue } else { "glue" };
        machine.write(&format!("{dir}/{name}"), text);
        machine.make_executable(&format!("{dir}/{name}"));
    }
    let call = |words: &[&str]| {
        let outcome = machine.run(words);
        assert_eq!(outcome.code, 0, "{words:?}\n{}{}", outcome.stdout, outcome.stderr);
    };
    let [k1, _] = inputs::kernels();
    // The running kernel is not on this machine, as in a chroot: a first installation builds for all.
    call(&[
        "/usr/lib/dkms/common.postinst",
        "hello",
        "1",
        "/usr/share/hello-dkms",
        "",
        "",
    ]);
    assert_eq!(state(&machine), "hello/1, K1, A: installed\nhello/1, K2, A: installed");
    // An upgrade to the same version takes the new files in.
    call(&[
        "/usr/lib/dkms/common.postinst",
        "hello",
        "1",
        "/usr/share/hello-dkms",
        "",
        "0.9",
    ]);
    assert_eq!(state(&machine).lines().count(), 2);
    call(&["dkms", "kernel_prerm", "-k", &k1]);
    assert_eq!(state(&machine), "hello/1, K2, A: installed");
    call(&["/usr/lib/dkms/dkms_autoinstaller", "start", &k1]);
    assert_eq!(state(&machine).lines().count(), 2);
    call(&["/usr/lib/dkms/dkms_autoinstaller", "start", "9.9.9-none"]);
    // What a package's prerm does.
    assert!(!dkms(&machine, 0, "status -m hello -v 1").is_empty());
    call(&["dkms", "remove", "-m", "hello", "-v", "1", "--all"]);
    assert_eq!(state(&machine), "");
    assert_eq!(machine.snapshot().files("modules").count(), 0);
}
