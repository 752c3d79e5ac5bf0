//! The rules of distributions that the tests do not run on: a machine of its own with their os-release, and recorders in the
//! place of the programs that only they have.

use dkms_tests::dkms::{Hello, Machine, Outcome, Program};
use dkms_tests::inputs;

const HELLO: Hello = Hello::quick("hello", "1");
const RHEL: &str = "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n";
const SUSE: &str = "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n";
const UBUNTU: &str = "ID=ubuntu\nID_LIKE=debian\n";

/// Writes its arguments and what it reads to a log in the machine's directory.
const RECORDER: &str = "#!/bin/sh\n{ echo \"$(basename \"$0\") $*\"; cat; } >> /boot/recorded\n";

fn machine(os_release: &str) -> Machine {
    machine_of(Program::Ours, os_release)
}

fn machine_of(program: Program, os_release: &str) -> Machine {
    let machine = Machine::new(program);
    machine.write("os-release", os_release);
    inputs::kernels().iter().for_each(|release| machine.add_kernel(release));
    HELLO.put(&machine);
    machine
}

/// Runs `dkms` and asks for its exit code. `K1` and `K2` are the two kernels.
fn dkms(machine: &Machine, code: i32, line: &str) -> Outcome {
    let [k1, k2] = inputs::kernels();
    let line = line.replace("K1", &k1).replace("K2", &k2);
    let outcome = machine.dkms(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(outcome.code, code, "dkms {line}\n{}{}", outcome.stdout, outcome.stderr);
    outcome
}

/// What the recorders wrote since this was last asked, with short names.
fn recorded(machine: &Machine) -> String {
    let log = machine.path("boot/recorded");
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    if log.exists() {
        std::fs::remove_file(&log).expect("remove the log");
    }
    short(&text)
}

fn short(text: &str) -> String {
    let [k1, k2] = inputs::kernels();
    text.replace(&k1, "K1")
        .replace(&k2, "K2")
        .replace(std::env::consts::ARCH, "A")
}

#[test]
fn weak_modules_is_told_of_what_comes_and_goes() {
    let distributions = [(RHEL, "extra"), (SUSE, "updates")];
    for ((os_release, dir), program) in distributions
        .into_iter()
        .flat_map(|case| [(case, Program::Debian), (case, Program::Ours)])
    {
        let machine = machine_of(program, os_release);
        machine.write_program("over/usr/sbin/weak-modules", RECORDER);
        dkms(&machine, 0, "install hello/1 -k K1");
        let module = format!("/lib/modules/K1/{dir}/hello.ko\n");
        assert_eq!(
            recorded(&machine),
            format!("weak-modules --no-initramfs --add-modules\n{module}"),
            "{program:?} on {os_release}"
        );
        dkms(&machine, 0, "uninstall hello/1 -k K1");
        assert_eq!(
            recorded(&machine),
            format!("weak-modules --no-initramfs --remove-modules\n{module}"),
            "{program:?} on {os_release}"
        );
    }
}

#[test]
fn kernels_share_modules_only_where_they_have_a_stable_abi() {
    for (os_release, expected) in [
        ("ID=fedora\n", ""),
        (
            "ID=rhel\nID_LIKE=fedora\n",
            "weak-modules --no-initramfs --add-modules\n/lib/modules/K1/extra/hello.ko\n",
        ),
        ("ID=debian\n", ""),
    ] {
        let machine = machine(os_release);
        machine.write_program("over/usr/sbin/weak-modules", RECORDER);
        dkms(&machine, 0, "install hello/1 -k K1");
        assert_eq!(recorded(&machine), expected, "{os_release}");
    }
}

#[test]
fn a_kernel_that_uses_another_one_s_module_is_shown_and_not_built_for() {
    let machine = machine(RHEL);
    machine.write_program("over/usr/sbin/weak-modules", RECORDER);
    dkms(&machine, 0, "install hello/1 -k K1");
    // What weak-modules makes of it. Debian's status looks for such links, but compares a name with a path and so shows none.
    let [k1, k2] = inputs::kernels();
    let links = machine.path(&format!("modules/{k2}/weak-updates"));
    std::fs::create_dir_all(&links).expect("directory");
    std::os::unix::fs::symlink(format!("/lib/modules/{k1}/extra/hello.ko"), links.join("hello.ko")).expect("link");
    let state = |line: &str| short(&dkms(&machine, 0, line).stdout);
    let weak = "hello, 1, K2, A: installed-weak from K1\n";
    assert_eq!(state("status"), format!("hello/1, K1, A: installed\n{weak}"));
    assert_eq!(state("status -k K2"), format!("hello/1: added\n{weak}"));
    dkms(&machine, 0, "autoinstall -k K2");
    assert!(!machine.path(&format!("dkms/hello/1/{k2}")).exists());
    // Without the module that it leads to, a link is nothing.
    dkms(&machine, 0, "uninstall hello/1 -k K1");
    assert_eq!(state("status"), "hello/1, K1, A: built\n");
}

#[test]
fn a_package_may_do_without_weak_modules() {
    let machine = machine(RHEL);
    machine.write_program("over/usr/sbin/weak-modules", RECORDER);
    HELLO.with("NO_WEAK_MODULES=yes").put(&machine);
    dkms(&machine, 0, "install hello/1 -k K1");
    dkms(&machine, 0, "remove hello/1 --all");
    assert_eq!(recorded(&machine), "");
}

#[test]
fn weak_modules_that_fails_is_a_warning() {
    let machine = machine(RHEL);
    machine.write_program(
        "over/usr/sbin/weak-modules",
        "#!/bin/sh\necho it is broken >&2\nexit 3\n",
    );
    let said = dkms(&machine, 0, "install hello/1 -k K1").stderr;
    assert!(
        said.contains("weak-modules --no-initramfs --add-modules failed: it is broken"),
        "{said}"
    );
}

#[test]
fn ubuntu_signs_with_kmodsign_and_the_key_of_the_shim() {
    let machine = machine(UBUNTU);
    machine.write_program("over/usr/bin/kmodsign", RECORDER);
    // As update-secureboot-policy does: it makes the pair where Ubuntu's shim looks for it.
    machine.write_program(
        "over/usr/sbin/update-secureboot-policy",
        "#!/bin/sh\necho \"update-secureboot-policy $* $SHIM_NOTRIGGER\" >> /boot/recorded\n\
         mkdir -p /var/lib/shim-signed/mok && cd /var/lib/shim-signed/mok && echo key > MOK.priv && echo certificate > MOK.der\n",
    );
    machine.write("shim-signed/there", "");
    dkms(&machine, 0, "build hello/1 -k K1");
    let said = recorded(&machine);
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("update-secureboot-policy --new-key y"));
    let signed = lines.next().expect("a call of kmodsign");
    assert!(
        signed.starts_with("kmodsign sha256 /var/lib/shim-signed/mok/MOK.priv /var/lib/shim-signed/mok/MOK.der /"),
        "{signed}"
    );
    // The next build finds the pair; a key of the administrator's goes before it.
    dkms(&machine, 0, "build hello/1 -k K2");
    assert!(!recorded(&machine).contains("update-secureboot-policy"));
    machine.write(
        "etc/framework.conf",
        "mok_signing_key=/etc/dkms/k\nmok_certificate=/etc/dkms/c\n",
    );
    machine.write("etc/k", "");
    machine.write("etc/c", "");
    dkms(&machine, 0, "build hello/1 -k K2 --force");
    let said = recorded(&machine);
    assert!(said.starts_with("kmodsign sha256 /etc/dkms/k /etc/dkms/c /"), "{said}");
}

#[test]
fn a_key_in_a_token_is_left_to_sign_file() {
    let machine = machine("ID=debian\n");
    machine.write_program("bin/sign-it", RECORDER);
    machine.write(
        "etc/framework.conf",
        "sign_file=/usr/local/sbin/sign-it\nmok_signing_key='pkcs11:token=mok;object=key'\nmok_certificate=/etc/dkms/c\n",
    );
    let said = dkms(&machine, 0, "build hello/1 -k K1").stderr;
    assert!(
        said.contains("are not signed") && said.contains("/etc/dkms/c"),
        "{said}"
    );
    assert_eq!(recorded(&machine), "");
    machine.write("etc/c", "");
    dkms(&machine, 0, "build hello/1 -k K1 --force");
    let said = recorded(&machine);
    assert!(
        said.starts_with("sign-it sha256 pkcs11:token=mok;object=key /etc/dkms/c /"),
        "{said}"
    );
}

#[test]
fn a_kernel_built_by_clang_gets_llvm() {
    let machine = machine("ID=debian\n");
    let [k1, _] = inputs::kernels();
    // Headers that differ from the real ones in their configuration alone.
    let (real, headers) = (inputs::headers(&k1), machine.path("headers"));
    std::fs::create_dir(&headers).expect("directory");
    for entry in std::fs::read_dir(&real).expect("headers").flatten() {
        std::os::unix::fs::symlink(entry.path(), headers.join(entry.file_name())).expect("link");
    }
    let config = std::fs::read_to_string(real.join(".config")).expect(".config");
    let clang = "CONFIG_CC_IS_CLANG=y\nCONFIG_CC_VERSION_TEXT=\"clang version 19\"\n";
    std::fs::remove_file(headers.join(".config")).expect("remove the link");
    std::fs::write(headers.join(".config"), config + clang).expect("write");
    let build = machine.path(&format!("modules/{k1}/build"));
    std::fs::remove_file(&build).expect("remove the link");
    std::os::unix::fs::symlink(&headers, &build).expect("link");
    // A module that needs no compiler, by the default MAKE: the recorder of make brings it.
    HELLO.with("unset MAKE").put(&machine);
    machine.write_program(
        "bin/make",
        &format!("#!/bin/sh\necho \"make $*\"\nexec cp prebuilt/{k1} hello.ko\n"),
    );
    machine.write_program("bin/llvm-strip", "#!/bin/sh\n[ \"$1\" = -g ] && exec strip \"$@\"\n");
    dkms(&machine, 0, "build hello/1 -k K1");
    let log = machine.path(&format!("dkms/hello/1/{k1}/{}/log/make.log", std::env::consts::ARCH));
    let log = std::fs::read_to_string(log).expect("a log");
    let called = format!("make KERNELRELEASE={k1} LLVM=1 -C ");
    assert!(log.lines().any(|line| line.starts_with(&called)), "{log}");
    // It is llvm-strip that has the module in its hands.
    machine.write_program("bin/llvm-strip", "#!/bin/sh\nrm \"$3\"\n");
    dkms(&machine, 7, "build hello/1 -k K1 --force");
}
