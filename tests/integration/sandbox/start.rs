//! What the start of a sandbox is spared: a second one for strip, and a trial for each call.

use dkms_tests::dkms::{Hello, Machine, Program};
use dkms_tests::inputs;

/// A machine with the first kernel of the inputs.
fn machine() -> (Machine, String) {
    let machine = Machine::new(Program::Ours);
    let [release, _] = inputs::kernels();
    machine.add_kernel(&release);
    (machine, release)
}

#[test]
fn modules_are_stripped_wherever_they_are_built_and_however_make_ends() {
    let (machine, release) = machine();
    let has_debug_sections = |name: &str, version: &str, line: &str| {
        let conf = format!("MAKE[0]=\"'bash' debug.sh; {line}\"\nDEST_MODULE_LOCATION[0]=/updates\n");
        Hello::quick("hello", version.to_owned().leak())
            .with(conf.leak())
            .put(&machine);
        // A section of debugging information, as the compiler makes it.
        let script = format!(
            "cp prebuilt/{release} hello.ko; head -c 4096 /dev/zero > d\n\
             objcopy --add-section .debug_str=d --set-section-flags .debug_str=readonly,debug hello.ko\n"
        );
        machine.write(&format!("src/hello-{version}/debug.sh"), script);
        let outcome = machine.dkms(&["build", &format!("hello/{version}"), "-k", &release]);
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.stderr);
        let module = format!("/var/lib/dkms/hello/{version}/{release}/x86_64/module/hello.ko");
        let sections = machine.run(&[
            "sh",
            "-c",
            &format!("(unxz -c {module}.xz 2>/dev/null || cat {module}) > tmp/m; readelf -SW tmp/m"),
        ]);
        assert_eq!(sections.code, 0, "{name}: {}", sections.stderr);
        assert!(sections.stdout.contains(".modinfo"), "{name}: {}", sections.stdout);
        sections.stdout.contains(".debug_str")
    };
    assert!(!has_debug_sections("where it is expected", "1", "true"));
    assert!(!has_debug_sections("a line that ends the shell", "2", "exit 0"));
    assert!(!has_debug_sections("elsewhere", "3", "mkdir deep; mv hello.ko deep"));
    assert!(!has_debug_sections("another directory", "4", "cd /tmp"));
    assert!(has_debug_sections("STRIP says no", "5", "true\"\nSTRIP[0]=\"no"));
}

#[test]
fn the_end_of_a_make_line_is_that_of_the_build() {
    let (machine, release) = machine();
    for (version, line, code) in [
        ("1", "(exit 3)", 10),
        ("2", "'cp' prebuilt/$kernelver hello.ko; exit 3", 10),
        ("3", "if", 10),
    ] {
        let conf = format!("MAKE[0]=\"{line}\"\n");
        Hello::quick("hello", version).with(conf.leak()).put(&machine);
        let outcome = machine.dkms(&["build", &format!("hello/{version}"), "-k", &release]);
        assert_eq!(outcome.code, code, "{line}: {}", outcome.stderr);
    }
}

#[test]
fn a_trial_is_made_once_a_boot() {
    let (machine, release) = machine();
    Hello::quick("hello", "1").put(&machine);
    // All in one shell: each call of `run` has a mount namespace of its own, which is another place to try.
    let script = format!(
        "set -e; cd /var/lib/dkms; build() {{ dkms build hello/1 -k {release} --force >/dev/null; }}\n\
         build; cp .sandbox /tmp/first; stat -c %a .sandbox\n\
         first=$(stat -c %i.%Y .sandbox); build; [ $first = $(stat -c %i.%Y .sandbox) ] && echo kept\n\
         sed -i 's/^boot .*/boot of-another-start/' .sandbox; build; cmp .sandbox /tmp/first && echo tried again\n\
         echo > .sandbox; build; cmp .sandbox /tmp/first && echo made anew"
    );
    let outcome = machine.run(&["bash", "-c", &script]);
    assert_eq!(outcome.code, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.stdout, "644\nkept\ntried again\nmade anew\n");
}
