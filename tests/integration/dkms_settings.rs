//! What framework.conf and the options that stand for it do.

use dkms_tests::dkms::{Fact, Hello, Machine, Program};
use dkms_tests::inputs;

fn machine() -> Machine {
    let machine = Machine::with_kernels(Program::Ours);
    Hello::quick("hello", "1").put(&machine);
    machine
}

/// Installs hello/1 for the first kernel. Answers what was said.
fn install(machine: &Machine, more: &[&str]) -> String {
    let release = &inputs::kernels()[0];
    let mut words = vec!["install", "hello/1", "-k", release];
    words.extend(more);
    let outcome = machine.dkms(&words);
    assert_eq!(outcome.code, 0, "{words:?}\n{}", outcome.stderr);
    outcome.stderr
}

/// A program of the machine's own that writes its arguments to a file, one a line.
fn record(machine: &Machine, program: &str) {
    let text = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >> /usr/local/sbin/{program}.log\nexit 1\n");
    machine.write(&format!("bin/{program}"), text);
    machine.make_executable(&format!("bin/{program}"));
}

fn recorded(machine: &Machine, program: &str) -> String {
    std::fs::read_to_string(machine.path(&format!("bin/{program}.log"))).unwrap_or_default()
}

#[test]
fn modprobe_gets_the_devices_after_an_installation_and_only_then() {
    let machine = machine();
    record(&machine, "modprobe");
    machine.write("devices/a/modalias", "pci:v0000F00Dd0000CAFEsv0sd0bc0sc0i0\n");
    machine.write("devices/a/b/modalias", "--remove\n");
    install(&machine, &[]);
    assert_eq!(recorded(&machine, "modprobe"), "", "nobody asked for it");
    install(&machine, &["--modprobe-on-install"]);
    assert_eq!(recorded(&machine, "modprobe"), "", "nothing was installed");
    machine.write("etc/framework.conf", "modprobe_on_install=\"true\"\n");
    install(&machine, &["--force"]);
    assert_eq!(
        recorded(&machine, "modprobe"),
        "-a\n-b\n-q\npci:v0000F00Dd0000CAFEsv0sd0bc0sc0i0\n"
    );
}

#[test]
fn post_transaction_runs_once_for_a_run_that_changed_something() {
    let machine = machine();
    Hello::quick("other", "1").put(&machine);
    machine.write(
        "etc/framework.conf.d/initrd.conf",
        "post_transaction='echo \"$(ls /lib/modules/*/updates/dkms | grep -c ko)\" >> /usr/src/told; exit 3'\n",
    );
    let told = || std::fs::read_to_string(machine.path("src/told")).unwrap_or_default();
    for package in ["hello/1", "other/1"] {
        assert_eq!(machine.dkms(&["add", package]).code, 0);
    }
    assert_eq!(told(), "", "add installs nothing");
    let run = machine.dkms(&["autoinstall", "-k", "all"]);
    // It may fail: the modules are in place, so the call has done its work.
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("post_transaction failed") && run.stderr.contains("ended with exit status: 3"),
        "{}",
        run.stderr
    );
    assert_eq!(told(), "4\n", "after all four modules");
    assert_eq!(machine.dkms(&["autoinstall", "-k", "all"]).code, 0);
    assert_eq!(told(), "4\n", "nothing to do");
    assert_eq!(machine.dkms(&["remove", "hello/1", "--all"]).code, 0);
    assert_eq!(told(), "4\n2\n");
}

#[test]
fn post_transaction_knows_what_changed_and_has_a_log() {
    let machine = machine();
    machine.write(
        "etc/framework.conf",
        "post_transaction='echo $module/$module_version for $kernelver $arch in $dkms_tree as $MINE; echo aside >&2'\n",
    );
    let line = |release: &str| {
        format!(
            "hello/1 for {release} {} in /var/lib/dkms as caller\naside\n",
            std::env::consts::ARCH
        )
    };
    let [first, second] = inputs::kernels();
    let run = machine.run(&[
        "env",
        "MINE=caller",
        "dkms",
        "install",
        "hello/1",
        "-k",
        &first,
        "-k",
        &second,
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let log = std::fs::read_to_string(machine.path("dkms/post_transaction.log")).expect("the log");
    assert!(log.contains(&line(&first)) && log.contains(&line(&second)), "{log}");
    assert!(
        log.contains("# command: echo $module") && log.contains("# exit status: 0"),
        "{log}"
    );
}

#[test]
fn jobs_may_come_from_the_environment() {
    let machine = machine();
    let release = &inputs::kernels()[0];
    let conf = format!(
        "{}MAKE[0]=\"echo jobs $parallel_jobs; cp prebuilt/$kernelver hello.ko\"\n",
        Hello::quick("hello", "1").conf_text()
    );
    machine.write("src/hello-1/dkms.conf", conf);
    let log = format!("dkms/hello/1/{release}/{}/log/make.log", std::env::consts::ARCH);
    for (setting, words, jobs) in [
        ("", &["--force"][..], "7"),
        ("", &["--force", "-j", "3"], "3"),
        ("parallel_jobs=5\n", &["--force"], "5"),
    ] {
        machine.write("etc/framework.conf", setting);
        let mut call = vec!["env", "parallel_jobs=7", "dkms", "build", "hello/1", "-k", release];
        call.extend(words);
        let run = machine.run(&call);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let text = std::fs::read_to_string(machine.path(&log)).expect("the log");
        assert!(text.contains(&format!("\njobs {jobs}\n")), "{setting}{words:?}: {text}");
    }
}

#[test]
fn modules_may_be_links() {
    let machine = machine();
    machine.write("etc/framework.conf", "symlink_modules=yes\n");
    install(&machine, &[]);
    let release = &inputs::kernels()[0];
    let found = machine.snapshot().0;
    let target = format!(
        "/var/lib/dkms/hello/1/{release}/{}/module/hello.ko",
        std::env::consts::ARCH
    );
    let installed = format!("modules/{release}/updates/dkms/hello.ko");
    assert_eq!(found.get(&installed), Some(&Fact::Link(target)));
    // Without the setting, --force puts a copy in the link's place.
    machine.write("etc/framework.conf", "");
    install(&machine, &["--force"]);
    assert!(matches!(machine.snapshot().0.get(&installed), Some(Fact::Module(_))));
}

#[test]
fn modules_are_compressed_as_the_kernel_s_and_as_the_settings_say() {
    let machine = machine();
    let [release, _] = inputs::kernels();
    machine.write(&format!("modules/{release}/modules.dep"), "kernel/a.ko.xz:\n");
    machine.write(
        "etc/framework.conf",
        "compress_xz_opts='-0 --check=sha256 --lzma2=dict=64KiB --block-list=1'\n",
    );
    let said = install(&machine, &["--no-depmod"]);
    assert!(
        said.contains("compress_xz_opts: --block-list=1 is not supported by this dkms"),
        "{said}"
    );
    let path = machine.path(&format!("modules/{release}/updates/dkms/hello.ko.xz"));
    let list = machine.run(&["xz", "--list", "-vv", &path.display().to_string()]);
    assert!(
        list.stdout.contains("SHA-256") && list.stdout.contains("dict=64KiB"),
        "{list:?}"
    );
    let status = machine.dkms(&["status"]).stdout;
    assert_eq!(
        status,
        format!("hello/1, {release}, {}: installed\n", std::env::consts::ARCH)
    );
}

#[test]
fn trees_and_jobs_come_from_the_settings_and_the_command_line_wins() {
    let machine = machine();
    machine.write(
        "etc/framework.conf",
        "# where things are\ndkms_tree=/var/lib/dkms/other\nsource_tree=\"/usr/src\"\nparallel_jobs=1\nverbose=1\n",
    );
    let said = install(&machine, &[]);
    assert!(
        said.contains("hello.ko") || said.contains("/lib/modules"),
        "verbose: {said}"
    );
    assert!(machine.path("dkms/other/hello/1/source").symlink_metadata().is_ok());
    let status = |words: &[&str]| machine.dkms(words).stdout.lines().count();
    assert_eq!(
        (status(&["status"]), status(&["status", "--dkmstree", "/var/lib/dkms"])),
        (1, 0)
    );
}

#[test]
fn a_deprecated_directive_is_told_and_the_package_is_built() {
    let machine = machine();
    Hello::quick("hello", "1")
        .with("REMAKE_INITRD=yes\nCLEAN='make clean'")
        .put(&machine);
    let said = install(&machine, &[]);
    for name in ["REMAKE_INITRD", "CLEAN"] {
        let expected = format!("dkms.conf: {name} is deprecated and has no effect");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn the_signing_key_is_made_once_and_modules_are_signed_with_it() {
    let machine = machine();
    let made = machine.dkms(&["generate_mok"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(
        made.stderr.contains("mokutil --import /var/lib/dkms/mok.pub"),
        "{}",
        made.stderr
    );
    let read = |name: &str| std::fs::read(machine.path(name)).expect("a file");
    let key = read("dkms/mok.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &machine.path("dkms/mok.key").metadata().expect("a file").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let certificate = machine.run(&[
        "openssl",
        "x509",
        "-inform",
        "DER",
        "-in",
        "/var/lib/dkms/mok.pub",
        "-noout",
        "-text",
    ]);
    for text in ["Public-Key: (2048 bit)", "Code Signing", "rsaEncryption"] {
        assert!(certificate.stdout.contains(text), "{certificate:?}");
    }
    assert_eq!(machine.dkms(&["generate_mok"]).code, 0);
    assert_eq!(read("dkms/mok.key"), key, "the key that may be enrolled stays");
    install(&machine, &[]);
    let module = format!("/lib/modules/{}/updates/dkms/hello.ko", inputs::kernels()[0]);
    let told = machine.run(&["modinfo", &module]).stdout;
    assert!(
        told.contains("DKMS module signing key") && told.contains("sha256"),
        "{told}"
    );
}

#[test]
fn keys_and_the_program_that_signs_are_the_machine_s_own_choice() {
    let machine = machine();
    machine.write("src/sign", "#!/bin/sh\nprintf '%s\\n' \"$@\" > /usr/src/signed\n");
    machine.make_executable("src/sign");
    machine.write(
        "etc/framework.conf",
        "sign_file=/usr/src/sign\nmok_signing_key='pkcs11:token=x;object=$kernelver'\nmok_certificate=\"/usr/src/x.der\"\n",
    );
    machine.write("src/x.der", "");
    install(&machine, &[]);
    let signed = std::fs::read_to_string(machine.path("src/signed")).expect("the program ran");
    let words: Vec<&str> = signed.lines().collect();
    let uri = format!("pkcs11:token=x;object={}", inputs::kernels()[0]);
    assert_eq!(words[..3], ["sha256", uri.as_str(), "/usr/src/x.der"]);
    assert!(words[3].ends_with("/hello.ko"), "{signed}");
    assert!(!machine.path("dkms/mok.key").exists(), "no key of our own is needed");
    std::fs::remove_file(machine.path("src/signed")).expect("removes");
    // A program that fails leaves the module unsigned, and that is told.
    machine.write(
        "src/sign",
        "#!/bin/sh\necho half > \"$4\"; echo no such token >&2; exit 1\n",
    );
    let said = install(&machine, &["--force", "--directive", "STRIP[0]=no"]);
    assert!(
        said.contains("hello.ko is not signed") && said.contains("no such token"),
        "{said}"
    );
    let module = format!("/lib/modules/{}/updates/dkms/hello.ko", inputs::kernels()[0]);
    assert_eq!(machine.run(&["modinfo", "-F", "name", &module]).stdout, "hello\n");
    machine.write("etc/framework.conf", "sign_file=/usr/src/sign\ntry_sign_modules=no\n");
    install(&machine, &["--force"]);
    assert!(!machine.path("src/signed").exists());
}

#[test]
fn a_machine_s_own_patches_scripts_and_directories_win() {
    let machine = machine();
    let make = "grep -q patched hello.c && printenv GREETING | grep -q hi && 'cp' prebuilt/$kernelver hello.ko";
    let conf = format!("PATCH[0]=name.patch\nPRE_INSTALL=note\nMAKE[0]=\"{make}\"");
    Hello::quick("hello", "1").with(conf.leak()).put(&machine);
    let patch = "--- a/hello.c\n+++ b/hello.c\n@@ -1 +1,2 @@\n // SPDX-License-Identifier: MIT\n+// patched\n";
    machine.write("src/hello-1/patches/name.patch", "this does not fit");
    machine.write("etc/hello/patches/name.patch", patch);
    machine.write("src/hello-1/note", "#!/bin/sh\nexit 1\n");
    machine.write("etc/hello/note", "#!/bin/sh\npwd > /usr/src/noted\n");
    machine.make_executable("src/hello-1/note");
    machine.make_executable("etc/hello/note");
    machine.write("etc/framework.conf", "build_environment=/etc/dkms/greeting\n");
    machine.write("etc/greeting", "echo x >> /usr/src/read\nexport GREETING=$(echo hi)\n");
    install(&machine, &["--directive", "DEST_MODULE_LOCATION[0]=/extra"]);
    let noted = std::fs::read_to_string(machine.path("src/noted")).expect("ran");
    assert_eq!(noted, "/etc/dkms/hello\n");
    let read = std::fs::read_to_string(machine.path("src/read")).expect("evaluated");
    assert_eq!(read, "x\n", "build_environment is evaluated once in a run");
    // ADDON_MODULES_DIR wins over the distribution's directory.
    let release = &inputs::kernels()[0];
    let line = format!("ADDON_MODULES_DIR=/extra/own dkms install hello/1 -k {release} --force");
    let outcome = machine.run(&["sh", "-c", &line]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(machine.path(&format!("modules/{release}/extra/own/hello.ko")).is_file());
    let outcome = machine.run(&["sh", "-c", "ADDON_MODULES_DIR=../../etc dkms status"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("hint: unset ADDON_MODULES_DIR"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn nothing_is_installed_by_itself_where_the_machine_says_so() {
    let machine = machine();
    assert_eq!(machine.dkms(&["add", "hello/1"]).code, 0);
    machine.write("etc/no-autoinstall", "");
    assert_eq!(machine.dkms(&["autoinstall", "-k", "all"]).code, 0);
    assert_eq!(machine.dkms(&["status"]).stdout, "hello/1: added\n");
    install(&machine, &[]);
}
