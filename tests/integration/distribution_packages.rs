//! `mkdeb` and `mkrpm`: what the distributions' own tools read in the packages, and what both dkms programs make of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_engine::hooks::FILES;
use dkms_index::document::manifest::Manifest;
use dkms_tests::dkms::{Machine, Program};
use dkms_tests::process::{packager, run};
use dkms_tests::repo::TestRepo;
use dkms_tests::{inputs, sources};

/// A source with device tables of several buses, and all that is unusual in a package.
fn source(dir: &Path) -> PathBuf {
    let source = dir.join("Odd_Driver");
    fs::create_dir_all(source.join("sub/empty")).expect("created");
    let write = |name: &str, text: &str| fs::write(source.join(name), text).expect("written");
    write(
        "dkms.conf",
        "PACKAGE_NAME=Odd_Driver\nPACKAGE_VERSION=v1.0_rc1\nBUILT_MODULE_NAME=odd\nDEST_MODULE_LOCATION=/updates\n\
         BUILD_DEPENDS=other\nAUTOINSTALL=yes\n",
    );
    write("Makefile", "obj-m := odd.o\n");
    write(
        "odd.c",
        r#"#include <linux/module.h>
#include <linux/pci.h>
#include <linux/acpi.h>
#include <linux/of.h>
static const struct pci_device_id odd_pci[] = { { PCI_DEVICE(0x10ec, 0x8168) }, { } };
MODULE_DEVICE_TABLE(pci, odd_pci);
static const struct acpi_device_id odd_acpi[] = { { "PNP0C09", 0 }, { } };
MODULE_DEVICE_TABLE(acpi, odd_acpi);
static const struct of_device_id odd_of[] = { { .compatible = "vendor,chip" }, { } };
MODULE_DEVICE_TABLE(of, odd_of);
MODULE_LICENSE("GPL");
"#,
    );
    let long = format!("{}/file with a name", "directory/".repeat(12));
    fs::create_dir_all(source.join(&long).parent().expect("a directory")).expect("created");
    write(&long, "text\n");
    write("sub/configure", "#!/bin/sh\n");
    std::os::unix::fs::symlink("../odd.c", source.join("sub/link.c")).expect("linked");
    source
}

#[test]
fn debian_tools_read_the_package() {
    let dir = sources::open_tempdir();
    let source = source(dir.path());
    let out = dir.path().join("out");
    let make = |out: &Path, epoch: Option<&str>| {
        let mut command = packager(&["mkdeb", source.to_str().expect("UTF-8"), "--out"]);
        command.arg(out).args(["--maintainer", "A B <a@example.org>"]);
        if let Some(epoch) = epoch {
            command.env("SOURCE_DATE_EPOCH", epoch);
        }
        run(&mut command)
    };
    let printed = make(&out, None);
    let deb = out.join("odd-driver-dkms_1.0.rc1-1_all.deb");
    assert_eq!(printed.trim_end(), deb.display().to_string());
    let bytes = fs::read(&deb).expect("readable");
    make(&out, None);
    assert_eq!(fs::read(&deb).expect("readable"), bytes, "the same bytes a second time");
    make(&out, Some("1600000000"));
    assert_ne!(fs::read(&deb).expect("readable"), bytes, "the time is another one");

    let field = |name: &str| {
        let text = run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name));
        text.trim_end().to_owned()
    };
    assert_eq!(field("Package"), "odd-driver-dkms");
    assert_eq!(field("Maintainer"), "A B <a@example.org>");
    assert_eq!(field("Depends"), "dkms (>= 2.1.0.0)");
    assert_eq!(field("Recommends"), "other-dkms");
    assert_eq!(
        field("Modaliases"),
        "odd(acpi:PNP0C09:*, of:N*T*Cvendor?chip, of:N*T*Cvendor?chipC*, pci:v000010ECd00008168sv*sd*bc*sc*i*)"
    );
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(&deb));
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    assert!(
        listed.contains(" 2020-09-13 12:26 ./usr/src/Odd_Driver-v1.0_rc1/\n"),
        "{listed}"
    );

    // What dpkg unpacks is the source, and what dpkg would verify is right.
    let unpacked = dir.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(&deb).arg(&unpacked));
    let there = unpacked.join("usr/src/Odd_Driver-v1.0_rc1");
    run(Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(&source)
        .arg(&there));
    run(Command::new("md5sum")
        .args(["--check", "--quiet", "--strict", "DEBIAN/md5sums"])
        .current_dir(&unpacked));
    run(Command::new("sh").arg("-n").arg(unpacked.join("DEBIAN/postinst")));
    run(Command::new("sh").arg("-n").arg(unpacked.join("DEBIAN/prerm")));
    run(Command::new("gzip")
        .arg("--test")
        .arg(unpacked.join("usr/share/doc/odd-driver-dkms/changelog.Debian.gz")));
    run(Command::new("dpkg-parsechangelog").arg("-l").arg({
        let changelog = unpacked.join("changelog");
        let zipped = unpacked.join("usr/share/doc/odd-driver-dkms/changelog.Debian.gz");
        fs::write(&changelog, run(Command::new("zcat").arg(zipped))).expect("written");
        changelog
    }));
    // apt's own reader keeps the field.
    let packages = run(Command::new("apt-ftparchive").args(["packages", "."]).current_dir(&out));
    assert!(packages.contains("\nModaliases: odd(acpi:PNP0C09:*, of:"), "{packages}");
}

/// Reads the field by the rules of ubuntu-drivers, and matches with the matcher that it uses.
const UBUNTU_DRIVERS: &str = r#"
import fnmatch, re, sys
field, device = sys.argv[1:]
patterns = {}
for part in field.split(")"):
    part = part.strip(", ")
    if part:
        module, aliases = part.split("(")
        for alias in aliases.split(","):
            alias = alias.strip()
            patterns.setdefault(alias.split(":", 1)[0], []).append((alias, module))
ours = patterns.get(device.split(":", 1)[0], [])
for alias, _ in ours:
    re.compile(fnmatch.translate(alias), re.IGNORECASE)
print(" ".join(sorted({module for alias, module in ours if fnmatch.fnmatchcase(device.lower(), alias.lower())})))
"#;

#[test]
fn a_device_finds_its_package_as_ubuntu_drivers_looks_for_it() {
    let dir = sources::open_tempdir();
    let source = source(dir.path());
    run(packager(&["mkdeb", source.to_str().expect("UTF-8"), "--out"]).arg(dir.path()));
    let deb = dir.path().join("odd-driver-dkms_1.0.rc1-1_all.deb");
    let field = run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg("Modaliases"));
    let found = |device: &str| {
        let found = run(Command::new(inputs::python()).args(["-c", UBUNTU_DRIVERS, field.trim_end(), device]));
        found.trim_end() == "odd"
    };
    assert!(found("pci:v000010ECd00008168sv00001458sd0000E000bc02sc00i00"));
    assert!(found("acpi:PNP0C09:PNP0A05:"));
    assert!(found("of:NchipT(null)Cvendor,chip"));
    assert!(!found("pci:v000010ECd00008169sv00001458sd0000E000bc02sc00i00"));
    assert!(!found("usb:v10ECp8168d0000dc00dsc00dp00ic00isc00ip00in00"));
}

#[test]
fn rpm_reads_and_verifies_the_package() {
    let dir = sources::open_tempdir();
    let source = source(dir.path());
    let make = || run(packager(&["mkrpm", source.to_str().expect("UTF-8"), "--out"]).arg(dir.path()));
    let printed = make();
    let file = dir.path().join("Odd_Driver-dkms-1.0_rc1-1.noarch.rpm");
    assert_eq!(printed.trim_end(), file.display().to_string());
    let bytes = fs::read(&file).expect("readable");
    make();
    assert_eq!(
        fs::read(&file).expect("readable"),
        bytes,
        "the same bytes a second time"
    );

    let database = dir.path().join("database");
    let rpm = |words: &[&str]| {
        let mut command = Command::new("rpm");
        command.arg("--dbpath").arg(&database).args(words);
        command
    };
    let query = |what: &str| run(rpm(&["--query", "--package", what]).arg(&file));
    let patterns = [
        "modalias(acpi*%3APNP0C09%3A*)",
        "modalias(of:N*T*Cvendor%2Cchip)",
        "modalias(of:N*T*Cvendor%2CchipC*)",
        "modalias(pci:v000010ECd00008168sv*sd*bc*sc*i*)",
    ];
    let supplements = query("--supplements");
    assert_eq!(supplements.lines().collect::<Vec<_>>(), patterns);
    let provides = query("--provides");
    assert!(
        supplements
            .lines()
            .all(|name| provides.lines().any(|line| line == name)),
        "{provides}"
    );
    assert!(query("--requires").lines().any(|line| line == "dkms"));
    assert_eq!(query("--recommends"), "other-dkms\n");
    let checked = run(rpm(&["--checksig", "--verbose"]).arg(&file));
    assert!(
        checked.contains("Header SHA256 digest: OK") && checked.contains("Payload SHA256 digest: OK"),
        "{checked}"
    );

    // Installed into an empty root it is the source, and rpm finds nothing changed.
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("created");
    let installed = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "rpm", "--dbpath", "/rpm", "--root"]);
        command.arg(&root).args(words);
        command
    };
    run(installed(&["--install", "--nodeps", "--noscripts"]).arg(&file));
    let there = root.join("usr/src/Odd_Driver-v1.0_rc1");
    run(Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(&source)
        .arg(&there));
    assert_eq!(run(&mut installed(&["--verify", "--nodeps", "Odd_Driver-dkms"])), "");
    fs::write(there.join("odd.c"), "changed").expect("written");
    let changed = installed(&["--verify", "--nodeps", "Odd_Driver-dkms"])
        .output()
        .expect("rpm runs");
    assert!(
        String::from_utf8_lossy(&changed.stdout).contains("odd.c"),
        "rpm does verify"
    );
}

/// Installed by dpkg, upgraded and purged; the module is built by Debian's dkms and by ours.
#[test]
fn both_dkms_build_the_package() {
    let edu = sources::own("edu");
    let dir = sources::open_tempdir();
    for revision in ["1", "2"] {
        let words = ["mkdeb", edu.to_str().expect("UTF-8"), "--revision", revision, "--out"];
        run(packager(&words).arg(dir.path()));
    }
    let deb = |revision: &str| dir.path().join(format!("qemu-edu-dkms_1.0-{revision}_all.deb"));
    for program in [Program::Debian, Program::Ours] {
        let machine = machine_with_dpkg(program);
        let dpkg = |words: &[&str]| {
            let script =
                "mount --bind doc /usr/share/doc; exec dpkg --admindir=\"$PWD/dpkg\" --log=\"$PWD/dpkg.log\" \"$@\"";
            let outcome = machine.run(&[&["sh", "-ec", script, "dpkg"], words].concat());
            assert_eq!(
                outcome.code, 0,
                "{program:?} {words:?}\n{}{}",
                outcome.stdout, outcome.stderr
            );
        };
        let state = || machine.dkms(&["status"]).stdout;
        let [kernel, _] = inputs::kernels();
        let installed = format!("qemu-edu/1.0, {kernel}, {}: installed\n", std::env::consts::ARCH);
        dpkg(&["--install", deb("1").to_str().expect("UTF-8")]);
        assert_eq!(state(), installed, "{program:?}");
        assert!(machine.path("src/qemu-edu-1.0/dkms.conf").is_file());
        dpkg(&["--install", deb("2").to_str().expect("UTF-8")]);
        assert_eq!(state(), installed, "{program:?} after an upgrade");
        dpkg(&["--purge", "qemu-edu-dkms"]);
        assert_eq!(state(), "", "{program:?}");
        assert!(!machine.path("src/qemu-edu-1.0").exists());
    }
}

/// The scripts of the .rpm, as rpm calls them: installed, upgraded to a newer release of the same version, removed.
#[test]
fn the_scripts_of_the_rpm_build_upgrade_and_remove() {
    let dir = sources::open_tempdir();
    let edu = sources::own("edu");
    run(packager(&["mkrpm", edu.to_str().expect("UTF-8"), "--out"]).arg(dir.path()));
    let file = dir.path().join("qemu-edu-dkms-1.0-1.noarch.rpm");
    let script = |tag: &str| {
        let database = dir.path().join("database");
        let mut rpm = Command::new("rpm");
        rpm.arg("--dbpath")
            .arg(database)
            .args(["--query", "--package", "--queryformat"]);
        run(rpm.arg(format!("%{{{tag}}}")).arg(&file))
    };
    for program in [Program::Debian, Program::Ours] {
        let machine = machine_with_dpkg(program);
        machine.write("post", script("POSTIN"));
        machine.write("preun", script("PREUN"));
        let source = machine.path("src/qemu-edu-1.0");
        run(Command::new("cp").arg("-r").arg(&edu).arg(&source));
        // One process is one transaction: rpm is the parent of both scripts.
        let transaction = |scripts: &str| {
            let outcome = machine.run(&["sh", "-ec", scripts]);
            assert_eq!(outcome.code, 0, "{program:?}\n{}{}", outcome.stdout, outcome.stderr);
            machine.dkms(&["status"]).stdout
        };
        let [kernel, _] = inputs::kernels();
        let installed = format!("qemu-edu/1.0, {kernel}, {}: installed\n", std::env::consts::ARCH);
        assert_eq!(transaction("sh post 1; true"), installed, "{program:?}");
        assert_eq!(
            transaction("sh post 2; sh preun 1; true"),
            installed,
            "{program:?} after an upgrade"
        );
        assert_eq!(transaction("sh preun 0; true"), "", "{program:?}");
    }
}

/// A machine with one kernel, an empty database of dpkg in which dkms is installed, and the script that *-dkms packages call.
fn machine_with_dpkg(program: Program) -> Machine {
    let machine = Machine::new(program);
    machine.add_kernel(&inputs::kernels()[0]);
    let script = match program {
        Program::Debian | Program::Upstream => {
            let path = program.path().with_file_name("../lib/dkms/common.postinst");
            fs::read_to_string(path).expect("readable")
        }
        Program::Ours => {
            let ours = FILES.iter().find(|file| file.path == "usr/lib/dkms/common.postinst");
            ours.expect("it is one of ours").text.to_owned()
        }
    };
    machine.write_program("hooks/common.postinst", &script);
    machine.write("doc/.empty", "");
    machine.write("dpkg/info/format", "1\n");
    machine.write("dpkg/info/dkms.list", "/.\n");
    machine.write("dpkg/updates/.empty", "");
    fs::remove_file(machine.path("dpkg/updates/.empty")).expect("removed");
    machine.write(
        "dpkg/status",
        "Package: dkms\nStatus: install ok installed\nMaintainer: a <a@example.org>\nArchitecture: all\n\
         Version: 3.0.10-8\nDescription: dkms\n\n",
    );
    machine
}

/// Packages of the repository: the newest version where none is named, patterns of built modules, needs as dependencies.
#[test]
fn versions_of_the_repository_become_packages() {
    let repo = TestRepo::with_packages().expect("a repository");
    let path = repo.repository.path().to_owned();
    let source = |name: &str, version: &str, more: &str| {
        let dir = repo.scratch().join(format!("{name}-{version}"));
        fs::create_dir(&dir).expect("created");
        let conf = format!(
            "PACKAGE_NAME={name}\nPACKAGE_VERSION={version}\nBUILT_MODULE_NAME={name}\nDEST_MODULE_LOCATION=/updates\n{more}"
        );
        fs::write(dir.join("dkms.conf"), conf).expect("written");
        run(packager(&["add", "-C"]).arg(&path).arg(&dir));
    };
    source("low", "1.9", "");
    source("low", "1.10", "");
    source("high", "1", "BUILD_DEPENDS=low\n");
    let out = repo.scratch().join("out");
    let json = run(packager(&["mkdeb", "--json", "low", "high@1", "-C"])
        .arg(&path)
        .arg("--out")
        .arg(&out));
    let made: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(made[0]["package_version"], "1.10-1");
    assert_eq!(made[1]["notes"], serde_json::json!([]));
    let depends = run(Command::new("dpkg-deb")
        .arg("--field")
        .arg(out.join("high-dkms_1-1_all.deb"))
        .arg("Depends"));
    assert_eq!(depends, "dkms (>= 2.1.0.0), low-dkms\n");

    let fails = |words: &[&str], code: i32, expected: &str| {
        let output = packager(words).arg("-C").arg(&path).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected) && said.contains("hint: "), "{said}");
    };
    fails(&["mkdeb", "low@7"], 1, "low@7 is not in the repository");
    fails(&["mkdeb", "./nowhere"], 1, "hint: check the path\n");
    fails(
        &["mkdeb", "low", "--maintainer", "nobody"],
        1,
        "the maintainer \"nobody\" has no address",
    );
    fails(&["mkrpm", "./nothing"], 1, "cannot read \"./nothing\"");
    let output = packager(&["mkdeb", "low", "--revision", "1-2"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let bundle = manifest(&path, "low", "1.9").bundle.sha256;
    let file = path.join("bundles/sha256").join(&bundle[..2]).join(&bundle);
    fs::write(&file, "damaged").expect("written");
    fails(&["mkrpm", "low@1.9"], 4, "its SHA-256 is another one");
}

fn manifest(repo: &Path, name: &str, version: &str) -> Manifest {
    let text = fs::read(repo.join("staging").join(name).join(version).join("manifest.json")).expect("readable");
    serde_json::from_slice(&text).expect("a manifest")
}
