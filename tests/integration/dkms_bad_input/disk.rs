//! Unreadable files, read-only and full disks, and other writers.

use super::*;

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
    let outcome = shell(
        &machine,
        "mount -o remount,bind,ro /var/lib/dkms; dkms status; dkms build hello/1 -k K2",
        1,
        &[
            "/var/lib/dkms",
            "ead-only file system",
            "findmnt --target /var/lib/dkms",
        ],
    );
    assert!(outcome.stdout.contains(": installed"), "{}", outcome.stdout);
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
        diff -r -x .sandbox dkms /var/lib/dkms | grep -v 'dkms.*: \\.'; true";
    let outcome = shell(
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
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);

    // The kernel's modules: room for nothing.
    let story = "
        mkdir -p /lib/modules/K2/updates; mount -t tmpfs -o size=4k tmpfs /lib/modules/K2/updates
        dkms install hello/1 -k K2; echo code $?; find /lib/modules/K2/updates -type f; umount /lib/modules/K2/updates
        rmdir /lib/modules/K2/updates";
    let outcome = shell(
        &machine,
        story,
        0,
        &["No space left on device", "hint: df /lib/modules"],
    );
    assert_eq!(outcome.stdout, "code 1\n", "{}", outcome.stderr);
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
    let outcome = shell(&machine, story, 0, &[]);
    assert_eq!(
        outcome.stdout, "code 137\n.dkms-add-X\ncode 0\nhello-1\n",
        "{}",
        outcome.stderr
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
    let outcome = shell(&machine, story, 0, &["waiting for another dkms on /var/lib/dkms"]);
    let release = &inputs::kernels()[0];
    let installed = format!("hello/1, {release}, {}: installed\n", std::env::consts::ARCH);
    assert_eq!(
        outcome.stdout,
        format!("{installed}code 0\nwaits\ncode 0\n"),
        "{}",
        outcome.stderr
    );
}
