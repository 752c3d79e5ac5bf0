use tar::{Builder, Header};

use super::*;

/// One entry of an archive, as bytes that no library would write: names go into the header as they are.
fn raw(kind: EntryType, name: &str, link: &str, content: &[u8]) -> (Header, Vec<u8>) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o4755);
    header.set_mtime(1_700_000_000);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    (header, content.to_vec())
}

fn file(name: &str) -> (Header, Vec<u8>) {
    raw(EntryType::Regular, name, "", b"content")
}

fn link(name: &str, target: &str) -> (Header, Vec<u8>) {
    raw(EntryType::Symlink, name, target, b"")
}

fn bundle_of(tar: &[u8]) -> VerifiedBundle {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&zstd::encode_all(tar, 1).unwrap()).unwrap();
    VerifiedBundle {
        file,
        path: "bundle".into(),
        format: BundleFormat::TarZst,
        label: "evil-1".into(),
    }
}

fn archive(entries: Vec<(Header, Vec<u8>)>) -> VerifiedBundle {
    let mut tar = Builder::new(Vec::new());
    for (header, content) in entries {
        tar.append(&header, content.as_slice()).unwrap();
    }
    bundle_of(&tar.into_inner().unwrap())
}

/// Unpacks `entries` beside a `dkms.conf`.
fn unpacked(entries: Vec<(Header, Vec<u8>)>) -> Result<SourceTree, String> {
    let dir = tempfile::tempdir().unwrap();
    let all = [vec![file("evil-1/dkms.conf")], entries].concat();
    let result = unpack(&archive(all), dir.path()).map_err(|e| e.to_string());
    if result.is_err() {
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "something was left behind"
        );
    }
    // `dir` is removed on return, with all that was unpacked.
    result.inspect(|tree| assert!(tree.path().join("dkms.conf").is_file()))
}

#[test]
fn unsafe_entries_are_refused() {
    let check = |entries: Vec<(Header, Vec<u8>)>, expected: &str| {
        let error = unpacked(entries).err().unwrap_or_default();
        assert!(error.contains(expected), "expected {expected:?}, found {error:?}");
    };
    check(vec![file("evil-1/../../etc/cron.d/x")], "leads out");
    check(vec![file("/etc/cron.d/x")], "leads out");
    check(vec![file("other-1/x")], "not in the one directory");
    check(vec![file("x")], "not in the one directory");
    check(vec![file("evil-1/a"), file("evil-1/a")], "there twice");
    check(vec![link("evil-1/a", "/etc")], "leads out");
    check(vec![link("evil-1/a", "../x")], "leads out");
    check(vec![link("evil-1/a/b", "../../x")], "leads out");
    check(vec![link("evil-1/a/b", "c/../../../x")], "leads out");
    check(vec![link("evil-1/a", "")], "leads out");
    check(vec![link("evil-1/a", "b"), link("evil-1/a/x", "y")], "below a link");
    check(vec![link("evil-1/a", "."), file("evil-1/a/x")], "there twice");
    check(vec![link("evil-1/a", "b"), link("evil-1/a", "c")], "there twice");
    check(vec![raw(EntryType::Link, "evil-1/a", "/etc/passwd", b"")], "leads out");
    check(
        vec![raw(EntryType::Link, "evil-1/a", "evil-1/none", b"")],
        "link to nothing",
    );
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::GNUSparse] {
        check(
            vec![raw(kind, "evil-1/dev", "", b"")],
            "neither file, directory nor link",
        );
    }
}

#[test]
fn an_archive_without_a_configuration_is_no_source() {
    let dir = tempfile::tempdir().unwrap();
    let error = unpack(&archive(vec![file("evil-1/Makefile")]), dir.path()).unwrap_err();
    assert!(
        error.is_trust() && error.to_string().contains("\"dkms.conf\" is missing"),
        "{error}"
    );
}

#[test]
fn a_source_tree_comes_out_as_it_went_in() {
    let long = format!("evil-1/{}/file.c", ["deep"; 60].join("/"));
    let mut tar = Builder::new(Vec::new());
    for (header, content) in [
        raw(EntryType::Directory, "evil-1/", "", b""),
        file("evil-1/dkms.conf"),
        raw(EntryType::Directory, "evil-1/src", "", b""),
        link("evil-1/src/self", "../src/main.c"),
        link("evil-1/nowhere", "src/nothing"),
        file("evil-1/src/main.c"),
        raw(EntryType::Link, "evil-1/hard.c", "evil-1/src/main.c", b""),
    ] {
        tar.append(&header, content.as_slice()).unwrap();
    }
    let mut header = Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    tar.append_data(&mut header, &long, &b"long"[..]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bundle = bundle_of(&tar.into_inner().unwrap());
    for _ in 0..2 {
        let tree = unpack(&bundle, dir.path()).unwrap();
        let read = |path: &str| fs::read_to_string(tree.path().join(path)).unwrap();
        assert_eq!(read("src/main.c"), "content");
        assert_eq!(read("src/self"), "content");
        assert_eq!(read("hard.c"), "content");
        assert_eq!(read(long.strip_prefix("evil-1/").unwrap()), "long");
        let metadata = fs::metadata(tree.path().join("src/main.c")).unwrap();
        assert_eq!(
            metadata.permissions().mode() & 0o7777,
            0o755,
            "set-user-id does not survive"
        );
        let age = metadata
            .modified()
            .unwrap()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(age.as_secs(), 1_700_000_000);
        drop(tree);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn long_names_of_both_kinds_are_bounded() {
    let endless = "a/".repeat(PATH_MAX_BYTES);
    for kind in [EntryType::GNULongName, EntryType::GNULongLink] {
        let error = unpacked(vec![
            raw(kind, "././@LongLink", "", endless.as_bytes()),
            link("evil-1/x", "y"),
        ]);
        assert!(error.is_err(), "{kind:?}");
    }
    let record = format!("path=evil-1/{}\n", "a".repeat(30));
    let pax = format!("{} {record}", record.len() + 3);
    let tree = unpacked(vec![
        raw(EntryType::XHeader, "pax", "", pax.as_bytes()),
        file("evil-1/short"),
    ]);
    assert!(tree.is_ok(), "{tree:?}");
    let size = raw(EntryType::XHeader, "pax", "", b"20 size=99999999999\n");
    assert!(unpacked(vec![size, file("evil-1/x")]).is_err());
}

#[test]
fn damaged_and_unsafe_archives_are_different_errors() {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = Builder::new(Vec::new());
    let (header, content) = raw(EntryType::Regular, "evil-1/dkms.conf", "", &[1; 5000]);
    tar.append(&header, content.as_slice()).unwrap();
    let whole = tar.into_inner().unwrap();
    for end in [700, 3000] {
        let error = unpack(&bundle_of(&whole[..end]), dir.path()).unwrap_err();
        assert!(matches!(error, FetchError::Malformed { .. }), "{error}");
    }
    let mut bundle = bundle_of(&[]);
    bundle.file = tempfile::tempfile().unwrap();
    bundle.file.write_all(b"this is not zstd").unwrap();
    let error = unpack(&bundle, dir.path()).unwrap_err();
    assert!(matches!(error, FetchError::Malformed { .. }), "{error}");
}

#[test]
fn directories_that_are_only_implied_count() {
    let deep = |n: usize, depth: usize| format!("evil-1/{n}/{}file", "d/".repeat(depth));
    let error = unpacked(vec![file(&deep(0, 40))]);
    assert!(error.is_ok(), "{error:?}");
    let error = unpacked(vec![file("evil-1/a"), file("evil-1/a/b")]).unwrap_err();
    assert!(error.contains("there twice"), "{error}");
    // Each names 41 directories of its own.
    let entries = (0..=DIRECTORIES_MAX / 41).map(|n| file(&deep(n, 40))).collect();
    let error = unpacked(entries).unwrap_err();
    assert!(error.contains("one directory too many"), "{error}");
    let mut tar = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    let long = format!("evil-1/{}file", "d/".repeat(DEPTH_MAX));
    tar.append_data(&mut header, &long, &b""[..]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = unpack(&bundle_of(&tar.into_inner().unwrap()), dir.path()).unwrap_err();
    assert!(error.to_string().contains("too many directories"), "{error}");
}

#[test]
fn links_stay_inside() {
    let check = |link: &str, target: &str, expected: bool| {
        assert_eq!(
            stays_inside(Path::new(link), Path::new(target)),
            expected,
            "{link} -> {target}"
        );
    };
    check("a", "b", true);
    check("a/b", "../c", true);
    check("a/b", "./c/d", true);
    check("a/b/c", "../../d", true);
    check("a/b", "../../d", false);
    check("a", "..", false);
    check("a", "b/..", false);
    check("a", "/b", false);
    check("a", "", false);
}
