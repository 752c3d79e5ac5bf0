//! Packages that were made to do harm: each is refused with its reason and a hint, and nothing of it is left behind.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dkms_tests::repo::TestRepo;
use tar::EntryType;

const CONF: &str =
    "PACKAGE_NAME=evil\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=evil\nDEST_MODULE_LOCATION=/updates\nAUTOINSTALL=yes\n";

/// A repository, a directory for packages, and one for whatever the program leaves in `$TMPDIR`.
struct Story {
    repo: TestRepo,
    packages: tempfile::TempDir,
    scratch: tempfile::TempDir,
}

impl Story {
    fn new() -> Self {
        Self {
            repo: TestRepo::new().expect("a repository"),
            packages: tempfile::tempdir().expect("a directory"),
            scratch: dkms_tests::sources::open_tempdir(),
        }
    }

    fn add(&self, path: &Path) -> Output {
        Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"))
            .arg("-C")
            .arg(self.repo.repository.path())
            .arg("add")
            .arg(path)
            .env("TMPDIR", self.scratch.path())
            .output()
            .expect("dkms-repo runs")
    }

    /// The names of all files that adding could leave.
    fn left(&self) -> Vec<PathBuf> {
        let places = [
            self.repo.repository.staging_dir(),
            self.repo.repository.bundle_dir().join("sha256"),
            self.scratch.path().to_owned(),
        ];
        let entries = places.iter().flat_map(|dir| walkdir::WalkDir::new(dir).min_depth(1));
        entries.flatten().map(walkdir::DirEntry::into_path).collect()
    }

    /// The package at `path` must be refused for this reason.
    fn refuses(&self, path: &Path, reason: &str) {
        let output = self.add(path);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {stderr}", path.display());
        assert!(stderr.contains(reason), "{}: {stderr}", path.display());
        assert!(stderr.contains("\nhint: "), "{}: {stderr}", path.display());
        assert!(!stderr.contains('\u{1b}') && !stderr.contains('\u{7}'), "{stderr:?}");
        assert!(self.left().is_empty(), "{}: {:?}", path.display(), self.left());
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.packages.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

/// One tar header and its content, written raw so that hostile names pass.
fn member(tar: &mut Vec<u8>, kind: EntryType, name: &[u8], link: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    let raw = header.as_old_mut();
    raw.name[..name.len()].copy_from_slice(name);
    raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// An archive with a `dkms.conf` and one more entry.
fn archive(kind: EntryType, name: &[u8], link: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    member(&mut tar, EntryType::Regular, b"dkms.conf", "", 0o644, CONF.as_bytes());
    member(&mut tar, kind, name, link, 0o644, b"");
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// A Debian package around this `data.tar`.
fn deb(version: &str, data: &[u8]) -> Vec<u8> {
    let control = format!("Package: evil-dkms\nVersion: {version}\nArchitecture: all\nDescription: evil\n");
    let mut tar = Vec::new();
    member(
        &mut tar,
        EntryType::Regular,
        b"./control",
        "",
        0o644,
        control.as_bytes(),
    );
    tar.resize(tar.len() + 1024, 0);
    let mut ar = b"!<arch>\n".to_vec();
    for (name, content) in [
        ("debian-binary", &b"2.0\n"[..]),
        ("control.tar", &tar[..]),
        ("data.tar", data),
    ] {
        writeln!(ar, "{name:<16}0           0     0     100644  {:<10}`", content.len()).expect("memory");
        ar.extend_from_slice(content);
        ar.resize(ar.len().next_multiple_of(2), b'\n');
    }
    ar
}

/// A `data.tar` with a source below `usr/src` and the given `dkms.conf`.
fn data(conf: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    member(
        &mut tar,
        EntryType::Regular,
        b"./usr/src/evil-1/dkms.conf",
        "",
        0o644,
        conf.as_bytes(),
    );
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[test]
fn hostile_archives() {
    let story = Story::new();
    let check = |name: &str, bytes: &[u8], reason: &str| story.refuses(&story.file(name, bytes), reason);
    use EntryType::{Block, Char, Fifo, Link, Regular, Symlink};
    check(
        "up.tar",
        &archive(Regular, b"../../etc/cron.d/evil", ""),
        "leaves the archive",
    );
    check(
        "absolute.tar",
        &archive(Regular, b"/etc/cron.d/evil", ""),
        "leaves the archive",
    );
    check("link.tar", &archive(Symlink, b"l", "/etc"), "leaves the source");
    check(
        "climbing.tar",
        &archive(Symlink, b"l", "../../etc"),
        "leaves the source",
    );
    check("hard.tar", &archive(Link, b"l", "/etc/shadow"), "hard link");
    check(
        "device.tar",
        &archive(Char, b"null", ""),
        "neither file, directory nor link",
    );
    check(
        "disk.tar",
        &archive(Block, b"sda", ""),
        "neither file, directory nor link",
    );
    check(
        "pipe.tar",
        &archive(Fifo, b"pipe", ""),
        "neither file, directory nor link",
    );
    check(
        "bell.tar",
        &archive(Regular, b"a\x07\x1b[31mb", ""),
        "not a usable file name",
    );
    check(
        "bytes.tar",
        &archive(Regular, b"a\xff\xfe", ""),
        "not a usable file name",
    );
    check(
        "twice.tar",
        &archive(Regular, b"dkms.conf", ""),
        "stands for two things",
    );
    check("cut.tar.gz", b"\x1f\x8b\x08\x00garbage", "is refused");
    check("nothing.tar", b"", "has no dkms.conf");
    check("text.txt", b"hello", "neither a directory, nor an archive");

    // A million entries, as far as anybody reads them; and a file that claims more than a package may have.
    let mut many = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("zstd");
    for number in 0..25_000 {
        let mut one = Vec::with_capacity(512);
        member(&mut one, Regular, format!("f{number}").as_bytes(), "", 0o644, b"");
        many.write_all(&one).expect("memory");
    }
    check("many.tar.zst", &many.finish().expect("zstd"), "more than 20000 entries");
    let mut claim = tar::Header::new_ustar();
    claim.set_path("zeros").expect("a path");
    claim.set_entry_type(Regular);
    claim.set_mode(0o644);
    claim.set_size(300 << 20);
    claim.set_cksum();
    let bomb = zstd::encode_all(&claim.as_bytes()[..], 1).expect("zstd");
    check("bomb.tar.zst", &bomb, "unpacks to more than");
    // The same in a Debian package, in one that lies about its members, and in one with a size beyond all bounds.
    check("bomb.deb", &deb("1", &bomb), "unpacks to more than");
    let mut cut = deb("1", &data(CONF));
    cut.truncate(cut.len() - 600);
    check("cut.deb", &cut, "ends within a member");
    let mut large = deb("1", &data(CONF));
    let at = large.windows(8).position(|w| w == b"data.tar").expect("a member") + 48;
    large[at..at + 10].copy_from_slice(b"9999999999");
    check("large.deb", &large, "ends within a member");
}

#[test]
fn versions_and_names_that_would_leave_the_staging_area() {
    let story = Story::new();
    let deb_with = |version: &str| story.file("v.deb", &deb(version, &data(CONF)));
    story.refuses(&deb_with("../../../etc"), "version \"../../../etc\"");
    story.refuses(&deb_with("1;reboot"), "version \"1;reboot\"");
    story.refuses(&deb_with(&"1".repeat(90)), "longer than 80");
    let named = |line: &str| story.file("n.deb", &deb("1", &data(&format!("{CONF}{line}\n"))));
    story.refuses(&named("PACKAGE_NAME='../evil'"), "PACKAGE_NAME");
    story.refuses(&named("PACKAGE_NAME='evil;reboot'"), "evil;reboot");
    story.refuses(&named("BUILT_MODULE_NAME='../../evil'"), "BUILT_MODULE_NAME");
    story.refuses(&named("BUILT_MODULE_LOCATION='../..'"), "leaves the source");
    story.refuses(&named("DEST_MODULE_LOCATION=/etc"), "must begin with");
}

#[test]
fn hostile_directories() {
    let story = Story::new();
    let dir = |name: &str| {
        let dir = story.packages.path().join(name);
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join("dkms.conf"), CONF).expect("a file");
        dir
    };
    let leaving = dir("leaving");
    symlink("/etc/passwd", leaving.join("passwd")).expect("a link");
    story.refuses(&leaving, "leaves the source");
    let pipe = dir("pipe");
    let fifo = pipe.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    story.refuses(&pipe, "neither file, directory nor link");
    // Neither of these ever ends when it is read.
    story.refuses(&fifo, "neither a directory, nor an archive");
    story.refuses(Path::new("/dev/zero"), "neither a directory, nor an archive");
    story.refuses(&story.packages.path().join("absent"), "No such file");
    let name = "evil\u{1b}[31m\u{7}.tar";
    story.refuses(&story.file(name, b""), "has no dkms.conf");
}

#[test]
fn a_setuid_file_is_a_file() {
    let story = Story::new();
    let mut tar = Vec::new();
    member(&mut tar, EntryType::Regular, b"dkms.conf", "", 0o644, CONF.as_bytes());
    member(&mut tar, EntryType::Regular, b"tool", "", 0o6777, b"#!/bin/sh\n");
    tar.resize(tar.len() + 1024, 0);
    let output = story.add(&story.file("setuid.tar", &tar));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bundle = story
        .left()
        .into_iter()
        .find(|path| path.starts_with(story.repo.repository.bundle_dir()) && path.is_file())
        .expect("a bundle");
    let unpacked = zstd::decode_all(&fs::read(bundle).expect("readable")[..]).expect("zstd");
    let mut archive = tar::Archive::new(&unpacked[..]);
    for entry in archive.entries().expect("a tar") {
        let entry = entry.expect("an entry");
        let mode = entry.header().mode().expect("a mode");
        assert_eq!(mode & !0o755, 0, "{:?} has mode {mode:o}", entry.path());
        assert_eq!(entry.header().uid().expect("a uid"), 0);
    }
}

/// dkms.conf is a program. What confines it is the engine's own and tested there; here it counts that adding says why it
/// ended, and leaves nothing behind.
#[test]
fn hostile_confs() {
    let story = Story::new();
    let check = |name: &str, conf: &str, reason: &str| {
        let dir = story.packages.path().join(name);
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join("dkms.conf"), format!("{CONF}{conf}\n")).expect("a file");
        story.refuses(&dir, reason);
    };
    check("exits", "exit 0", "it calls exit");
    // As the dkms command line shows it.
    check("syntax", "if then", "error: ");
    check("shown", "if then", "  |\n6 | if then\n  |    ^\n");
    check("killed", "kill -9 $BASHPID", "it was ended by SIGKILL");
    check("nothing", "unset PACKAGE_NAME", "PACKAGE_NAME");
}

#[test]
fn confs_that_take_all_they_can_get() {
    // The first goes on until its time is over, so all run side by side. One that forks without end is in tests/alone.
    let hostile = [
        ("hangs", "sleep 1000", "it was still running after 20 s"),
        (
            "writes",
            "while :; do printf '%*s' 1000000 x >&2; done",
            "it printed more than 65536 KiB",
        ),
        (
            "grows",
            "PACKAGE_NAME=$(head -c 100000000 /dev/zero | tr '\\0' a)",
            "PACKAGE_NAME is longer than a megabyte",
        ),
    ];
    std::thread::scope(|scope| {
        for (name, conf, reason) in hostile {
            scope.spawn(move || {
                let story = Story::new();
                let dir = story.packages.path().join(name);
                fs::create_dir(&dir).expect("a directory");
                fs::write(dir.join("dkms.conf"), format!("{CONF}{conf}\n")).expect("a file");
                story.refuses(&dir, reason);
            });
        }
    });
}
