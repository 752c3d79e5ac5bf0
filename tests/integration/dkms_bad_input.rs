//! Bad input and bad days: each has its exit code, says what and where and the way out, and loses nothing.

use dkms_tests::dkms::{Hello, Machine, Outcome, Program, Snapshot};
use dkms_tests::inputs;

const HELLO: Hello = Hello::quick("hello", "1");

fn machine() -> Machine {
    let machine = Machine::new(Program::Ours);
    inputs::kernels().iter().for_each(|release| machine.add_kernel(release));
    machine
}

/// A machine on which hello/1 is installed for the first kernel.
fn installed() -> Machine {
    let machine = machine();
    HELLO.put(&machine);
    dkms(&machine, "install hello/1 -k K1", 0, &[]);
    machine
}

fn words(line: &str) -> Vec<String> {
    let [k1, k2] = inputs::kernels();
    let words = line.split_whitespace();
    words.map(|word| word.replace("K1", &k1).replace("K2", &k2)).collect()
}

/// Runs `dkms` and asks for its exit code and for each of `said` on stderr; a failure must give a hint.
fn dkms(machine: &Machine, line: &str, code: i32, said: &[&str]) -> Outcome {
    let words = words(line);
    let outcome = machine.dkms(&words.iter().map(String::as_str).collect::<Vec<_>>());
    check(line, outcome, code, said)
}

/// The same for a shell line on the machine.
fn shell(machine: &Machine, line: &str, code: i32, said: &[&str]) -> Outcome {
    let [k1, k2] = inputs::kernels();
    let outcome = machine.run(&["sh", "-c", &line.replace("K1", &k1).replace("K2", &k2)]);
    check(line, outcome, code, said)
}

fn check(line: &str, outcome: Outcome, code: i32, said: &[&str]) -> Outcome {
    assert_eq!(outcome.code, code, "{line}\n{}{}", outcome.stdout, outcome.stderr);
    for text in said {
        assert!(
            outcome.stderr.contains(text),
            "{line}: no {text:?} in\n{}",
            outcome.stderr
        );
    }
    if code != 0 {
        assert!(
            outcome.stderr.contains("error: ") && outcome.stderr.contains("hint: "),
            "{line}\n{}",
            outcome.stderr
        );
    }
    assert!(!outcome.stderr.contains("panicked"), "{line}\n{}", outcome.stderr);
    outcome
}

/// What must be as it was: all but the files that only we look at.
fn kept(machine: &Machine) -> Snapshot {
    let mut snapshot = machine.snapshot();
    snapshot
        .0
        .retain(|path, _| !path.contains("/.") && !path.ends_with("/build"));
    snapshot
}

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
    for (conf, said) in hostile {
        HELLO.with(conf).put(&machine);
        dkms(&machine, "add hello/1", 8, &["/usr/src/hello-1/dkms.conf", said]);
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
    // What it does, and what is said about it. The first runs until its time is over, so all run side by side. One that forks
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
        for (conf, said) in hostile {
            scope.spawn(move || {
                let machine = machine();
                HELLO.with(conf).put(&machine);
                let before = kept(&machine);
                dkms(&machine, "add hello/1", 8, &["/usr/src/hello-1/dkms.conf", said]);
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

#[test]
fn what_cannot_be_read_is_named() {
    let machine = installed();
    let before = kept(&machine);
    // Root without its power over modes, as in a container or under a security policy.
    let weak = "setpriv --bounding-set=-dac_override,-dac_read_search dkms";
    shell(&machine, "chmod 0 /usr/src/hello-1/dkms.conf", 0, &[]);
    shell(
        &machine,
        &format!("{weak} build hello/1 -k K2"),
        4,
        &["/usr/src/hello-1/dkms.conf", "ermission denied"],
    );
    shell(
        &machine,
        "chmod 644 /usr/src/hello-1/dkms.conf; chmod 0 /var/lib/dkms/.lock",
        0,
        &[],
    );
    shell(
        &machine,
        &format!("{weak} build hello/1 -k K2"),
        1,
        &["/var/lib/dkms/.lock", "ermission denied"],
    );
    shell(
        &machine,
        "chmod 600 /var/lib/dkms/.lock; echo 'x=(' > /etc/dkms/framework.conf",
        0,
        &[],
    );
    dkms(&machine, "status", 1, &["/etc/dkms/framework.conf"]);
    shell(&machine, "rm /etc/dkms/framework.conf; chmod 0 /var/lib/dkms", 0, &[]);
    shell(
        &machine,
        &format!("{weak} status"),
        1,
        &["/var/lib/dkms", "ermission denied"],
    );
    shell(
        &machine,
        &format!("{weak} build hello/1 -k K2"),
        1,
        &["/var/lib/dkms", "ermission denied"],
    );
    shell(&machine, "chmod 755 /var/lib/dkms", 0, &[]);
    assert_eq!(kept(&machine), before);
    // A file where a directory belongs.
    machine.write("file", "");
    dkms(&machine, "status --dkmstree file", 1, &["file", "ot a directory"]);
    dkms(&machine, "build hello/1 -k K1 --dkmstree file", 1, &["file"]);
}

#[test]
fn a_read_only_tree_is_shown_and_not_written() {
    let machine = installed();
    let before = kept(&machine);
    let said = shell(
        &machine,
        "mount -o remount,bind,ro /var/lib/dkms; dkms status; dkms build hello/1 -k K2",
        1,
        &[
            "/var/lib/dkms",
            "ead-only file system",
            "findmnt --target /var/lib/dkms",
        ],
    );
    assert!(said.stdout.contains(": installed"), "{}", said.stdout);
    // Only the kernel's modules: the build is kept, and nothing is called installed.
    let read_only = "mount --bind /lib/modules/K2 /lib/modules/K2; mount -o remount,bind,ro /lib/modules/K2";
    shell(
        &machine,
        &format!("{read_only}; dkms install hello/1 -k K2"),
        1,
        &["/lib/modules/", "ead-only file system", "findmnt"],
    );
    let [k1, k2] = inputs::kernels();
    let status = dkms(&machine, "status", 0, &[]).stdout;
    let arch = std::env::consts::ARCH;
    assert_eq!(
        status,
        format!("hello/1, {k1}, {arch}: installed\nhello/1, {k2}, {arch}: built\n")
    );
    dkms(&machine, "unbuild hello/1 -k K2", 0, &[]);
    assert_eq!(kept(&machine), before);
}

#[test]
fn a_full_disk_keeps_what_was_there() {
    let machine = installed();
    let before = kept(&machine);
    let arch = std::env::consts::ARCH;
    let [k1, k2] = inputs::kernels();
    // The tree, on a file system with hardly any room left. What was there must be there afterwards, and work once there is room.
    let story = "
        mkdir tmp/full; mount -t tmpfs -o size=2m tmpfs tmp/full; cp -a dkms/. tmp/full/; mount --move tmp/full /var/lib/dkms
        cat /dev/zero > /var/lib/dkms/.ballast 2>/dev/null
        dkms build hello/1 -k K1 --force; echo code $?
        dkms install hello/1 -k K2; echo code $?
        dkms status
        rm /var/lib/dkms/.ballast
        dkms install hello/1 -k K2; echo code $?
        dkms status
        dkms remove hello/1 -k K2; echo code $?
        diff -r dkms /var/lib/dkms | grep -v 'dkms.*: \\.'; true";
    let said = shell(
        &machine,
        story,
        0,
        &["No space left on device", "hint: df /var/lib/dkms"],
    );
    let installed = |release: &str| format!("hello/1, {release}, {arch}: installed\n");
    let expected = format!(
        "code 10\ncode 10\n{one}code 0\n{one}{two}code 0\n",
        one = installed(&k1),
        two = installed(&k2)
    );
    assert_eq!(said.stdout, expected, "{}", said.stderr);

    // The kernel's modules: room for nothing.
    let story = "
        mkdir -p /lib/modules/K2/updates; mount -t tmpfs -o size=4k tmpfs /lib/modules/K2/updates
        dkms install hello/1 -k K2; echo code $?; find /lib/modules/K2/updates -type f; umount /lib/modules/K2/updates
        rmdir /lib/modules/K2/updates";
    let said = shell(
        &machine,
        story,
        0,
        &["No space left on device", "hint: df /lib/modules"],
    );
    assert_eq!(said.stdout, "code 1\n", "{}", said.stderr);
    dkms(&machine, "unbuild hello/1 -k K2", 0, &[]);
    assert_eq!(kept(&machine), before);
}

#[test]
fn what_a_killed_add_left_is_swept_by_the_next() {
    let machine = machine();
    HELLO.put(&machine);
    // Many files, so that it is met while it copies.
    let story = "
        mv /usr/src/hello-1 new; (cd new; seq 3000 | split -l 1 -a 3 - part)
        dkms add new & add=$!
        while set -- /usr/src/.dkms-add-*; ! [ -d $1/new ]; do kill -0 $add || exit 1; done
        kill -9 $add; wait $add; echo code $?; ls -A /usr/src | sed 's/add-.*/add-X/'
        dkms add new; echo code $?; ls -A /usr/src";
    let said = shell(&machine, story, 0, &[]);
    assert_eq!(
        said.stdout, "code 137\n.dkms-add-X\ncode 0\nhello-1\n",
        "{}",
        said.stderr
    );
    let files = std::fs::read_dir(machine.path("src/hello-1"))
        .expect("the source")
        .count();
    assert_eq!(
        files,
        std::fs::read_dir(machine.path("new")).expect("the original").count()
    );
}

#[test]
fn another_writer_is_waited_for_and_readers_are_not_kept() {
    let machine = installed();
    // Whoever holds the lock is killed: its lock goes with it, and what it left half done is cleared away.
    let story = "
        flock /var/lib/dkms/.lock sh -c 'echo $$ > tmp/holder; exec sleep 60' &
        while ! [ -s tmp/holder ]; do sleep 0.05; done
        mkdir -p /var/lib/dkms/.work/left-over
        dkms status; echo code $?
        dkms build hello/1 -k K2 --verbose & writer=$!
        sleep 0.3; kill -0 $writer && echo waits
        kill -9 $(cat tmp/holder); wait $writer; echo code $?; ls -A /var/lib/dkms/.work 2>/dev/null; true";
    let said = shell(&machine, story, 0, &["waiting for another dkms on /var/lib/dkms"]);
    let release = &inputs::kernels()[0];
    let installed = format!("hello/1, {release}, {}: installed\n", std::env::consts::ARCH);
    assert_eq!(
        said.stdout,
        format!("{installed}code 0\nwaits\ncode 0\n"),
        "{}",
        said.stderr
    );
}
