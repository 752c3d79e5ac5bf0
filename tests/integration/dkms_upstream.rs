//! What our dkms takes over from upstream 3.4: exit codes, followers of packages, status lines. Each is a story on a machine of its own.

use dkms_tests::dkms::{Hello, Machine, Program};
use dkms_tests::inputs;

fn machine() -> Machine {
    Machine::with_kernels(Program::Ours)
}

/// Runs `dkms` and asks for its exit code. Answers what it said, on both outputs.
fn dkms(machine: &Machine, code: i32, line: &str) -> String {
    let [k1, k2] = inputs::kernels();
    // Whole words: the names of temporary files may hold such letters.
    let kernel = |word| match word {
        "K1" => k1.as_str(),
        "K2" => k2.as_str(),
        other => other,
    };
    let outcome = machine.dkms(&line.split_whitespace().map(kernel).collect::<Vec<_>>());
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.code, code, "dkms {line}\n{said}");
    said
}

#[test]
fn a_new_version_takes_along_what_was_built_with_the_old_one() {
    let machine = machine();
    let needs = "BUILD_DEPENDS[0]=base\nBUILD_DEPENDS_REBUILD=yes";
    for package in [
        Hello::quick("base", "1"),
        Hello::quick("base", "2"),
        Hello::quick("top", "1").with(needs),
        Hello::quick("apex", "1").with("BUILD_DEPENDS[0]=top\nBUILD_DEPENDS_REBUILD=yes"),
        Hello::quick("free", "1").with("BUILD_DEPENDS[0]=base"),
    ] {
        package.put(&machine);
    }
    for package in ["base/1", "top/1", "apex/1", "free/1"] {
        dkms(&machine, 0, &format!("install {package} -k K1"));
    }
    let release = &inputs::kernels()[0];
    let built = |package: &str| format!("dkms/{package}/1/{release}/{}", std::env::consts::ARCH);
    let note = |package: &str| std::fs::read_to_string(machine.path(&format!("{}/.dep_base", built(package))));
    assert_eq!(note("top").expect("upstream's note").trim(), "1");
    assert!(note("free").is_err());
    let times = || {
        ["top", "apex", "free"].map(|package| {
            let log = machine.path(&format!("{}/log/make.log", built(package)));
            log.metadata().and_then(|meta| meta.modified()).expect("a log")
        })
    };
    let before = times();
    dkms(&machine, 0, "install base/2 -k K1");
    let after = times();
    assert_eq!(
        [0, 1, 2].map(|at| before[at] != after[at]),
        [true, true, false],
        "the two that want to follow"
    );
    assert_eq!(note("top").expect("upstream's note").trim(), "2");
    assert_eq!(machine.dkms(&["status"]).stdout.matches(": installed").count(), 4);
    dkms(&machine, 0, "install base/2 -k K1 --force");
    assert_eq!(times(), after, "it is the version that they were built with");
    let said = dkms(&machine, 0, "remove base/2 -k K1");
    assert!(
        said.contains("top/1 is installed") && said.contains("free/1 is installed"),
        "{said}"
    );
}

#[test]
fn a_build_that_lost_its_modules_is_not_installed_and_can_be_made_again() {
    let machine = machine();
    Hello::quick("hello", "1").put(&machine);
    dkms(&machine, 0, "install hello/1 -k K1");
    let (release, arch) = (inputs::kernels()[0].clone(), std::env::consts::ARCH);
    for lost in [
        format!("dkms/hello/1/{release}/{arch}/module/hello.ko"),
        format!("modules/{release}/updates/dkms/hello.ko"),
    ] {
        std::fs::remove_file(machine.path(&lost)).expect("a module");
    }
    let state = machine.dkms(&["status"]).stdout;
    assert!(state.contains("installed (Built modules are missing"), "{state}");
    let said = dkms(&machine, 6, "install hello/1 -k K1");
    assert!(said.contains("modules of its build are missing"), "{said}");
    dkms(&machine, 0, "build hello/1 -k K1");
    dkms(&machine, 0, "install hello/1 -k K1");
    let state = machine.dkms(&["status"]).stdout;
    assert!(state.ends_with(": installed\n"), "{state}");
}

#[test]
fn a_system_that_says_nothing_of_itself_is_refused() {
    let machine = machine();
    // A device in its place is no file.
    let hide = "mount --bind /dev/null /usr/lib/os-release && exec dkms status";
    let run = machine.run(&["sh", "-c", hide]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("no os-release file"), "{}", run.stderr);
}

#[test]
fn a_kernel_that_is_named_twice_is_served_once() {
    let machine = machine();
    Hello::quick("hello", "1").put(&machine);
    dkms(&machine, 0, "add hello/1");
    let said = dkms(&machine, 0, "autoinstall -k K1 -k K1");
    assert_eq!(said.matches(": built").count(), 1, "{said}");
    assert_eq!(said.matches("already").count(), 0, "{said}");
}

#[test]
fn scripts_get_their_words_and_what_they_print_is_shown() {
    let machine = machine();
    Hello::quick("hello", "1")
        .with("POST_INSTALL=\"post.sh 'two words' $kernelver\"\nPRE_BUILD=\"pre.sh fail\"")
        .put(&machine);
    machine.write_program("src/hello-1/post.sh", "#!/bin/sh\necho \"$# words: $1\"\n");
    machine.write_program("src/hello-1/pre.sh", "#!/bin/sh\n[ \"$1\" != fail ]\n");
    // The administrator's own takes its place, and starts where it lies.
    let said = dkms(&machine, 10, "install hello/1 -k K1");
    assert!(
        said.contains("/usr/src/hello-1/pre.sh") && !said.contains(".work"),
        "{said}"
    );
    machine.write_program("etc/hello/pre.sh", "#!/bin/sh\ncat beside\n");
    machine.write("etc/hello/beside", "of the administrator\n");
    let said = dkms(&machine, 0, "install hello/1 -k K1");
    assert!(said.contains("POST_INSTALL: 2 words: two words"), "{said}");
    let log = format!(
        "dkms/hello/1/{}/{}/log/make.log",
        inputs::kernels()[0],
        std::env::consts::ARCH
    );
    let log = std::fs::read_to_string(machine.path(&log)).expect("the log");
    assert!(log.contains("of the administrator"), "{log}");
}

#[test]
fn a_configuration_with_a_few_options_counts_over_the_kernel_s_own() {
    let machine = machine();
    Hello::quick("hello", "1")
        .with("BUILD_EXCLUSIVE_CONFIG=\"CONFIG_OF_MINE !CONFIG_PCI CONFIG_MODULES\"")
        .put(&machine);
    dkms(&machine, 77, "build hello/1 -k K1");
    machine.write("tmp/config", "CONFIG_OF_MINE=y\n# CONFIG_PCI is not set\n");
    let config = machine.path("tmp/config");
    dkms(
        &machine,
        0,
        &format!("install hello/1 -k K1 --config {}", config.display()),
    );
}
