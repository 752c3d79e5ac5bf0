//! The bundle: a source as one file, the same bytes for the same source on every machine.

use std::cell::RefCell;
use std::io;

use dkms_index::document::{BundleFormat, BundleRef};
use sha2::{Digest, Sha256};
use zstd::bulk::Compressor;

use super::archive;
use super::error::Problem;
use super::tree::{Entry, Limits, SourceTree};

/// The time of every file in a bundle: 2000-01-01 00:00:00 UTC. A time of zero confuses make.
const TIME_S: u64 = 946_684_800;

/// Bundles are made once and fetched by many.
const ZSTD_LEVEL: i32 = 19;

/// The largest archive whose compressor is kept, so that no thread holds on to much memory.
const KEPT_MAX_BYTES: usize = 4 << 20;

/// A packed source and how to name it.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The zstd-compressed tar archive.
    pub bytes: Vec<u8>,
    /// Its digest and length, as manifests carry them.
    pub reference: BundleRef,
}

impl Bundle {
    /// Packs `tree` below the top directory `top`, which is `<name>-<dkms version>`.
    ///
    /// Sorted by path, owner 0, one fixed time, modes 0755 and 0644: nothing of the machine that packed it is left.
    ///
    /// # Errors
    /// When a name does not fit into a tar archive.
    pub fn pack(tree: &SourceTree, top: &str) -> io::Result<Self> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, format!("{top}/"), io::empty())?;
        for (path, entry) in tree.entries() {
            append(&mut tar, &format!("{top}/{path}"), entry)?;
        }
        Ok(Self::of(compress(&tar.into_inner()?)?))
    }

    fn of(bytes: Vec<u8>) -> Self {
        let reference = BundleRef {
            sha256: hex::encode(Sha256::digest(&bytes)),
            length: bytes.len() as u64,
            format: BundleFormat::TarZst,
        };
        Self { bytes, reference }
    }
}

/// Compresses an archive. The tables of a compressor are as large as its input asks for, and a thread keeps those of small
/// ones: to make them anew costs more than most sources do.
fn compress(archive: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static KEPT: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    if archive.len() > KEPT_MAX_BYTES {
        return Compressor::new(ZSTD_LEVEL)?.compress(archive);
    }
    KEPT.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(ZSTD_LEVEL)?),
        };
        compressor.compress(archive)
    })
}

/// The source in a bundle, which has one top directory.
///
/// # Errors
/// As for any archive: a bundle of our own store is checked like any other.
pub fn unpack(bytes: &[u8], limits: Limits) -> Result<SourceTree, Problem> {
    let raw = archive::read(bytes, limits)?;
    let tops: Vec<&str> = raw.paths().filter(|path| !path.contains('/')).collect();
    match tops.as_slice() {
        [top] => {
            let top = (*top).to_owned();
            raw.source_at(&top)
        }
        _ => Err(Problem::Malformed("a bundle has one top directory".to_owned())),
    }
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, entry: &Entry) -> io::Result<()> {
    match entry {
        Entry::Directory => {
            let mut header = header(tar::EntryType::Directory, 0o755, 0);
            tar.append_data(&mut header, format!("{path}/"), io::empty())
        }
        Entry::File { bytes, executable } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
            tar.append_data(&mut header, path, bytes.as_slice())
        }
        Entry::Link(target) => {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            tar.append_link(&mut header, path, target)
        }
    }
}

fn header(kind: tar::EntryType, mode: u32, len_bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(len_bytes);
    header.set_mtime(TIME_S);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::tree::RawTree;

    #[test]
    fn a_source_survives_packing_and_packs_the_same_twice() {
        let mut raw = RawTree::new(Limits::default());
        let long = format!("deep/{}/file.c", "directory".repeat(15));
        let file = |bytes: &[u8], executable| Entry::File {
            bytes: bytes.to_vec(),
            executable,
        };
        raw.insert(long.as_bytes(), file(b"int x;\n", false)).unwrap();
        raw.insert(b"configure", file(b"#!/bin/sh\n", true)).unwrap();
        raw.insert(b"empty", Entry::Directory).unwrap();
        raw.insert(b"deep/link", Entry::Link("../configure".into())).unwrap();
        let tree = raw.source_at("").unwrap();
        let bundle = Bundle::pack(&tree, "x-1.0").unwrap();
        assert_eq!(bundle.bytes, Bundle::pack(&tree, "x-1.0").unwrap().bytes);
        assert_eq!(unpack(&bundle.bytes, Limits::default()).unwrap(), tree);
        assert_eq!(bundle.reference.length, bundle.bytes.len() as u64);
        // What a thread compressed before has no influence, whether its compressor is kept or not.
        for size in [1 << 20, KEPT_MAX_BYTES + 1] {
            compress(&vec![b'x'; size]).unwrap();
            assert_eq!(bundle.bytes, Bundle::pack(&tree, "x-1.0").unwrap().bytes);
        }

        let dir = tempfile::tempdir().unwrap();
        tree.write_to(dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("deep/link")).unwrap(), b"#!/bin/sh\n");
        assert!(tree.write_to(dir.path()).is_err(), "nothing is overwritten");
    }
}
