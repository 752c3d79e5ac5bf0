//! The control file and the copyright file of a Debian package, both with the input as their text.

use std::path::Path;

use crate::bounded;
use dkms_repo::ingest::{self, Limits};

/// Tries one input.
pub fn run(input: &[u8]) {
    let package = package(input);
    bounded(input, || {
        drop(ingest::ingest_bytes(Path::new("x.deb"), &package, Limits::default()))
    });
}

/// A package `x` whose control and copyright files hold `text`.
fn package(text: &[u8]) -> Vec<u8> {
    let control = tar(&[("./control", text)]);
    let data = tar(&[("./usr/src/x-1/dkms.conf", b""), ("./usr/share/doc/x/copyright", text)]);
    let mut ar = b"!<arch>\n".to_vec();
    for (name, content) in [
        ("debian-binary", &b"2.0\n"[..]),
        ("control.tar", &control),
        ("data.tar", &data),
    ] {
        ar.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                content.len()
            )
            .bytes(),
        );
        ar.extend(content);
        ar.extend(vec![b'\n'; content.len() % 2]);
    }
    ar
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, *content)
            .expect("an archive in memory");
    }
    builder.into_inner().expect("an archive in memory")
}
