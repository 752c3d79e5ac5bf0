//! Copies of files for bash: of what another user may not read, and of what has DOS line ends.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::context::ConfContext;
use crate::command::{is_root, readable_by_all};
use crate::sandbox::{Confinement, Layers};

/// The largest dkms.conf, in bytes.
const MAX_CONF_LEN: u64 = 1 << 20;

/// A file as bash gets it.
#[derive(Debug)]
pub(super) struct Shown {
    /// Where its bytes are.
    pub(super) bytes: PathBuf,
    /// The path under which bash sees it.
    pub(super) name: PathBuf,
}

/// Whether bash runs as another user without a mount namespace, so that file permissions decide what it can read.
pub(super) fn sees_real_files() -> bool {
    is_root() && Layers::here().confinement != Confinement::MountNamespace
}

/// Copies of what others may not read. Their names are replaced by those of the originals in the output of bash.
#[derive(Debug, Default)]
pub(super) struct Stage {
    dir: Option<tempfile::TempDir>,
    names: Vec<(String, String)>,
}

impl Stage {
    /// `file`, or a copy of it: a readable one, and one without the CR of DOS line ends, which bash would take for a part of each value.
    pub(super) fn readable(&mut self, file: &Path) -> io::Result<Shown> {
        let meta = fs::metadata(file)?;
        if !meta.is_file() || meta.len() > MAX_CONF_LEN {
            return Err(io::Error::other("it is no file of a sensible size"));
        }
        let text = fs::read(file)?;
        let has_dos_ends = text.windows(2).any(|pair| pair == b"\r\n");
        if !has_dos_ends && (!sees_real_files() || readable_by_all(file)) {
            return Ok(Shown {
                bytes: file.to_owned(),
                name: file.to_owned(),
            });
        }
        let copy = self.copy(file, &[file.file_name().unwrap_or_default().as_ref()], file)?;
        if has_dos_ends {
            fs::write(&copy, without_dos_ends(&text))?;
        }
        let name = if sees_real_files() {
            copy.clone()
        } else {
            file.to_owned()
        };
        Ok(Shown { bytes: copy, name })
    }

    /// Notes that `copy` is shown in the place of the directory `real`.
    pub(super) fn stands_for(&mut self, copy: &Path, real: &Path) {
        self.names
            .push((copy.display().to_string(), real.display().to_string()));
    }

    /// The directory of headers, or a readable copy of the files in it that confs look at.
    pub(super) fn headers(&mut self, ctx: &ConfContext) -> io::Result<PathBuf> {
        let dir = &ctx.kernel_source_dir;
        if !sees_real_files() || !ctx.kernel_config.exists() || readable_by_all(&ctx.kernel_config) {
            return Ok(dir.clone());
        }
        let files = [
            "Makefile",
            "include/generated/utsrelease.h",
            "include/config/auto.conf",
            "Module.symvers",
        ];
        let copy = self.copy(&ctx.kernel_config, &[".config".as_ref()], &dir.join(".config"))?;
        let top = copy.parent().unwrap_or(&copy).to_owned();
        for name in files {
            let (from, to) = (dir.join(name), top.join(name));
            if from.is_file() {
                fs::create_dir_all(to.parent().unwrap_or(&top))?;
                fs::copy(from, &to)?;
                open_to_all(&to, 0o644)?;
                for parent in to.ancestors().skip(1).take_while(|parent| *parent != top) {
                    open_to_all(parent, 0o755)?;
                }
            }
        }
        Ok(top)
    }

    fn copy(&mut self, from: &Path, name: &[&Path], real: &Path) -> io::Result<PathBuf> {
        let stage = match self.dir.take() {
            Some(dir) => dir,
            None => tempfile::Builder::new().prefix("dkms-conf-").tempdir()?,
        };
        open_to_all(stage.path(), 0o755)?;
        let dir = stage.path().join(self.names.len().to_string());
        fs::create_dir(&dir)?;
        open_to_all(&dir, 0o755)?;
        let to = name.iter().fold(dir.clone(), |path, part| path.join(part));
        fs::copy(from, &to)?;
        open_to_all(&to, 0o644)?;
        let real = real.parent().unwrap_or(real);
        self.names.push((dir.display().to_string(), real.display().to_string()));
        self.dir = Some(stage);
        Ok(to)
    }

    /// `text` with the names of copies replaced by those of the originals.
    pub(super) fn real_names(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (copy, real)| text.replace(copy, real))
    }
}

pub(super) fn without_dos_ends(text: &[u8]) -> Vec<u8> {
    let is_kept = |(at, byte): (usize, &u8)| (*byte != b'\r' || text.get(at + 1) != Some(&b'\n')).then_some(*byte);
    text.iter().enumerate().filter_map(is_kept).collect()
}

fn open_to_all(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
