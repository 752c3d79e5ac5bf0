//! `mkkmp` and `mkdriverdisk`: what rpm, libsolv and the tools of ISO images read in packages of built modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_tests::process::{fails, packager, run, succeeds};
use dkms_tests::{inputs, sources};

const DEVICE: &str = "pci:v00001234d000011E8sv*sd*bc*sc*i*";

/// `dkms-repo COMMAND … WORDS…`, for the first kernel.
fn made_for_kernel(words: &[&str]) -> Command {
    let [kernel, _] = inputs::kernels();
    let mut command = packager(&words[..1]);
    command
        .arg("--root")
        .arg(inputs::kernel_root(&kernel))
        .args(["--kernel", &kernel])
        .args(&words[1..]);
    command
}

/// What rpm says of a package, in lines.
fn query(file: &Path, what: &str) -> Vec<String> {
    let database = tempfile::tempdir().expect("a directory");
    let mut rpm = Command::new("rpm");
    rpm.arg("--dbpath")
        .arg(database.path())
        .args(["--query", "--package", what]);
    run(rpm.arg(file)).lines().map(str::to_owned).collect()
}

/// The files of a package, unpacked.
fn unpacked(file: &Path, to: &Path) -> PathBuf {
    fs::create_dir(to).expect("created");
    let line = "rpm2cpio \"$1\" | { cd \"$2\" && cpio --extract --make-directories --quiet; }";
    run(Command::new("bash").args(["-ec", line, "unpacked"]).arg(file).arg(to));
    to.to_owned()
}

fn edu() -> String {
    sources::own("edu").display().to_string()
}

fn kmp(out: &Path) -> PathBuf {
    let printed = run(made_for_kernel(&["mkkmp", &edu(), "--out"]).arg(out));
    PathBuf::from(printed.trim_end())
}

/// The release of the first kernel, as `6.1.0-56-amd64` → (`6.1.0-56`, `amd64`).
fn flavored(kernel: &str) -> (String, String) {
    let (version, flavor) = kernel.rsplit_once('-').expect("a flavor");
    (version.to_owned(), flavor.to_owned())
}

#[test]
fn what_a_kmp_needs_and_offers_is_what_kmod_reads_in_its_module() {
    let dir = tempfile::tempdir().expect("a directory");
    let [kernel, _] = inputs::kernels();
    let (version, flavor) = flavored(&kernel);
    let mark = format!("k{}", version.replace('-', "_"));
    let file = kmp(dir.path());
    let name = format!("qemu-edu-kmp-{flavor}-1.0_{mark}-1.{}.rpm", std::env::consts::ARCH);
    assert_eq!(file, dir.path().join(name));
    let bytes = fs::read(&file).expect("readable");
    assert_eq!(
        fs::read(kmp(dir.path())).expect("readable"),
        bytes,
        "the same bytes a second time"
    );
    assert!(
        run(Command::new("rpm").args(["--checksig", "--nosignature"]).arg(&file)).contains("digests OK"),
        "rpm verifies it"
    );

    let top = unpacked(&file, &dir.path().join("unpacked"));
    let module = top.join(format!("lib/modules/{kernel}/updates/qemu_edu.ko"));
    // The same lists by kmod's own tools.
    let crcs = run(Command::new("modprobe").arg("--dump-modversions").arg(&module));
    let expected: BTreeSet<String> = crcs
        .lines()
        .map(|line| {
            let (crc, symbol) = line.split_once('\t').expect("a checksum and a symbol");
            let crc = crc.trim_start_matches("0x").trim_start_matches('0');
            format!("ksym({flavor}:{symbol}) = {crc}")
        })
        .collect();
    assert!(expected.len() > 10, "{crcs}");
    let needed: BTreeSet<String> = query(&file, "--requires")
        .into_iter()
        .filter(|line| line.starts_with("ksym("))
        .collect();
    assert_eq!(needed, expected);
    let alias = run(Command::new("modinfo").args(["-F", "alias"]).arg(&module));
    let supplements = format!("modalias(kernel-{flavor}:{})", alias.trim_end());
    assert_eq!(query(&file, "--supplements"), [supplements]);
    assert_eq!(query(&file, "--enhances"), [format!("kernel-{flavor}")]);
    assert_eq!(query(&file, "--conflicts"), [format!("qemu-edu-kmp-{flavor}-{mark}")]);
    let provides = query(&file, "--provides");
    for expected in [
        "kmod(qemu_edu.ko)".to_owned(),
        "multiversion(kernel)".to_owned(),
        "qemu-edu-kmp = 1.0".to_owned(),
        format!("qemu-edu-kmp = 1.0_{mark}"),
        format!("qemu-edu-kmp-{flavor}-{mark}"),
    ] {
        assert!(provides.contains(&expected), "{expected} in {provides:?}");
    }

    // Elsewhere on machines of another layout.
    let mut merged = made_for_kernel(&["mkkmp", &edu(), "--module-dir", "/usr/lib/modules", "--out"]);
    run(merged.arg(dir.path()));
    assert_eq!(
        query(&file, "--list"),
        [format!("/usr/lib/modules/{kernel}/updates/qemu_edu.ko")]
    );
}

/// The solver of zypper and dnf: a machine with this kernel and device gets the package by itself, any other does not.
#[test]
fn the_solver_of_zypper_chooses_a_kmp_for_the_device() {
    let dir = tempfile::tempdir().expect("a directory");
    let [kernel, _] = inputs::kernels();
    let (_, flavor) = flavored(&kernel);
    let file = kmp(dir.path());
    let solv = succeeds(Command::new("rpms2solv").arg(&file)).stdout;
    fs::write(dir.path().join("kmp.solv"), solv).expect("written");
    let symbols: Vec<String> = query(&file, "--requires")
        .into_iter()
        .filter(|line| line.starts_with("ksym("))
        .collect();
    let chosen = |device: &str, symbols: &[String]| {
        let mut system = format!("=Ver: 2.0\n=Pkg: kernel-{flavor} 6 1 {}\n", std::env::consts::ARCH);
        symbols
            .iter()
            .for_each(|symbol| system.push_str(&format!("=Prv: {symbol}\n")));
        system.push_str("=Pkg: suse-module-tools 1 1 noarch\n=Prv: /bin/sh\n");
        let case = format!(
            "repo system 0 testtags system.repo\nrepo kmp 0 solv kmp.solv\nsystem {} rpm\n\
             namespace namespace:modalias({device}) @SYSTEM\njob install name kernel-{flavor}\n",
            std::env::consts::ARCH
        );
        fs::write(dir.path().join("system.repo"), system).expect("written");
        fs::write(dir.path().join("case"), case).expect("written");
        let solved = run(Command::new("testsolv").args(["-r", "case"]).current_dir(dir.path()));
        assert!(solved.contains(&format!("install kernel-{flavor}-6-1")), "{solved}");
        solved.contains(&format!("install qemu-edu-kmp-{flavor}-"))
    };
    assert!(chosen(DEVICE, &symbols));
    assert!(
        !chosen("pci:v00001234d000011E9sv*sd*bc*sc*i*", &symbols),
        "another device"
    );
    let changed: Vec<String> = symbols.iter().map(|symbol| symbol.replace(" = ", " = 1")).collect();
    assert!(!chosen(DEVICE, &changed), "a kernel with other symbols");
}

#[test]
fn a_driver_disk_has_what_the_installer_looks_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let [kernel, _] = inputs::kernels();
    let arch = std::env::consts::ARCH;
    let disk = dir.path().join("disk");
    let printed = run(made_for_kernel(&["mkdriverdisk", &edu(), "--description", "Edu drivers", "--out"]).arg(&disk));
    assert_eq!(printed.trim_end(), disk.display().to_string());
    assert_eq!(
        fs::read_to_string(disk.join("rhdd3")).expect("readable"),
        "Edu drivers\n"
    );
    let file = format!("kmod-qemu-edu-1.0-1.k{}.{arch}.rpm", kernel.replace('-', "_"));
    let packages = disk.join("rpms").join(arch);
    let package = packages.join(&file);
    assert!(
        run(Command::new("rpm").args(["--checksig", "--nosignature"]).arg(&package)).contains("digests OK"),
        "rpm verifies it"
    );
    let provides = query(&package, "--provides");
    for expected in [
        format!("kernel-modules = {kernel}"),
        "kmod(qemu_edu.ko)".to_owned(),
        format!("modalias({DEVICE})"),
    ] {
        assert!(provides.contains(&expected), "{expected} in {provides:?}");
    }
    assert!(query(&package, "--requires").contains(&format!("kernel-uname-r = {kernel}")));
    // The installer's script takes modules that are unpacked below lib/modules alone. The directory goes with the package.
    let own = format!("/lib/modules/{kernel}/extra/qemu-edu");
    assert_eq!(query(&package, "--list"), [own.clone(), format!("{own}/qemu_edu.ko")]);

    // dnf reads such a repository by libsolv.
    let metadata = packages.join("repodata/primary.xml.gz");
    let read = run(Command::new("bash")
        .args(["-o", "pipefail", "-ec", "zcat \"$1\" | rpmmd2solv | dumpsolv", "read"])
        .arg(metadata));
    assert!(read.contains("solvable:name: kmod-qemu-edu\n"), "{read}");
    assert!(read.contains(&format!("  kernel-modules = {kernel}\n")), "{read}");

    // A disk is not mixed with other files, and that is said before anything is built.
    let taken = made_for_kernel(&["mkdriverdisk", &edu(), "--out"])
        .arg(&disk)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert_eq!(taken.status.code(), Some(1), "{said}");
    assert!(
        said.contains("something is there already") && said.contains("hint: name a new directory"),
        "{said}"
    );
    assert!(!said.contains("1 build"), "{said}");
}

#[test]
fn an_image_of_a_driver_disk_has_the_label() {
    let dir = tempfile::tempdir().expect("a directory");
    let [kernel, _] = inputs::kernels();
    let image = dir.path().join("drivers.iso");
    let make = || {
        run(made_for_kernel(&["mkdriverdisk", &edu(), "--later-kernels", "--out"]).arg(&image));
        fs::read(&image).expect("readable")
    };
    assert!(make() == make(), "the same bytes a second time");
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-indev"]).arg(&image);
    let output = succeeds(
        xorriso
            .args(["-pvd_info", "-osirrox", "on", "-extract", "/"])
            .arg(dir.path().join("there")),
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let label = said.lines().find(|line| line.starts_with("Volume Id"));
    assert_eq!(
        label.and_then(|line| line.split(": ").nth(1)).map(str::trim),
        Some("OEMDRV"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("there/rhdd3")).expect("readable"),
        "qemu-edu 1.0\n"
    );
    let packages = dir.path().join("there/rpms").join(std::env::consts::ARCH);
    let package = packages.join(format!(
        "kmod-qemu-edu-1.0-1.k{}.{}.rpm",
        kernel.replace('-', "_"),
        std::env::consts::ARCH
    ));
    assert!(query(&package, "--provides").contains(&format!("kernel-modules >= {kernel}")));
    assert!(query(&package, "--requires").contains(&format!("kernel-uname-r >= {kernel}")));
}

/// All or nothing: where one cannot be built nothing is written, and the end of the compiler's output is there.
#[test]
fn a_package_that_does_not_build_is_an_error() {
    let dir = sources::open_tempdir();
    let broken = dir.path().join("broken");
    run(Command::new("cp").arg("-r").arg(sources::own("edu")).arg(&broken));
    let source = fs::read_to_string(broken.join("qemu_edu.c")).expect("readable");
    fs::write(broken.join("qemu_edu.c"), format!("#error out of order\n{source}")).expect("written");
    let conf = fs::read_to_string(broken.join("dkms.conf")).expect("readable");
    fs::write(broken.join("dkms.conf"), conf.replace("=\"qemu-edu\"", "=\"broken\"")).expect("written");
    let out = dir.path().join("out");
    let [kernel, _] = inputs::kernels();
    let sentence = format!("broken 1.0 cannot be built for {kernel}: ");
    for what in ["mkkmp", "mkdriverdisk"] {
        let mut command = made_for_kernel(&[what, &edu(), broken.to_str().expect("UTF-8"), "--out"]);
        let said = fails(
            command.arg(&out),
            1,
            &[&sentence, "#error out of order", "hint: dkms-repo scan broken"],
        );
        assert!(!out.exists(), "{said}");
    }
    let mut command = packager(&["mkkmp", &edu(), "--kernel", "9.9.9-1-none", "--out"]);
    fails(command.arg(&out), 1, &["9.9.9-1-none", "hint: "]);
    let mut command = packager(&["mkkmp", "qemu-edu", "-C"]);
    fails(command.arg(dir.path()), 1, &["hint: "]);
    let mut command = packager(&["mkdriverdisk", &edu(), "--out", "x.iso", "--description", "two\nlines"]);
    fails(&mut command, 2, &["a description is one line of text"]);
}
