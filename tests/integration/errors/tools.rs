//! A machine that lacks what building takes: headers, a compiler, make.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dkms_tests::story::{Run, Story, in_namespace};

#[test]
fn a_kernel_whose_modules_depmod_has_not_listed_is_no_kernel_without_drivers() {
    let story = Story::with_driver();
    let aliases = format!("lib/modules/{}/modules.alias", story.kernel);
    fs::remove_file(story.path(&aliases)).expect("the image has it");
    let devices = story.device_list().display().to_string();
    for words in [&["devices"][..], &["--auto"]] {
        let words = [words, &["--kernel", &story.kernel, "--devices", &devices]].concat();
        story.run(&words).assert(1, &[&aliases, "hint: depmod -b /"]);
    }
    story.assert_nothing_half_done("edu");
}

#[test]
fn missing_headers_come_with_the_command_that_installs_them() {
    let story = Story::with_driver();
    // Kernels of the image whose headers are nowhere, as the distributions call them.
    let check = |os_release: &str, kernel: &str, command: &str| {
        story.write(&format!("lib/modules/{kernel}/modules.order"), "");
        story.write("etc/os-release", os_release);
        let devices = story.device_list().display().to_string();
        let run = story.run(&["--auto", "--kernel", kernel, "--devices", &devices]);
        run.assert(
            5,
            &[
                &format!("no headers of kernel {kernel} are installed"),
                &format!("hint: {command}"),
            ],
        );
        story.assert_nothing_half_done("edu");
        let status = story.run(&["status", "--json"]).document();
        assert_eq!(
            status["quarantined"].as_array().map(Vec::len),
            Some(0),
            "no package's fault"
        );
    };
    check(
        "ID=debian\n",
        "6.99.0-1-amd64",
        "apt-get install linux-headers-6.99.0-1-amd64",
    );
    check(
        "ID=ubuntu\nID_LIKE=debian\n",
        "6.99.0-31-generic",
        "apt-get install linux-headers-6.99.0-31-generic",
    );
    check(
        "ID=fedora\n",
        "6.99.7-200.fc40.x86_64",
        "dnf install kernel-devel-6.99.7-200.fc40.x86_64",
    );
    check(
        "ID=rocky\nID_LIKE=\"rhel centos fedora\"\n",
        "5.99.0-427.el9.x86_64",
        "dnf install kernel-devel-5.99.0-427.el9.x86_64",
    );
    check("ID=arch\n", "6.99.1-arch1-1", "pacman -S linux-headers");
    check("ID=arch\n", "6.99.30-1-lts", "pacman -S linux-lts-headers");
    check(
        "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n",
        "6.99.0-150600.21-default",
        "zypper install kernel-default-devel=6.99.0-150600.21",
    );
}

/// Runs `--auto` on a machine that has all our programs but these.
fn without(story: &Story, programs: &str) -> Run {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a directory for everybody");
    let script = format!(
        "cd '{}'; mkdir hide; for file in $(cd /usr/bin; ls -d {programs} 2>/dev/null); do mknod hide/$file c 0 0; done\n\
         mount -t overlay overlay -o lowerdir=$PWD/hide:/usr/bin /usr/bin; cd /; exec \"$@\"",
        dir.path().display()
    );
    Run::of(&mut in_namespace(&script, &story.auto_arguments(&[])))
}

#[test]
fn without_a_compiler_or_make_nothing_is_held_against_the_package() {
    let story = Story::with_driver();
    story.write("etc/os-release", "ID=debian\n");
    let check = |programs: &str, said: &[&str]| {
        let run = without(&story, programs);
        run.assert(5, said);
        assert!(!story.module("edu").exists());
        let status = story.run(&["status", "--json"]).document();
        assert_eq!(status["quarantined"].as_array().map(Vec::len), Some(0), "{programs}");
    };
    check(
        "gcc gcc-[0-9]* x86_64-linux-gnu-gcc* cc c99 c89",
        &[
            "no compiler is installed: kernel",
            "was built with gcc-12",
            "hint: apt-get install gcc-12",
        ],
    );
    check(
        "make gmake",
        &["the program make is not installed", "hint: apt-get install make"],
    );
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}
