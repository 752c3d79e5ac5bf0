//! The headers of a kernel in a [`View`].

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::view::View;

impl View {
    /// Adds a directory of kernel headers and the directories that it needs: Debian's refer to others beside them and to kbuild's programs.
    #[must_use]
    pub fn headers(self, headers: &Path) -> View {
        with_headers(self, headers)
    }

    /// Adds the headers of kernel `release`, a directory without links in its path, and links `/lib/modules/…/build` to it:
    /// for that kernel, and for the running one, which some Makefiles always use. `source` is where
    /// `/lib/modules/…/source` leads, if that is another directory.
    #[must_use]
    pub fn kernel(self, release: &str, headers: &Path, source: Option<&Path>) -> View {
        let running = rustix::system::uname().release().to_string_lossy().into_owned();
        let place = self.inside(headers);
        let source = source.map_or_else(|| place.clone(), |source| self.inside(source));
        let modules = Path::new("/lib/modules");
        let releases = [release, &running];
        releases.iter().fold(self.headers(headers), |view, release| {
            let dir = modules.join(release);
            view.link(&place, dir.join("build")).link(&source, dir.join("source"))
        })
    }
}

/// Adds the directory `headers` to `view`. Debian's headers name `linux-headers-…-common` and `linux-kbuild-…` beside them, Fedora's and
/// SUSE's are one directory of several below /usr/src.
fn with_headers(view: View, headers: &Path) -> View {
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
/// Below /usr/src that name is a link, because Debian's headers refer to `../../lib/linux-kbuild-…`, which /usr/lib of this system may not
/// have.
fn add_with_usual_name(view: View, path: &Path, usr: &Path) -> View {
    let usual = path.strip_prefix(usr).map(|rest| Path::new("/usr").join(rest));
    // The target of a link is one of the directories that are added.
    if let (Ok(target), Ok(place)) = (fs::read_link(path), &usual) {
        return view.link(target.clone(), place).link(target, path);
    }
    match usual {
        Ok(usual) if usual == view.inside(path) => view.read(path),
        Ok(usual) if usual.starts_with("/usr/src") => {
            let own = view.inside(path);
            view.read(path).link(own, usual)
        }
        Ok(usual) => view.read(path).read_as(path, usual),
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
