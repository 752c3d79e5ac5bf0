//! Confs that are broken, hostile or use too much.

use super::*;

#[test]
fn a_conf_that_is_no_bash_is_shown_with_a_caret() {
    let machine = machine();
    HELLO.with("if true\nfi").put(&machine);
    let place = "/usr/src/hello-1/dkms.conf line 9: syntax error near unexpected token `fi'";
    let caret = "9 | fi\n  | ^\n";
    dkms(
        &machine,
        "add hello/1",
        8,
        &[place, caret, "hint: bash -n /usr/src/hello-1/dkms.conf"],
    );
    assert_eq!(kept(&machine).files("dkms").count(), 0, "nothing was added");

    // The same in a package that is in the tree already, and in an override.
    HELLO.put(&machine);
    dkms(&machine, "install hello/1 -k K1", 0, &[]);
    let before = kept(&machine);
    machine.write("etc/hello.conf", "A=(\n");
    let place = "/etc/dkms/hello.conf line";
    dkms(&machine, "build hello/1 -k K1 --force", 8, &[place, " | "]);
    dkms(&machine, "install hello/1 -k K1 --force", 8, &[place, " | "]);
    dkms(&machine, "autoinstall -k K2", 11, &[place]);
    assert_eq!(kept(&machine), before);
    dkms(&machine, "remove hello/1 --all", 0, &[]);
}

#[test]
fn everything_that_a_conf_lacks_is_told_at_once() {
    let machine = machine();
    machine.write("src/empty-1/dkms.conf", "# nothing\n");
    machine.write("src/empty-1/Makefile", "");
    let all = ["PACKAGE_NAME", "PACKAGE_VERSION"];
    dkms(&machine, "add empty/1", 8, &all);
    dkms(&machine, "add src/empty-1", 8, &all);
    assert_eq!(kept(&machine).files("dkms").count(), 0);
}

#[test]
fn no_name_leads_out_of_its_directory() {
    let machine = machine();
    let before = kept(&machine);
    for line in [
        "add -m hello -v ../1",
        "add -m .. -v 1",
        "build hello/1/2 -k K1",
        "remove hello/.. --all",
        "status -m ../x",
        "build hello/1 -k ../../tmp",
        "build hello/1 -k K1 -a a/b",
        "match --templatekernel ../x -k K1",
        "kernel_prerm -k ..",
    ] {
        dkms(&machine, line, 1, &[]);
    }
    dkms(&machine, "add ../../etc/1", 2, &["no such directory"]);
    let values = [
        ("PACKAGE_NAME=../hello", "PACKAGE_NAME"),
        ("PACKAGE_VERSION=1/../../x", "PACKAGE_VERSION"),
        ("BUILT_MODULE_NAME[0]=../../hello", "BUILT_MODULE_NAME"),
        ("DEST_MODULE_NAME[0]=../../../../etc/hello", "DEST_MODULE_NAME"),
        ("BUILT_MODULE_LOCATION[0]=../../..", "BUILT_MODULE_LOCATION"),
        ("DEST_MODULE_LOCATION[0]=/updates/../../../etc", "DEST_MODULE_LOCATION"),
        ("DEST_MODULE_LOCATION[0]=/etc", "DEST_MODULE_LOCATION"),
    ];
    for (conf, directive) in values {
        HELLO.with(conf).put(&machine);
        dkms(&machine, "add src/hello-1", 8, &[directive]);
    }
    std::fs::remove_dir_all(machine.path("src/hello-1")).expect("removes");
    assert_eq!(kept(&machine), before, "nothing was added anywhere");
}

#[test]
fn values_meant_for_a_shell_do_nothing_but_fail() {
    let machine = machine();
    let hostile = [
        ("DEST_MODULE_NAME[0]='a;touch /usr/src/owned'", "cannot be a name"),
        ("DEST_MODULE_NAME[0]=$'a\\nb'", "cannot be a name"),
        ("AUTOINSTALL='yes; touch /usr/src/owned'", "it must be yes or no"),
        ("MAKE[0]='\"; touch /usr/src/owned'", "do not pair up"),
        ("exit 0", "it calls exit"),
        ("kill -9 $BASHPID", "it was ended by SIGKILL"),
    ];
    for (conf, expected) in hostile {
        HELLO.with(conf).put(&machine);
        dkms(&machine, "add hello/1", 8, &["/usr/src/hello-1/dkms.conf", expected]);
    }
    // A conf is bash: what it runs, it runs as nobody, and as much as it likes to say is cut off.
    HELLO
        .with("NAME='$(touch /usr/src/owned)'\nBUILT_MODULE_NAME[0]=$NAME\nyes /usr/src/owned | head -c 20000000 >&2")
        .put(&machine);
    dkms(&machine, "add hello/1", 0, &[]);
    dkms(&machine, "remove hello/1 --all", 0, &[]);
    // Names with blanks and wildcards in a script's line are words for it, no more.
    HELLO.with("POST_ADD='run * $(touch /usr/src/owned) ;'").put(&machine);
    machine.write("src/hello-1/run", "#!/bin/sh\necho \"$#\" > /usr/src/words\n");
    machine.make_executable("src/hello-1/run");
    dkms(&machine, "add hello/1", 0, &[]);
    assert_eq!(std::fs::read_to_string(machine.path("src/words")).expect("ran"), "2\n");
    assert!(!machine.path("src/owned").exists());
}

#[test]
fn a_conf_that_takes_all_it_can_get_is_ended() {
    // What it does, and what is expected about it. The first runs until its time is over, so all run side by side. One that forks
    // without end is in tests/alone.
    let hostile = [
        ("while :; do :; done", "it was still running after 20 s"),
        (
            "while :; do printf '%01000000d\\n' 0 >&2; done",
            "it printed more than 65536 KiB; it said: 0",
        ),
        (
            "PACKAGE_NAME=$(head -c 100000000 /dev/zero | tr '\\0' a)",
            "PACKAGE_NAME is longer than a megabyte",
        ),
    ];
    std::thread::scope(|scope| {
        for (conf, expected) in hostile {
            scope.spawn(move || {
                let machine = machine();
                HELLO.with(conf).put(&machine);
                let before = kept(&machine);
                dkms(&machine, "add hello/1", 8, &["/usr/src/hello-1/dkms.conf", expected]);
                assert_eq!(kept(&machine), before, "{conf}");
                assert_unharmed(&machine, conf);
            });
        }
    });
}

#[test]
fn a_conf_leaves_no_process_behind() {
    let machine = machine();
    HELLO.put(&machine);
    // It leaves its process group, and carries the machine's name.
    let name = machine.path("").display().to_string();
    let daemon = format!("setsid bash -c 'while :; do sleep 1; done' {name} &\n");
    let conf = std::fs::read_to_string(machine.path("src/hello-1/dkms.conf")).expect("conf");
    machine.write("src/hello-1/dkms.conf", conf + &daemon);
    dkms(&machine, "add hello/1", 0, &[]);
    dkms(&machine, "remove hello/1 --all", 0, &[]);
    assert_unharmed(&machine, &daemon);
}

/// Nothing runs on `machine` any more, and it installs a good package.
fn assert_unharmed(machine: &Machine, after: &str) {
    let name = machine.path("").display().to_string();
    let entries = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let running: Vec<_> = entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&name))
        .collect();
    assert_eq!(running, [""; 0], "{after}");
    std::fs::remove_dir_all(machine.path("src/hello-1")).expect("removes");
    HELLO.put(machine);
    dkms(machine, "add hello/1", 0, &[]);
}
