//! Sources as their authors ship them: what other implementations take, ours takes, and what MAKE and scripts count on is there.

use dkms_tests::dkms::{Hello, Machine, Outcome, Program, ours};
use dkms_tests::inputs;

const HELLO: Hello = Hello::quick("hello", "1");

fn machine() -> Machine {
    Machine::with_kernels(Program::Ours)
}

/// Runs a shell line in the machine's directory and asks for its exit code. `K1` and `K2` are the two kernels.
fn run(machine: &Machine, line: &str, code: i32) -> Outcome {
    let [k1, k2] = inputs::kernels();
    let line = line.replace("K1", &k1).replace("K2", &k2);
    let outcome = machine.run(&["sh", "-c", &line]);
    assert_eq!(outcome.code, code, "{line}\n{}{}", outcome.stdout, outcome.stderr);
    outcome
}

fn status(machine: &Machine) -> String {
    let [k1, _] = inputs::kernels();
    let text = machine.dkms(&["status"]).stdout;
    text.replace(&k1, "K1").replace(std::env::consts::ARCH, "A")
}

fn edit(machine: &Machine, name: &str, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(machine.path(name)).expect(name);
    machine.write(name, change(&text));
}

#[test]
fn a_conf_with_dos_line_ends_is_taken() {
    let machine = machine();
    HELLO.put(&machine);
    edit(&machine, "src/hello-1/dkms.conf", |text| text.replace('\n', "\r\n"));
    run(&machine, "dkms install hello/1 -k K1", 0);
    assert_eq!(status(&machine), "hello/1, K1, A: installed\n");
}

#[test]
fn a_version_that_the_conf_works_out_is_taken() {
    for (conf, kept) in [
        ("PACKAGE_VERSION=$(cat VERSION)", false),
        ("PACKAGE_VERSION=$(cat \"${BASH_SOURCE%/*}/VERSION\")", false),
        ("[ -e v.sh ] || echo PACKAGE_VERSION=3.1 >v.sh; . ./v.sh", true),
        (
            "H=${BASH_SOURCE%/dkms.conf}; [ -e $H/v.sh ] || echo PACKAGE_VERSION=3.1 >$H/v.sh; . $H/v.sh",
            true,
        ),
    ] {
        let machine = machine();
        HELLO.with(conf).write_to(&machine, "home/source");
        machine.write("home/source/VERSION", "3.1\n");
        // As in a home directory that nobody else may enter.
        run(
            &machine,
            "chmod 700 home; cd home/source && sed -i /^PACKAGE_VERSION=1/d dkms.conf && dkms add .",
            0,
        );
        assert_eq!(status(&machine), "hello/3.1: added\n", "{conf}");
        run(&machine, "dkms install hello/3.1 -k K1", 0);
        assert!(
            !machine.path("home/source/v.sh").exists(),
            "the original stays as it is"
        );
        assert_eq!(machine.path("src/hello-3.1/v.sh").exists(), kept, "{conf}");
    }
}

#[test]
fn a_package_is_what_it_is_called() {
    for (name, version) in [
        ("other", "1"),
        ("hello", "DKMS_VERSION"),
        ("hello", "#MODULE_VERSION#"),
        ("..", "a b"),
    ] {
        let machine = machine();
        HELLO.put(&machine);
        edit(&machine, "src/hello-1/dkms.conf", |text| {
            format!("{text}PACKAGE_NAME='{name}'\nPACKAGE_VERSION='{version}'\n")
        });
        run(
            &machine,
            "dkms add -m hello -v 1 && dkms install -m hello -v 1 -k K1",
            0,
        );
        assert_eq!(status(&machine), "hello/1, K1, A: installed\n", "{name} {version}");
        run(&machine, "dkms remove -m hello -v 1 --all", 0);
        assert_eq!(status(&machine), "");
    }
    let machine = machine();
    HELLO
        .with("PACKAGE_VERSION='#MODULE_VERSION#'")
        .write_to(&machine, "boot/source");
    let said = run(&machine, "dkms add boot/source", 0).stderr;
    assert!(said.contains("placeholder") && said.contains("hint: "), "{said}");
    assert_eq!(status(&machine), "hello/#MODULE_VERSION#: added\n");
    run(&machine, "dkms install 'hello/#MODULE_VERSION#' -k K1", 0);
    assert_eq!(status(&machine), "hello/#MODULE_VERSION#, K1, A: installed\n");
    run(&machine, "dkms remove 'hello/#MODULE_VERSION#' --all", 0);
    HELLO
        .with("PACKAGE_VERSION='{VERSION}'")
        .write_to(&machine, "boot/source");
    let said = run(&machine, "dkms add boot/source", 8).stderr;
    assert!(said.contains("placeholder") && said.contains("hint: "), "{said}");
}

/// Debian's headers refer to `../../lib/linux-kbuild-…`: /usr/lib of this system need not have it.
#[test]
fn headers_are_where_a_makefile_expects_them_on_debian() {
    let machine = machine();
    let hello = Hello {
        compiled: true,
        ..HELLO.with("MAKE='make -C /usr/src/linux-headers-$kernelver M=$dkms_tree/hello/1/build'")
    };
    hello.put(&machine);
    run(&machine, "dkms install hello/1 -k K1 -k K2", 0);
}

#[test]
fn a_build_is_told_the_compiler_of_the_kernel() {
    let [k1, _] = inputs::kernels();
    let config = std::fs::read_to_string(inputs::headers(&k1).join(".config")).expect("a .config");
    let text = config
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_CC_VERSION_TEXT=\""));
    let compiler = text.and_then(|text| text.split(' ').next()).expect("its first word");
    let machine = machine();
    HELLO.with("PRE_BUILD=p.sh").put(&machine);
    machine.write(
        "src/hello-1/p.sh",
        format!("#!/bin/sh\n[ \"$CC $KERNEL_CC\" = '{compiler} {compiler}' ] && [ -z \"$LD$KERNEL_LD\" ]\n"),
    );
    machine.make_executable("src/hello-1/p.sh");
    run(&machine, "CC=other LD=other dkms build hello/1 -k K1", 0);
}

/// An image has no other names for its directories than a running system.
#[test]
fn a_makefile_of_an_image_finds_what_it_names() {
    let [release, _] = inputs::kernels();
    // Beside the inputs, so that they can be linked.
    let image = tempfile::tempdir_in(inputs::dir().join("..")).expect("a directory");
    inputs::link_tree(&inputs::kernel_root(&release).join("."), image.path());
    let source = image.path().join("usr/src/named-1");
    std::fs::create_dir(&source).expect("a directory");
    let makefile = "obj-m := named.o\nall:\n\ttouch /usr/src/named-1/one /var/lib/dkms/named/1/build/two && test -e one -a -e two\n\
                    \tmake -C /usr/src/linux-headers-$(kernelver) M=$(CURDIR) modules\n";
    for (name, text) in [
        (
            "dkms.conf",
            "PACKAGE_NAME=named\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=named\nDEST_MODULE_LOCATION=/extra\nMAKE=\"'make' all\"\n",
        ),
        ("Makefile", makefile),
        ("named.c", "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n"),
    ] {
        std::fs::write(source.join(name), text).expect("a file");
    }
    let done = std::process::Command::new(ours())
        .args(["dkms", "build", "named/1", "-k", &release, "--root"])
        .arg(image.path())
        .output()
        .expect("dkms-fetch runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(
        said.contains("all machines made from this image share the private key"),
        "{said}"
    );
    assert!(!source.join("one").exists(), "the source stays as it is");
}

#[test]
fn a_conf_without_modules_and_a_patch_from_elsewhere_are_added() {
    let machine = machine();
    machine.write(
        "src/empty-1/dkms.conf",
        "PACKAGE_NAME=empty\nPACKAGE_VERSION=1\nMAKE=true\n",
    );
    machine.write("src/empty-1/file", "");
    run(&machine, "dkms install empty/1 -k K1", 0);
    HELLO.with("PATCH[0]=../x").put(&machine);
    run(&machine, "dkms add hello/1", 0);
    run(&machine, "dkms build hello/1 -k K1", 5);
}

#[test]
fn exit_codes_are_those_of_upstream() {
    let machine = machine();
    HELLO.put(&machine);
    HELLO.write_to(&machine, "boot/bad");
    edit(&machine, "boot/bad/dkms.conf", |text| {
        text.replace("PACKAGE_VERSION=1\n", "")
    });
    run(&machine, "dkms add boot/bad", 8);
    run(&machine, "dkms add boot/bad/dkms.conf", 8);
    run(&machine, "cd boot/bad && dkms add .", 8);
    run(&machine, "mkdir boot/empty; dkms add boot/empty/", 9);
    run(&machine, "cd boot/empty && dkms add .", 9);
    run(&machine, "dkms add ./nothere", 2);
    run(&machine, "dkms kernel_postinst", 4);
    run(&machine, "dkms kernel_prerm", 4);
    run(&machine, "dkms add hello/1; dkms autoinstall -k 9.9.9-none", 21);
    run(&machine, "dkms kernel_postinst -k 9.9.9-none", 21);
    HELLO.with("MAKE[0]=false").put(&machine);
    run(&machine, "dkms autoinstall -k K1", 11);
    run(&machine, "dkms kernel_postinst -k K1", 11);
    HELLO.put(&machine);
    run(&machine, "dkms install hello/1 -k K1 && rm dkms/hello/1/source", 0);
    assert_eq!(status(&machine), "hello/1: broken\n");
    run(&machine, "dkms build hello/1 -k K2", 4);
    run(&machine, "dkms install hello/1 -k K2", 4);
    run(&machine, "dkms remove hello/1 --all", 0);
    assert_eq!(status(&machine), "");
}

#[test]
fn an_older_version_takes_the_place_of_a_newer_one_only_by_force() {
    let machine = machine();
    for version in ["1", "1.10"] {
        Hello::quick("hello", version).put(&machine);
    }
    run(&machine, "dkms install hello/1.10 -k K1", 0);
    let said = run(&machine, "dkms install hello/1 -k K1", 6).stderr;
    assert!(
        said.contains("1.10 is installed") && said.contains("hint: dkms install --force hello/1"),
        "{said}"
    );
    assert_eq!(
        status(&machine),
        "hello/1, K1, A: built\nhello/1.10, K1, A: installed\n"
    );
    run(&machine, "dkms install --force hello/1 -k K1", 0);
    run(&machine, "dkms install hello/1.10 -k K1", 0);
}

#[test]
fn an_obsolete_package_is_for_no_newer_kernel() {
    let machine = machine();
    HELLO.with("OBSOLETE_BY=6.5").put(&machine);
    run(&machine, "dkms add hello/1; dkms autoinstall -k K2", 0);
    run(&machine, "dkms install hello/1 -k K2", 77);
    assert_eq!(status(&machine), "hello/1: added\n");
    run(&machine, "dkms install hello/1 -k K1", 0);
}

#[test]
fn make_and_scripts_have_the_variables_of_the_conf() {
    let machine = machine();
    let seen =
        "test \"$kernelver $module/$module_version\" = \"K1 hello/1\" && test -n \"$arch\" && test -d \"$dkms_tree\"";
    let [k1, _] = inputs::kernels();
    let script = format!("#!/bin/sh\n{}\n", seen.replace("K1", &k1));
    let scripts = "PRE_BUILD=see.sh\nPOST_BUILD=see.sh\nPRE_INSTALL=see.sh\n\
        MAKE[0]=\"./see.sh && 'make' -f made.mk\"";
    HELLO.with(scripts).put(&machine);
    machine.write_program("src/hello-1/see.sh", &script);
    machine.write(
        "src/hello-1/made.mk",
        "all:\n\ttest \"$(module)/$(module_version)\" = hello/1\n\tcp prebuilt/$(kernelver) hello.ko\n",
    );
    run(&machine, "dkms install hello/1 -k K1", 0);
    // What the caller's environment says of a build does not reach it.
    run(
        &machine,
        "kernelver=no arch=no MAKEFLAGS=-n ARCH=arm64 O=/no M=/no KERNELRELEASE=no dkms build hello/1 -k K1 --force",
        0,
    );
}

#[test]
fn the_usual_path_of_the_headers_leads_to_those_in_use() {
    let machine = Machine::new(Program::Ours);
    let [k1, _] = inputs::kernels();
    let headers = inputs::headers(&k1);
    let make =
        "MAKE[0]=\"test -e /lib/modules/$kernelver/build/Makefile && ./go.sh && 'cp' prebuilt/$kernelver hello.ko\"";
    Hello { conf: make, ..HELLO }.put(&machine);
    machine.write_program(
        "src/hello-1/go.sh",
        "#!/bin/sh\ntest -e /lib/modules/$kernelver/build/Makefile\n",
    );
    run(
        &machine,
        &format!("dkms build hello/1 -k K1 --kernelsourcedir {}", headers.display()),
        0,
    );
}

#[test]
fn a_module_is_found_where_make_put_it() {
    let machine = machine();
    HELLO
        .with(
            "BUILT_MODULE_LOCATION[0]=src\nMAKE[0]=\"'mkdir' -p out/deep && cp prebuilt/$kernelver out/deep/hello.ko\"",
        )
        .put(&machine);
    run(&machine, "dkms install hello/1 -k K1", 0);
    // Which of two it should be, nobody can say.
    HELLO
        .with("MAKE[0]=\"'mkdir' a b && cp prebuilt/$kernelver a/hello.ko && cp prebuilt/$kernelver b/hello.ko\"")
        .put(&machine);
    run(&machine, "dkms build hello/1 -k K1 --force", 7);
}
