//! The files of a package, below a directory of ours. Links in there are followed inside of it, so that nothing is written elsewhere.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use dkms_engine::root::Root;
use tar::{Archive, EntryType};

use crate::ingest;

/// Directories at the top that are links into /usr on Debian since 12; its packages name some files by them.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];

/// What no build reads.
const LEFT_OUT: [&str; 8] = [
    "boot",
    "var",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
];

/// What is called as the program beside it by scripts of the packages, which are not run.
const ALTERNATIVES: [(&str, &str); 3] = [("awk", "mawk"), ("awk", "gawk"), ("cc", "gcc")];

/// Makes the directories at the top of `root`, which is empty.
pub(super) fn lay_out(root: &Path) -> io::Result<()> {
    for dir in [root.to_owned(), root.join("usr")] {
        make_dir(&dir)?;
    }
    for name in MERGED {
        make_dir(&root.join("usr").join(name))?;
        symlink(Path::new("usr").join(name), root.join(name))?;
    }
    Ok(())
}

/// Makes the links that scripts of packages would have made.
pub(super) fn link_alternatives(root: &Path) -> io::Result<()> {
    let bin = root.join("usr/bin");
    for (name, program) in ALTERNATIVES {
        let place = bin.join(name);
        if bin.join(program).exists() && place.symlink_metadata().is_err() {
            symlink(program, place)?;
        }
    }
    Ok(())
}

/// Writes the files of the package `bytes` below `root`, and takes what they are long from `room_bytes`.
pub(super) fn package(bytes: &[u8], root: &Root, room_bytes: &mut u64) -> Result<(), String> {
    let data = ingest::deb_member(bytes, "data.tar").map_err(|problem| problem.to_string())?;
    let stream = ingest::decompress(data, *room_bytes).map_err(|problem| problem.to_string())?;
    let mut archive = Archive::new(stream);
    let unsound = |error: io::Error| format!("it has no sound archive: {error}");
    for entry in archive.entries().map_err(unsound)? {
        let mut entry = entry.map_err(unsound)?;
        let name = entry.path().map_err(unsound)?.into_owned();
        let shown = name.display();
        let path = below(&name).ok_or_else(|| format!("it has the file name {shown:?}"))?;
        if path.as_os_str().is_empty() || LEFT_OUT.iter().any(|dir| path.starts_with(dir)) {
            continue;
        }
        *room_bytes = room_bytes
            .checked_sub(entry.size())
            .ok_or("it unpacks to more than is allowed")?;
        let link = entry.link_name().map_err(unsound)?.map(|link| link.into_owned());
        let link = || link.clone().ok_or_else(|| format!("the link {shown} leads nowhere"));
        let failed = |error: io::Error| format!("{shown} cannot be written: {error}");
        let place = root.join_link(&path);
        match entry.header().entry_type() {
            EntryType::Directory => make_dir(&root.join(&path)).map_err(failed)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mode = entry.header().mode().map_err(unsound)?;
                let made_s = entry.header().mtime().map_err(unsound)?;
                write(&mut entry, &place, mode, made_s).map_err(failed)?;
            }
            EntryType::Symlink => {
                let target = link()?;
                make_way(&place)
                    .and_then(|()| symlink(target, &place))
                    .map_err(failed)?;
            }
            EntryType::Link => {
                let target = link()?;
                let target = below(&target).ok_or_else(|| format!("the link {shown} leads to {target:?}"))?;
                make_way(&place).map_err(failed)?;
                fs::hard_link(root.join_link(target), &place).map_err(failed)?;
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(format!("{shown} is neither file, directory nor link")),
        }
    }
    Ok(())
}

/// A relative path without `..`.
fn below(name: &Path) -> Option<PathBuf> {
    name.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// Whoever builds has to read what is in it, whatever the umask.
fn make_dir(place: &Path) -> io::Result<()> {
    fs::create_dir_all(place)?;
    fs::set_permissions(place, Permissions::from_mode(0o755))
}

/// Whoever builds has to read it, and nobody's rights come with it.
fn write(from: &mut impl Read, place: &Path, mode: u32, made_s: u64) -> io::Result<()> {
    make_way(place)?;
    let mut file = File::create_new(place)?;
    io::copy(from, &mut file)?;
    file.set_permissions(Permissions::from_mode(0o644 | (mode & 0o111)))?;
    // A date that the file system does not have is left out.
    let made = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(made_s));
    made.map_or(Ok(()), |made| file.set_times(FileTimes::new().set_modified(made)))
}

/// Makes the directories above `place`, and removes a file of another package.
fn make_way(place: &Path) -> io::Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A .deb of one entry after the other: type, name, where a link leads or the content.
    fn deb(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name, text) in entries {
            let mut header = tar::Header::new_gnu();
            // Written raw, so that hostile names pass.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4750);
            let content = if *kind == EntryType::Regular {
                text.as_bytes()
            } else {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
                b""
            };
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let mut deb = format!("!<arch>\n{:<48}{:<10}`\n", "data.tar", tar.len()).into_bytes();
        deb.extend(tar);
        deb
    }

    fn fresh() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        lay_out(dir.path()).unwrap();
        let root = Root::at(dir.path());
        (dir, root)
    }

    #[test]
    fn files_lie_where_packages_say() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let (dir, root) = fresh();
        let mut room = 1 << 20;
        let packages: [&[(EntryType, &str, &str)]; 2] = [
            &[
                (Directory, "./", ""),
                (Directory, "./bin/", ""),
                (Regular, "./bin/mawk", "awk"),
                (Symlink, "./bin/sh", "dash"),
                (Regular, "./usr/share/doc/x/README", "text"),
                (Link, "./usr/bin/same", "./bin/mawk"),
            ],
            // A link of one package, and files of another one behind it; a file that both have.
            &[
                (Symlink, "./usr/include/asm", "/usr/include/x86"),
                (Regular, "./usr/include/asm/a.h", "a"),
                (Symlink, "./usr/out", "../../../../../etc"),
                (Regular, "./usr/out/passwd", "x"),
                (Regular, "./usr/bin/mawk", "new"),
            ],
        ];
        for entries in packages {
            package(&deb(entries), &root, &mut room).unwrap();
        }
        link_alternatives(dir.path()).unwrap();
        let check = |path: &str, expected: Option<&str>| {
            let found = fs::read_to_string(dir.path().join(path)).ok();
            assert_eq!(found.as_deref(), expected, "{path}");
        };
        check("bin/mawk", Some("new"));
        check("usr/bin/awk", Some("new"));
        check("usr/bin/same", Some("awk"));
        check("usr/include/x86/a.h", Some("a"));
        check("etc/passwd", Some("x"));
        check("usr/share/doc/x/README", None);
        assert_eq!(fs::read_link(dir.path().join("usr/bin/sh")).unwrap(), Path::new("dash"));
        let mode = fs::metadata(dir.path().join("bin/mawk")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o754, "no rights of others");
        assert_eq!(room, (1 << 20) - 8);
    }

    #[test]
    fn what_does_not_belong_into_a_system_is_refused() {
        use EntryType::{Char, Link, Regular};
        let check = |entry: (EntryType, &str, &str), expected: &str| {
            let (_dir, root) = fresh();
            let found = package(&deb(&[entry]), &root, &mut 20_000);
            assert_eq!(found, Err(expected.to_owned()), "{entry:?}");
        };
        check((Regular, "../x", ""), "it has the file name \"../x\"");
        check((Regular, "/x", ""), "it has the file name \"/x\"");
        check(
            (Link, "x", "../../etc/passwd"),
            "the link x leads to \"../../etc/passwd\"",
        );
        check((Char, "dev/null", ""), "dev/null is neither file, directory nor link");
        let (_dir, root) = fresh();
        let large = deb(&[(Regular, "x", &"x".repeat(5000))]);
        assert_eq!(
            package(&large, &root, &mut 4000),
            Err("it unpacks to more than is allowed".to_owned())
        );
        assert!(package(b"no package", &root, &mut 1).is_err());
    }
}
