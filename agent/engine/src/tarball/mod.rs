//! `mktarball` and `ldtarball`: a package with what was built of it, in one file.
//!
//! The layout is upstream's: `dkms_source_tree/` with the source, or `dkms_binaries_only/` with the dkms.conf alone, and
//! `dkms_main_tree/K/A/` with `log/` and `module/` of each kernel.

mod error;
mod layout;
mod pack;
mod unpack;

pub use error::TarballError;
pub use pack::{Contents, default_name, pack};
pub use unpack::{Unpacked, examine, unpack};

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io;

    use super::*;
    use crate::package::{DkmsId, KernelId};

    fn package() -> DkmsId {
        DkmsId {
            module: "m".into(),
            version: "1".into(),
        }
    }

    fn kernel(release: &str) -> KernelId {
        KernelId {
            release: release.into(),
            arch: "x86_64".into(),
        }
    }

    #[test]
    fn names() {
        let check = |kernels: &[KernelId], expected: &str| assert_eq!(default_name(&package(), kernels), expected);
        check(&[], "m-1-source-only.dkms.tar.gz");
        check(
            &[kernel("6.1"), kernel("6.2")],
            "m-1-kernel6.1-x86_64-kernel6.2-x86_64.dkms.tar.gz",
        );
        check(&vec![kernel("6.1"); 20], "m-1-manykernels.dkms.tar.gz");
    }

    #[test]
    fn what_is_packed_is_unpacked_with_every_compressor() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (source, built) = (dir.path().join("source"), dir.path().join("built"));
        for (path, text) in [(source.join("dkms.conf"), "conf"), (built.join("module/m.ko"), "ko")] {
            fs::create_dir_all(path.parent().expect("parent")).expect("dir");
            fs::write(path, text).expect("file");
        }
        let conf = source.join("dkms.conf");
        let contents = Contents {
            package: package(),
            source: Some(source),
            conf,
            built: vec![(kernel("6.1"), built)],
        };
        for suffix in ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst"] {
            for contents in [
                contents.clone(),
                Contents {
                    source: None,
                    ..contents.clone()
                },
            ] {
                let (tarball, to) = (
                    dir.path().join(format!("t.{suffix}")),
                    tempfile::tempdir().expect("temp dir"),
                );
                pack(&contents, &tarball).expect("pack");
                unpack(&tarball, to.path()).expect("unpack");
                let found = examine(&tarball, to.path()).expect("examine");
                assert_eq!(found.has_source, contents.source.is_some(), "{suffix}");
                assert_eq!(
                    fs::read_to_string(found.conf_dir.join("dkms.conf")).expect("conf"),
                    "conf"
                );
                let [(id, dir)] = found.built.as_slice() else {
                    panic!("{found:?}")
                };
                assert_eq!(
                    (id, fs::read_to_string(dir.join("module/m.ko")).expect("ko")),
                    (&kernel("6.1"), "ko".into())
                );
            }
        }
    }

    #[test]
    fn hostile_tarballs_write_nothing_outside() {
        let entry = |name: &str, kind: tar::EntryType, link: &str| {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_gnu_mut().expect("gnu").linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(0);
            header.set_cksum();
            header
        };
        use tar::EntryType as Kind;
        for (name, kind, link) in [
            ("../x", Kind::Regular, ""),
            ("/x", Kind::Regular, ""),
            ("a/../../x", Kind::Regular, ""),
            ("l", Kind::Symlink, "/etc"),
            ("l", Kind::Symlink, "../x"),
            ("a/l", Kind::Symlink, "../../x"),
            ("l", Kind::Link, "/etc/passwd"),
            ("d", Kind::Char, ""),
            ("f", Kind::Fifo, ""),
        ] {
            let dir = tempfile::tempdir().expect("temp dir");
            let tarball = dir.path().join("t.tar");
            let mut tar = tar::Builder::new(File::create(&tarball).expect("file"));
            tar.append(&entry(name, kind, link), io::empty()).expect("entry");
            tar.finish().expect("tar");
            let to = dir.path().join("to");
            fs::create_dir(&to).expect("dir");
            let error = unpack(&tarball, &to).expect_err(name);
            assert!(matches!(error, TarballError::Unsafe { .. }), "{name}: {error}");
            assert_eq!(fs::read_dir(&to).expect("dir").count(), 0, "{name}");
        }
    }
}
