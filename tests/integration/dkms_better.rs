//! Faults of upstream's dkms that ours does not have, each as a story on a machine of its own.

use dkms_tests::dkms::{Fact, Hello, Machine, Program};
use dkms_tests::inputs;

const HELLO: Hello = Hello::quick("hello", "1");

fn machine() -> Machine {
    Machine::with_kernels(Program::Ours)
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
fn build_depends_are_asked_for() {
    let machine = machine();
    HELLO.put(&machine);
    Hello::quick("needy", "1").with("BUILD_DEPENDS[0]=hello").put(&machine);
    dkms(&machine, 13, "build needy/1 -k K1");
    dkms(&machine, 0, "build hello/1 -k K1");
    // Built is not installed: needy could not be loaded.
    dkms(&machine, 13, "build needy/1 -k K1");
    dkms(&machine, 13, "install needy/1 -k K1");
    dkms(&machine, 0, "install hello/1 -k K1");
    dkms(&machine, 13, "build needy/1 -k K2");
    dkms(&machine, 0, "build needy/1 -k K1");
    dkms(&machine, 0, "install needy/1 -k K2 --force");
}

#[test]
fn what_waits_for_an_unknown_package_is_left_for_later() {
    let machine = machine();
    HELLO.put(&machine);
    Hello::quick("needy", "1")
        .with("BUILD_DEPENDS[0]=stranger")
        .put(&machine);
    dkms(&machine, 0, "add hello/1");
    dkms(&machine, 0, "add needy/1");
    dkms(&machine, 0, "autoinstall -k K1");
    assert_eq!(state(&machine), "hello/1, K1, A: installed\nneedy/1: added");
}

#[test]
fn what_needs_a_package_follows_it_in_the_same_run() {
    let machine = machine();
    // It exports what the file says. One dependent looks at that alone, the other follows every build.
    let exports = "MAKE[0]=\"'cp' prebuilt/$kernelver hello.ko; cp symbols Module.symvers\"";
    Hello::quick("base", "1").with(exports).put(&machine);
    machine.write("src/base-1/symbols", "0x11111111\thello\tbase\tEXPORT_SYMBOL\n");
    Hello::quick("after", "1").with("BUILD_DEPENDS[0]=base").put(&machine);
    Hello::quick("follows", "1")
        .with("BUILD_DEPENDS[0]=base\nBUILD_DEPENDS_REBUILD=yes")
        .put(&machine);
    for name in ["base", "after", "follows"] {
        dkms(&machine, 0, &format!("add {name}/1"));
    }
    dkms(&machine, 0, "autoinstall -k K1");
    let times = || {
        ["base", "after", "follows"].map(|name| {
            let [release, _] = inputs::kernels();
            let log = format!("dkms/{name}/1/{release}/{}/log/make.log", std::env::consts::ARCH);
            let meta = machine.path(&log).metadata();
            meta.and_then(|meta| meta.modified()).expect("the log")
        })
    };
    let built_again = |before: [std::time::SystemTime; 3]| {
        dkms(&machine, 0, "autoinstall -k K1");
        let after = times();
        assert_eq!(state(&machine).matches(": installed").count(), 3);
        [0, 1, 2].map(|index| after[index] != before[index])
    };
    assert_eq!(built_again(times()), [false, false, false]);
    machine.write("src/base-1/hello.c", "// other source, the same symbols");
    assert_eq!(built_again(times()), [true, false, true]);
    machine.write("src/base-1/symbols", "0x22222222\thello\tbase\tEXPORT_SYMBOL\n");
    assert_eq!(built_again(times()), [true, true, true]);
    assert_eq!(built_again(times()), [false, false, false]);
    // What it needs fails: both stay as they were built.
    Hello::quick("base", "1").with("MAKE[0]=false").put(&machine);
    let before = times();
    dkms(&machine, 11, "autoinstall -k K1");
    assert_eq!(times(), before);
    assert_eq!(state(&machine).matches(": installed").count(), 3);
}

#[test]
fn it_is_built_again_when_the_kernel_s_headers_changed() {
    let machine = machine();
    HELLO.put(&machine);
    let [release, _] = inputs::kernels();
    // Headers of the machine's own: the real ones, but for a Makefile that can change.
    let real = inputs::headers(&release);
    for entry in std::fs::read_dir(&real).expect("headers").flatten() {
        if entry.file_name() != "Makefile" {
            machine.write("headers/.keep", "");
            std::os::unix::fs::symlink(entry.path(), machine.path("headers").join(entry.file_name())).expect("link");
        }
    }
    let makefile = std::fs::read_to_string(real.join("Makefile")).expect("Makefile");
    machine.write("headers/Makefile", &makefile);
    let build = machine.path(&format!("modules/{release}/build"));
    std::fs::remove_file(&build).expect("removes");
    std::os::unix::fs::symlink(machine.path("headers"), &build).expect("link");
    dkms(&machine, 0, "install hello/1 -k K1");
    let record = || {
        let path = format!("dkms/hello/1/{release}/{}/log/build.json", std::env::consts::ARCH);
        std::fs::read(machine.path(&path)).expect("the record")
    };
    let first = record();
    dkms(&machine, 0, "autoinstall -k K1");
    assert_eq!(record(), first, "nothing changed");
    machine.write("headers/Makefile", makefile + "# an update of the headers\n");
    dkms(&machine, 0, "autoinstall -k K1");
    assert_ne!(record(), first);
    assert_eq!(state(&machine), "hello/1, K1, A: installed");
}

#[test]
fn make_and_the_build_s_scripts_run_as_a_user_of_their_own() {
    let machine = machine();
    let conf = "PRE_BUILD='who pre'\nMAKE[0]=\"./who make; 'cp' prebuilt/$kernelver hello.ko\"\nPOST_BUILD='who post'";
    HELLO.with(conf).put(&machine);
    machine.write("src/hello-1/who", "#!/bin/sh\necho $1 runs as $(id -u)\n");
    machine.make_executable("src/hello-1/who");
    dkms(&machine, 0, "build hello/1 -k K1");
    let [release, _] = inputs::kernels();
    let log = format!("dkms/hello/1/{release}/{}/log/make.log", std::env::consts::ARCH);
    let log = std::fs::read_to_string(machine.path(&log)).expect("the log");
    for step in ["pre", "make", "post"] {
        let marker = format!("{step} runs as ");
        let uid = log
            .lines()
            .find_map(|line| line.strip_prefix(&marker)?.parse::<u32>().ok());
        // In the user namespace of a test that is not root, there is no other user.
        let expected = if dkms_engine::command::is_root() {
            60_578..61_184
        } else {
            0..1
        };
        assert!(uid.is_some_and(|uid| expected.contains(&uid)), "{step}: {uid:?}\n{log}");
    }
}

#[test]
fn a_kernel_s_hooks_report_what_failed_and_do_the_rest() {
    let machine = machine();
    HELLO.put(&machine);
    Hello::quick("broken", "1").with("MAKE[0]=false").put(&machine);
    Hello::quick("manual", "1").with("AUTOINSTALL=no").put(&machine);
    for name in ["hello", "broken", "manual"] {
        dkms(&machine, 0, &format!("add {name}/1"));
    }
    dkms(&machine, 11, "kernel_postinst -k K1");
    dkms(&machine, 0, "install manual/1 -k K1");
    assert_eq!(
        state(&machine),
        "broken/1: added\nhello/1, K1, A: installed\nmanual/1, K1, A: installed"
    );
    dkms(&machine, 0, "kernel_preinst -k K1");
    assert_eq!(
        state(&machine),
        "broken/1: added\nhello/1: added\nmanual/1, K1, A: installed"
    );
    dkms(&machine, 0, "kernel_prerm -k K1");
    assert_eq!(state(&machine), "broken/1: added\nhello/1: added\nmanual/1: added");
    dkms(&machine, 4, "kernel_prerm");
}

#[test]
fn what_lost_its_source_can_be_taken_away() {
    let machine = machine();
    HELLO.put(&machine);
    dkms(&machine, 0, "install hello/1 -k K1");
    std::fs::remove_dir_all(machine.path("src/hello-1")).expect("removes");
    assert_eq!(state(&machine), "hello/1: broken");
    dkms(&machine, 4, "build hello/1 -k K2");
    dkms(&machine, 0, "uninstall hello/1 -k K1");
    assert_eq!(machine.snapshot().files("modules").count(), 0);
    dkms(&machine, 0, "remove hello/1 --all");
    assert_eq!(state(&machine), "");
    assert!(!machine.path("dkms/hello").exists());
}

#[test]
fn packages_and_kernels_call_the_glue() {
    let machine = machine();
    HELLO.put(&machine);
    for (name, text) in dkms_engine::hooks::FILES.iter().map(|file| (file.path, file.text)) {
        let name = name.rsplit('/').next().expect("a name");
        let dir = if name == "dkms" { continue } else { "hooks" };
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

#[test]
fn match_installs_what_others_need_first() {
    let machine = machine();
    let first = Hello::quick("zfirst", "1");
    // It needs what comes after it by name.
    let second = Hello::quick("asecond", "1").with("BUILD_DEPENDS[0]=zfirst");
    for package in [&first, &second] {
        package.put(&machine);
        dkms(&machine, 0, &format!("install {}/1 -k K1", package.name));
    }
    let [k1, k2] = inputs::kernels();
    let outcome = machine.dkms(&["match", "--templatekernel", &k1, "-k", &k2]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let line = |part: &str| {
        let mut lines = outcome.stderr.lines();
        lines
            .position(|line| line.starts_with(part))
            .unwrap_or_else(|| panic!("{part}: {}", outcome.stderr))
    };
    let of = |name: &str, state: &str| format!("{name}/1 for {k2} ({}): {state}", std::env::consts::ARCH);
    assert!(
        line(&of("zfirst", "installed")) < line(&of("asecond", "building")),
        "{}",
        outcome.stderr
    );
}
