//! Makefiles that name `/lib/modules/K/build` themselves, instead of using the variables of `dkms.conf`.
//!
//! ddcci and digimend do, like many others. Where the headers lie elsewhere, in an image or after `--kernelsourcedir`, such a Makefile
//! would find another kernel or none. So in the private copy that is built, that path is replaced by one that leads to the headers in use.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use walkdir::WalkDir;

use crate::kernel::KernelTarget;

/// What Makefiles call the module tree.
const MODULES: &[u8] = b"/lib/modules";

/// Leads the Makefiles in `build` to the headers of `kernel`, by a module tree `modules` that holds nothing else. Does nothing where the
/// running system's own path leads there.
pub(super) fn lead_to_headers(build: &Path, modules: &Path, kernel: &KernelTarget) -> io::Result<()> {
    let usual = Path::new("/lib/modules").join(&kernel.release).join("build");
    if kernel.chroot().is_some() || is_same(&usual, &kernel.headers) {
        return Ok(());
    }
    let dir = modules.join(&kernel.release);
    fs::create_dir_all(&dir)?;
    for name in ["build", "source"] {
        symlink(&kernel.headers, dir.join(name))?;
    }
    for entry in WalkDir::new(build) {
        let entry = entry?;
        if entry.file_type().is_file() && is_makefile(entry.file_name().as_encoded_bytes()) {
            let text = fs::read(entry.path())?;
            if let Some(changed) = replace(&text, modules.as_os_str().as_encoded_bytes()) {
                fs::write(entry.path(), changed)?;
            }
        }
    }
    Ok(())
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn is_makefile(name: &[u8]) -> bool {
    matches!(name, b"Makefile" | b"makefile" | b"GNUmakefile" | b"Kbuild") || name.ends_with(b".mk")
}

/// `text` with another name for the module tree wherever a path begins with it; `None` when there is none.
fn replace(text: &[u8], modules: &[u8]) -> Option<Vec<u8>> {
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"_-.)}".contains(b));
    let mut changed = Vec::with_capacity(text.len());
    let mut at = 0;
    let mut found = false;
    while at < text.len() {
        let rest = &text[at..];
        let begins = rest.starts_with(MODULES) && !goes_on(at.checked_sub(1).and_then(|before| text.get(before)));
        if begins && !goes_on(rest.get(MODULES.len())) {
            changed.extend_from_slice(modules);
            at += MODULES.len();
            found = true;
        } else {
            changed.push(text[at]);
            at += 1;
        }
    }
    found.then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_begin_there() {
        let check = |text: &str, expected: Option<&str>| {
            let changed = replace(text.as_bytes(), b"/w/m").map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
            assert_eq!(changed.as_deref(), expected, "{text}");
        };
        check(
            "KDIR := /lib/modules/$(KVERSION)/build\n",
            Some("KDIR := /w/m/$(KVERSION)/build\n"),
        );
        check("LIB_MODULES_PATH := /lib/modules\n", Some("LIB_MODULES_PATH := /w/m\n"));
        check("K?=/lib/modules/`uname -r`/build", Some("K?=/w/m/`uname -r`/build"));
        check("$(DESTDIR)/lib/modules/x", None);
        check("/usr/lib/modules/x", None);
        check("/lib/modules-extra", None);
        check("all: x\n", None);
    }
}
