//! A medium for Anaconda: label and contents as the installer looks for them (`dracut/driver_updates.py` and `kickstart-genrules.sh` of Anaconda).

use std::fs;
use std::process::Command;

use dkms_tests::process::{run, succeeds};
use dkms_tests::{inputs, sources};

use super::{example, text};

#[test]
fn the_installer_finds_drivers_and_kickstart_by_the_label() {
    let dir = tempfile::tempdir().expect("a directory");
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).expect("a directory");
    let tool = assert_cmd::cargo::cargo_bin("dkms-repo");
    std::os::unix::fs::symlink(tool, bin.join("dkms-repo")).expect("a link");
    let [kernel, _] = inputs::kernels();
    let (image, kickstart) = (dir.path().join("oemdrv.iso"), example("kickstart/dkms-fetch.ks"));
    let make = |kernel: &str| {
        Command::new(example("kickstart/make-oemdrv"))
            .args([&image, &kickstart, &sources::own("edu")])
            .arg("--root")
            .arg(inputs::kernel_root(&inputs::kernels()[0]))
            .args(["--kernel", kernel])
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()))
            .env("TMPDIR", dir.path())
            .output()
            .expect("it runs")
    };
    // Without a driver there is no medium.
    let failed = make("5.0.0-none");
    assert!(!failed.status.success() && !image.exists(), "{}", text(&failed));
    let made = make(&kernel);
    assert!(made.status.success(), "{}", text(&made));
    let left: Vec<_> = fs::read_dir(dir.path()).expect("a directory").flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");

    // udev makes /dev/disk/by-label of this.
    let probed = |tag: &str| {
        let mut blkid = Command::new("blkid");
        run(blkid
            .args(["-p", "-o", "value", "-s", tag])
            .arg(&image)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin"))
    };
    assert_eq!((probed("LABEL").trim(), probed("TYPE").trim()), ("OEMDRV", "iso9660"));

    let there = dir.path().join("there");
    let mut xorriso = Command::new("xorriso");
    xorriso.arg("-indev").arg(&image);
    succeeds(xorriso.args(["-osirrox", "on", "-extract", "/"]).arg(&there));
    // A directory counts that has a file rhdd3 and rpms/ARCH beside it; in that, each *.rpm.
    assert!(there.join("rhdd3").is_file());
    let packages = there.join("rpms").join(std::env::consts::ARCH);
    assert!(packages.join("repodata/repomd.xml").is_file());
    let rpms: Vec<_> = glob::glob(&packages.join("*.rpm").display().to_string())
        .expect("a pattern")
        .map(|path| path.expect("a path"))
        .collect();
    let [package] = &rpms[..] else { panic!("{rpms:?}") };
    // It is for the kernel of the installer, which takes what is below lib/modules and loads what has the suffix.
    let query = |what: &str| {
        let mut rpm = Command::new("rpm");
        rpm.arg("--dbpath").arg(dir.path().join("database"));
        run(rpm.args(["--query", "--package", what]).arg(package))
    };
    let provides = query("--provides");
    assert!(provides.contains(&format!("kernel-modules = {kernel}\n")), "{provides}");
    let files = query("--list");
    let module = format!("/lib/modules/{kernel}/extra/qemu-edu/qemu_edu.ko");
    assert!(files.lines().any(|file| file == module), "{files}");

    // Where the command line names no Kickstart file, /ks.cfg of the volume is one.
    let found = fs::read(there.join("ks.cfg")).expect("a file");
    assert_eq!(found, fs::read(&kickstart).expect("readable"));
}
