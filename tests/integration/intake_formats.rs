//! Every kind of source that `add` takes, made by the real programs: the same source is the same bundle, whatever it comes in.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dkms_tests::dkms::{Machine, Program};
use dkms_tests::process::{run, said};
use dkms_tests::repo::TestRepo;
use dkms_tests::{inputs, sources};

/// A repository to add to.
struct Repo(TestRepo);

impl Repo {
    fn new() -> Self {
        Self(TestRepo::new().expect("a repository"))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
        command.arg("-C").arg(self.0.repository.path()).args(words);
        command
    }

    /// What `add` says of one input.
    fn add(&self, what: &str) -> serde_json::Value {
        let json = run(&mut self.command(&["--json", "add", "--force", what]));
        let added: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        added[0].clone()
    }

    /// The digest of the bundle that an input becomes.
    fn bundle(&self, what: &Path) -> String {
        let added = self.add(what.to_str().expect("UTF-8"));
        added["bundle"]["sha256"].as_str().expect("a digest").to_owned()
    }

    /// Adding fails with this text and a hint, and nothing is left.
    fn refuses(&self, what: &str, expected: &str) {
        let before = files(self.0.repository.path());
        let output = self.command(&["add", what]).output().expect("it runs");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected) && said.contains("hint: "), "{expected}: {said}");
        assert_eq!(files(self.0.repository.path()), before, "{what}");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter();
    entries.map(|entry| entry.expect("readable").into_path()).collect()
}

fn copy_edu(to: &Path) -> PathBuf {
    run(Command::new("cp").arg("-r").arg(sources::own("edu")).arg(to));
    to.to_owned()
}

#[test]
fn zip_and_tarballs_of_both_dkms_are_the_same_source() {
    let repo = Repo::new();
    let dir = sources::open_tempdir();
    let edu = copy_edu(&dir.path().join("edu"));
    let wanted = repo.bundle(&edu);
    let zip = dir.path().join("edu.zip");
    run(Command::new("zip")
        .args(["--quiet", "--recurse-paths"])
        .arg(&zip)
        .arg("edu")
        .current_dir(dir.path()));
    assert_eq!(repo.bundle(&zip), wanted, "zip");

    let [kernel, _] = inputs::kernels();
    for program in [Program::Debian, Program::Ours] {
        let machine = Machine::new(program);
        machine.add_kernel(&kernel);
        run(Command::new("cp")
            .arg("-r")
            .arg(&edu)
            .arg(machine.path("src/qemu-edu-1.0")));
        let dkms = |words: &[&str]| {
            let outcome = machine.dkms(words);
            assert_eq!(
                outcome.code, 0,
                "{program:?} {words:?}\n{}{}",
                outcome.stdout, outcome.stderr
            );
        };
        dkms(&["build", "qemu-edu/1.0", "-k", &kernel]);
        for (name, more) in [("with", ""), ("without", "--source-only"), ("only", "--binaries-only")] {
            let archive = machine.path(&format!("{name}.dkms.tar.gz"));
            let mut words = vec!["mktarball", "qemu-edu/1.0", "-k", &kernel, "--archive"];
            let file = archive.to_str().expect("UTF-8").to_owned();
            words.push(&file);
            words.extend((!more.is_empty()).then_some(more));
            dkms(&words);
            if name == "only" {
                repo.refuses(&file, "holds built modules and no source");
            } else {
                assert_eq!(repo.bundle(&archive), wanted, "{program:?} {name}");
            }
        }
    }
}

const SPEC: &str = "
Name: dkms-edu
Version: 1.0
Release: 3
Summary: teaching device
License: GPLv2
URL: https://example.org/edu
BuildArch: noarch
Source0: edu-1.0.tar.gz
Patch0: 0001-%{name}.patch
Provides: modalias(pci:v00001234d000011E8sv*sd*bc*sc*i*)
%description
teaching device
%prep
%autosetup -p1 -n edu-1.0
%install
mkdir -p %{buildroot}/usr/src/qemu-edu-1.0 %{buildroot}/etc/modprobe.d
cp dkms.conf Makefile qemu_edu.c %{buildroot}/usr/src/qemu-edu-1.0
touch %{buildroot}/etc/modprobe.d/edu.conf
%files
/usr/src/qemu-edu-1.0
/etc/modprobe.d/edu.conf
";

/// A patch that adds a line to the Makefile.
const PATCH: &str = "--- a/Makefile\n+++ b/Makefile\n@@ -1,1 +1,2 @@\n FIRST\n+# patched\n";

/// The patch, for the first line of edu's Makefile, which has more.
fn patch(edu: &Path) -> String {
    let text = fs::read_to_string(edu.join("Makefile")).expect("readable");
    let (first, count) = (text.lines().next().unwrap_or_default(), text.lines().count());
    let rest: String = text.lines().skip(1).map(|line| format!(" {line}\n")).collect();
    PATCH
        .replace("FIRST", first)
        .replace("@@ -1,1 +1,2 @@", &format!("@@ -1,{count} +1,{} @@", count + 1))
        + &rest
}

/// Builds the source and the binary package of a spec file with rpmbuild.
fn rpmbuild(dir: &Path, spec: &str) {
    let file = dir.join("edu.spec");
    fs::write(&file, spec).expect("written");
    let define = |name: &str, value: &str| format!("{name} {}", dir.join(value).display());
    run(Command::new("rpmbuild")
        .args(["-ba", "--quiet", "--nodeps"])
        .args([
            "--define",
            &define("_topdir", "rpmbuild"),
            "--define",
            &define("_sourcedir", ""),
        ])
        .args([
            "--define",
            &define("_dbpath", "rpmdb"),
            "--define",
            &define("_rpmdir", "out"),
        ])
        .args([
            "--define",
            &define("_srcrpmdir", "out"),
            "--define",
            "_buildhost localhost",
        ])
        .arg(&file));
}

#[test]
fn rpm_packages_and_source_rpms_are_taken() {
    let repo = Repo::new();
    let dir = sources::open_tempdir();
    let edu = copy_edu(&dir.path().join("edu-1.0"));
    run(Command::new("tar")
        .args(["-czf", "edu-1.0.tar.gz", "edu-1.0"])
        .current_dir(dir.path()));
    let patch = patch(&edu);
    fs::write(dir.path().join("0001-dkms-edu.patch"), &patch).expect("written");
    rpmbuild(dir.path(), SPEC);
    let applied = Command::new("patch")
        .args(["-p1", "-s", "-i", "../0001-dkms-edu.patch"])
        .current_dir(&edu)
        .status();
    assert!(applied.is_ok_and(|status| status.success()));
    let wanted = repo.bundle(&edu);

    let binary = dir.path().join("out/noarch/dkms-edu-1.0-3.noarch.rpm");
    assert_eq!(repo.bundle(&binary), wanted, "the binary package");
    let added = repo.add(binary.to_str().expect("UTF-8"));
    assert_eq!(added["version"], "1.0-3");
    assert_eq!(added["dkms_version"], "1.0");
    let again = run(&mut repo.command(&["add", binary.to_str().expect("UTF-8")]));
    assert_eq!(again, "");
    let shown = run(&mut repo.command(&["--json", "show", "qemu-edu", "1.0-3"]));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let manifest = &shown[0]["manifest"];
    assert_eq!(manifest["license"], "GPL-2.0-only");
    assert_eq!(manifest["homepage"], "https://example.org/edu");
    let source = dir.path().join("out/dkms-edu-1.0-3.src.rpm");
    assert_eq!(repo.bundle(&source), wanted, "the source package");
    // Our own package, too.
    let out = dir.path().join("made");
    run(&mut repo.command(&["mkrpm", "qemu-edu@1.0-3", "--out", out.to_str().expect("UTF-8")]));
    assert_eq!(
        repo.bundle(&out.join("qemu-edu-dkms-1.0.3-1.noarch.rpm")),
        wanted,
        "the package of mkrpm"
    );

    // What is not plain is not guessed at, and damage is told.
    rpmbuild(
        dir.path(),
        &SPEC
            .replace("Release: 3", "Release: 4")
            .replace("%autosetup -p1 -n edu-1.0", "%setup -q -n edu-1.0\n%patch -P 0 -p1"),
    );
    repo.refuses(
        dir.path().join("out/dkms-edu-1.0-4.src.rpm").to_str().expect("UTF-8"),
        "its spec file applies patches in a way of its own",
    );
    let mut damaged = fs::read(&binary).expect("readable");
    let last = damaged.len() - 20;
    damaged[last] ^= 1;
    let file = dir.path().join("damaged.rpm");
    fs::write(&file, damaged).expect("written");
    repo.refuses(
        file.to_str().expect("UTF-8"),
        "its content is not what the digest in its header says",
    );
}

/// A Debian source package of edu in `format`, with a patch where the format has any.
fn source_package(dir: &Path, format: &str, version: &str) -> PathBuf {
    let top = dir.join(format!("edu-{format}").replace([' ', '(', ')'], "-"));
    fs::create_dir(&top).expect("created");
    let tree = copy_edu(&top.join("edu-1.0"));
    if format == "3.0 (quilt)" {
        run(Command::new("tar")
            .args(["-cJf", "edu_1.0.orig.tar.xz", "edu-1.0"])
            .current_dir(&top));
    }
    let write = |name: &str, text: &str| {
        let path = tree.join("debian").join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        fs::write(path, text).expect("written");
    };
    write("source/format", &format!("{format}\n"));
    write(
        "changelog",
        &format!(
            "edu ({version}) unstable; urgency=low\n\n  * x\n\n -- A B <a@example.org>  Sat, 01 Jan 2000 00:00:00 +0000\n"
        ),
    );
    write(
        "control",
        "Source: edu\nMaintainer: A B <a@example.org>\nHomepage: https://example.org/edu\n\nPackage: edu-dkms\nArchitecture: all\n\
         Description: teaching device\n long\n",
    );
    if format == "3.0 (quilt)" {
        write("patches/series", "# first\n0001-edu.patch\n");
        write("patches/0001-edu.patch", &patch(&tree));
        fs::rename(tree.join("dkms.conf"), tree.join("debian/edu.dkms")).expect("moved");
        // Upstream has none, and the packager's has a place for the version.
        run(Command::new("tar")
            .args(["-cJf", "edu_1.0.orig.tar.xz", "--exclude=debian", "edu-1.0"])
            .current_dir(&top));
        let conf = fs::read_to_string(tree.join("debian/edu.dkms")).expect("readable");
        write("edu.dkms", &conf.replace("\"1.0\"", "\"#MODULE_VERSION#\""));
    }
    run(Command::new("dpkg-source")
        .args(["--build", "edu-1.0"])
        .current_dir(&top));
    top.join(format!(
        "edu_{}.dsc",
        version.split_once(':').map_or(version, |(_, version)| version)
    ))
}

#[test]
fn debian_source_packages_are_what_dpkg_source_unpacks() {
    let repo = Repo::new();
    let dir = sources::open_tempdir();
    for (format, version) in [("3.0 (quilt)", "1:1.0-2"), ("3.0 (native)", "1.0.1"), ("1.0", "1.0.2")] {
        let dsc = source_package(dir.path(), format, version);
        let unpacked = dsc.with_file_name("unpacked");
        run(Command::new("dpkg-source")
            .args(["--no-check", "-x"])
            .arg(&dsc)
            .arg(&unpacked));
        if format == "3.0 (quilt)" {
            let conf = fs::read_to_string(unpacked.join("debian/edu.dkms")).expect("readable");
            fs::write(unpacked.join("dkms.conf"), conf.replace("#MODULE_VERSION#", "1.0")).expect("written");
            fs::remove_dir_all(unpacked.join(".pc")).expect("removed");
            let makefile = fs::read_to_string(unpacked.join("Makefile")).expect("readable");
            assert!(makefile.contains("# patched"), "{makefile}");
        }
        let added = repo.add(dsc.to_str().expect("UTF-8"));
        assert_eq!(added["version"], version.trim_start_matches("1:"), "{format}");
        assert_eq!(added["bundle"]["sha256"], repo.bundle(&unpacked).as_str(), "{format}");
    }

    // Damage, a file that is gone, a patch that does not apply.
    let second = dir.path().join("2");
    fs::create_dir(&second).expect("created");
    let dsc = source_package(&second, "3.0 (quilt)", "1.0-2");
    let archive = dsc.with_file_name("edu_1.0-2.debian.tar.xz");
    let whole = fs::read(&archive).expect("readable");
    fs::write(&archive, b"other").expect("written");
    repo.refuses(
        dsc.to_str().expect("UTF-8"),
        "edu_1.0-2.debian.tar.xz\" is refused: it is not the file that the .dsc names",
    );
    fs::remove_file(&archive).expect("removed");
    repo.refuses(dsc.to_str().expect("UTF-8"), "edu_1.0-2.debian.tar.xz\": No such file");
    fs::write(&archive, &whole).expect("written");
    let orig = dsc.with_file_name("edu_1.0.orig.tar.xz");
    fs::write(dsc.with_file_name("edu-1.0/Makefile"), "obj-m := other.o\n").expect("written");
    let before = sha256(&orig);
    run(Command::new("tar")
        .args(["-cJf", "edu_1.0.orig.tar.xz", "--exclude=debian", "edu-1.0"])
        .current_dir(dsc.parent().expect("a directory")));
    let text = fs::read_to_string(&dsc)
        .expect("readable")
        .replace(&before, &sha256(&orig));
    fs::write(&dsc, text).expect("written");
    repo.refuses(
        dsc.to_str().expect("UTF-8"),
        "its patch 0001-edu.patch does not apply: ",
    );
}

fn sha256(file: &Path) -> String {
    let said = run(Command::new("sha256sum").arg(file));
    said.split(' ').next().unwrap_or_default().to_owned()
}

fn git(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args([
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "protocol.file.allow=always",
    ]);
    run(command.args(words).env("GIT_CONFIG_GLOBAL", "/dev/null"))
}

/// A server that ends with the value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn commits_are_taken_from_a_checkout_and_a_server() {
    let repo = Repo::new();
    let dir = sources::open_tempdir();
    let edu = copy_edu(&dir.path().join("edu"));
    let wanted = repo.bundle(&edu);
    let other = dir.path().join("other");
    fs::create_dir(&other).expect("created");
    git(&other, &["init", "--quiet"]);
    git(&other, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    git(&edu, &["init", "--quiet", "--initial-branch=main"]);
    git(&edu, &["add", "."]);
    git(&edu, &["commit", "--quiet", "-m", "first"]);
    git(&edu, &["tag", "-a", "v1", "-m", "v1"]);
    let first = git(&edu, &["rev-parse", "HEAD"]).trim().to_owned();
    // What comes later, and what a program of the repository could do on this machine.
    let trace = dir.path().join("trace");
    fs::write(edu.join("later.c"), "").expect("written");
    fs::write(edu.join(".gitattributes"), "*.c filter=trace\n").expect("written");
    git(
        &edu,
        &["submodule", "--quiet", "add", other.to_str().expect("UTF-8"), "sub"],
    );
    git(&edu, &["add", "."]);
    git(&edu, &["commit", "--quiet", "-m", "second"]);
    git(&edu, &["tag", "v2"]);
    git(
        &edu,
        &["config", "filter.trace.smudge", &format!("touch {}", trace.display())],
    );
    let hook = edu.join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().expect("a directory")).expect("created");
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", trace.display())).expect("written");
    run(Command::new("chmod").arg("755").arg(&hook));

    let path = edu.display();
    for address in [
        format!("git+{path}@v1"),
        format!("git+file://{path}@v1"),
        format!("git+{path}@{first}"),
    ] {
        assert_eq!(repo.bundle(Path::new(&address)), wanted, "{address}");
    }
    let second = repo.add(&format!("git+{path}@v2"));
    assert_ne!(second["bundle"]["sha256"], wanted.as_str());
    assert_eq!(second["notes"], serde_json::json!(["leaves out the submodule sub"]));
    assert!(!trace.exists(), "no program of the repository was run");
    repo.refuses(&format!("git+{path}@main"), "main cannot be fetched");
    repo.refuses(&format!("git+{path}@v3"), "v3 cannot be fetched");
    repo.refuses(&format!("git+{path}"), "it names no tag and no commit");
    repo.refuses(
        "git+ssh://example.org/x@v1",
        "is neither https:// nor file:// nor a path",
    );
    repo.refuses("git+ext::sh -c id@v1", "cannot be read");

    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    // The program itself: `git daemon` would start it as a child that outlives it.
    let programs = run(Command::new("git").arg("--exec-path"));
    let daemon = Command::new(Path::new(programs.trim_end()).join("git-daemon"))
        .args(["--listen=127.0.0.1", "--reuseaddr", "--export-all"])
        .arg(format!("--port={port}"))
        .arg(format!("--base-path={}", dir.path().display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("git runs");
    let _daemon = Daemon(daemon);
    let address = format!("git+git://127.0.0.1:{port}/edu@v1");
    let up = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert!(up, "git daemon listens");
    assert_eq!(repo.bundle(Path::new(&address)), wanted, "from a server");
}

#[test]
fn what_is_no_version_is_refused_with_the_way_out() {
    let repo = Repo::new();
    let dir = sources::open_tempdir();
    let edu = copy_edu(&dir.path().join("edu"));
    let conf = fs::read_to_string(edu.join("dkms.conf")).expect("read");
    let check = |version: &str, expected: &str| {
        let text = conf.replace("\"1.0\"", &format!("\"{version}\""));
        assert_ne!(text, conf);
        fs::write(edu.join("dkms.conf"), text).expect("written");
        repo.refuses(edu.to_str().expect("UTF-8"), expected);
    };
    check("git", "the version \"git\" has no digit");
    check(
        "git",
        "hint: write the version, such as that of the last tag, into PACKAGE_VERSION",
    );
    for version in ["DKMS_VERSION", "#MODULE_VERSION#", "@VERSION@"] {
        check(version, &format!("PACKAGE_VERSION is \"{version}\", a placeholder"));
        check(
            version,
            "hint: add the directory that its own Makefile or installer fills",
        );
    }
}

#[test]
fn a_source_without_dkms_conf_gets_one_that_somebody_read() {
    let repo = Repo::new();
    let dir = sources::open_tempdir();
    let edu = copy_edu(&dir.path().join("qemu-edu-1.0"));
    fs::remove_file(edu.join("dkms.conf")).expect("removed");
    let path = edu.to_str().expect("UTF-8");
    repo.refuses(
        path,
        &format!("hint: dkms-repo propose {path:?} > dkms.conf; read and correct it"),
    );
    let proposed = run(&mut repo.command(&["propose", path]));
    assert_eq!(
        proposed,
        "PACKAGE_NAME=\"qemu-edu\"\nPACKAGE_VERSION=\"1.0\"\nBUILT_MODULE_NAME[0]=\"qemu_edu\"\n\
         DEST_MODULE_LOCATION[0]=\"/updates\"\nAUTOINSTALL=\"yes\"\n"
    );
    let conf = dir.path().join("conf");
    fs::write(&conf, &proposed).expect("written");
    let conf = conf.to_str().expect("UTF-8");
    run(&mut repo.command(&["add", "--dkms-conf", conf, path]));
    let [kernel, _] = inputs::kernels();
    let root = inputs::kernel_root(&kernel);
    run(&mut repo.command(&["scan", "--root", root.to_str().expect("UTF-8"), "--kernel", &kernel]));
    let shown = run(&mut repo.command(&["show", "qemu-edu"]));
    assert!(shown.contains("(built)"), "{shown}");
    // Of an archive, too; another conf is another source, also where the file is the same.
    run(Command::new("tar")
        .args(["-czf", "edu.tar.gz", "qemu-edu-1.0"])
        .current_dir(dir.path()));
    let archive = dir.path().join("edu.tar.gz");
    let archive = archive.to_str().expect("UTF-8");
    run(&mut repo.command(&["add", "--dkms-conf", conf, archive]));
    fs::write(dir.path().join("conf"), proposed.replace("/updates", "/extra")).expect("written");
    let output = repo
        .command(&["add", "--dkms-conf", conf, archive])
        .output()
        .expect("it runs");
    assert!(
        said(&output).contains("staged already, with another source"),
        "{}",
        said(&output)
    );
    // A source that has one keeps it.
    let own = sources::own("edu");
    let output = repo
        .command(&["add", "--dkms-conf", conf, own.to_str().expect("UTF-8")])
        .output()
        .expect("it runs");
    assert!(
        said(&output).contains("has a dkms.conf of its own"),
        "{}",
        said(&output)
    );
    let nothing = dir.path().join("nothing");
    fs::create_dir(&nothing).expect("created");
    let output = repo
        .command(&["propose", nothing.to_str().expect("UTF-8")])
        .output()
        .expect("it runs");
    assert!(
        said(&output).contains("says which modules it builds"),
        "{}",
        said(&output)
    );
    let file = dir.path().join("text");
    fs::write(&file, "text").expect("written");
    repo.refuses(file.to_str().expect("UTF-8"), "is neither a directory, nor an archive");
}
