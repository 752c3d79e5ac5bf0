//! What of a system a compiler needs: its programs and libraries, a few files of /etc, and the headers of one kernel.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::view::View;

/// What is at the top of a system besides /usr; links to it where the two are merged.
pub(super) const TOPS: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];

/// The files of /etc that programs of a toolchain read, and those by which confs and Makefiles tell distributions apart.
pub(super) const ETC: [&str; 19] = [
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "os-release",
    "lsb-release",
    "debian_version",
    "redhat-release",
    "fedora-release",
    "centos-release",
    "rocky-release",
    "SuSE-release",
    "system-release",
    "arch-release",
    "gentoo-release",
    "slackware-version",
    "localtime",
    "perl",
    "python3",
];

/// Directories below /usr that hold other packages' sources and modules: empty in the sandbox, but for what a view adds.
pub(super) const HIDDEN: [&str; 2] = ["src", "lib/modules"];

/// Adds the directory `headers` to `view`. Debian's headers name `linux-headers-…-common` and `linux-kbuild-…` beside them, Fedora's and
/// SUSE's are one directory of several below /usr/src.
pub(super) fn with_headers(view: View, headers: &Path) -> View {
    let Some(parent) = headers.parent() else {
        return view.read(headers);
    };
    let usr = match (parent.file_name(), parent.parent()) {
        (Some(name), Some(usr)) if name == OsStr::new("src") => usr,
        _ => return view.read(headers),
    };
    let beside = entries(parent, "linux-").filter(|path| !path.join("dkms.conf").exists());
    let programs = entries(&usr.join("lib"), "linux-kbuild-");
    beside
        .chain(programs)
        .chain([headers.to_owned()])
        .fold(view, |view, path| add_with_usual_name(view, &path, usr))
}

/// Under its own name, and where it is part of another system also under the name that it has there: some Makefiles say `/usr/src/…`.
fn add_with_usual_name(view: View, path: &Path, usr: &Path) -> View {
    let usual = path.strip_prefix(usr).map(|rest| Path::new("/usr").join(rest));
    // A link leads to what is added beside it.
    if let (Ok(target), Ok(place)) = (fs::read_link(path), &usual) {
        return view.link(target.clone(), place).link(target, path);
    }
    match usual {
        Ok(usual) if usual != view.inside(path) => view.read(path).read_as(path, usual),
        _ => view.read(path),
    }
}

fn entries(dir: &Path, prefix: &'static str) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(move |entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()))
        .map(|entry| entry.path())
}
