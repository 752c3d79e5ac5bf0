//! Runs bash over a dkms.conf and takes its values.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::context::{ConfContext, override_files};
use super::error::{ConfError, StderrTail};
use super::model::DkmsConf;
use super::raw::{End, RawConf};
use super::syntax::SyntaxSpan;
use crate::command::{Confined, Output, is_root, readable_by_all};
use crate::sandbox::{Account, Confinement, Layers, Limits, View};

/// The largest file that is looked at as a dkms.conf.
const MAX_CONF_LEN: u64 = 1 << 20;

const SCRIPT: &str = include_str!("evaluate.sh");

/// Evaluates the dkms.conf of the source directory `dir`, with the override files and directives of `ctx`.
///
/// Bash runs in the sandbox: it sees the source, the override files and the headers, and writes nothing. Its environment is empty; its
/// time, memory, output and processes are limited, and what it started ends with it.
///
/// # Errors
/// When the conf cannot be read, is no bash, or does not describe a package; see [`ConfError`].
pub fn evaluate(dir: &Path, ctx: &ConfContext) -> Result<DkmsConf, ConfError> {
    let path = ctx.conf_file.clone().unwrap_or_else(|| dir.join("dkms.conf"));
    let mut files = vec![path.clone()];
    files.extend(override_files(ctx));
    let mut stage = Stage::default();
    let shown: Vec<PathBuf> = files
        .iter()
        .map(|file| {
            stage.readable(file).map_err(|source| ConfError::Missing {
                path: file.clone(),
                source,
            })
        })
        .collect::<Result<_, _>>()?;
    let headers = stage.headers(ctx).map_err(|source| ConfError::Missing {
        path: ctx.kernel_config.clone(),
        source,
    })?;
    let output = run(dir, ctx, &headers, &shown).map_err(|error| ConfError::Bash {
        path: path.clone(),
        what: error.to_string(),
    })?;
    let stderr = stage.real_names(&String::from_utf8_lossy(&output.stderr));
    for file in &files {
        let text = fs::read_to_string(file).unwrap_or_default();
        if let Some(span) = SyntaxSpan::find(&stderr, file, &text) {
            return Err(ConfError::Syntax(span));
        }
    }
    let last = StderrTail::of(&stderr);
    if output.ended.timed_out {
        return Err(ConfError::TooSlow {
            path,
            limit_s: Limits::evaluation().time.as_secs(),
            said: last,
        });
    }
    let raw = RawConf::parse(&output.stdout, |text| stage.real_names(text)).map_err(|end| match end {
        End::Exits(file) => ConfError::Exits { path: file, said: last },
        End::Killed { signal, file } => ConfError::Killed {
            path: file,
            signal,
            said: last,
        },
        End::Missing => ConfError::Bash {
            path: path.clone(),
            what: format!("it ended early, {}{last}", output.ended.status),
        },
    })?;
    DkmsConf::from_raw(&raw, ctx, &stderr).map_err(|problems| ConfError::Invalid { path, problems })
}

fn run(dir: &Path, ctx: &ConfContext, headers: &Path, files: &[PathBuf]) -> io::Result<Output> {
    let config = if headers == ctx.kernel_source_dir {
        ctx.kernel_config.clone()
    } else {
        headers.join(".config")
    };
    let account = Account::lend();
    let limits = Limits::evaluation();
    let view = view(dir, ctx, headers, &config, files, &account);
    Confined::bash(SCRIPT, "dkms.conf")
        .args([&ctx.module, &ctx.version, &ctx.kernel_release, &ctx.arch])
        .args([
            headers,
            &config,
            &ctx.dkms_tree,
            &ctx.source_tree,
            &ctx.install_tree,
            &ctx.tmp_location,
        ])
        .args([ctx.parallel_jobs.to_string(), ctx.distribution.name().to_owned()])
        .arg(ctx.addon_modules_dir.as_deref().unwrap_or_default())
        .arg(files.len().to_string())
        .args(files)
        .args(ctx.directives.iter().map(|d| format!("{}={}", d.name, d.value)))
        .dir(dir)
        .sandbox(view)
        .output(limits.output_bytes)
}

/// What one evaluation sees. Where a file that it needs is closed to others, it is evaluated by our own user, who has no rights in there.
fn view(dir: &Path, ctx: &ConfContext, headers: &Path, config: &Path, files: &[PathBuf], account: &Account) -> View {
    let is_open =
        |path: &Path, bits: u32| fs::metadata(path).map_or(true, |meta| meta.permissions().mode() & bits == bits);
    let open = is_open(dir, 0o5) && is_open(config, 0o4) && files.iter().all(|file| is_open(file, 0o4));
    let user = account.id().filter(|_| open);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let source = real(dir);
    let view = View::new(Path::new("/"), user, Limits::evaluation())
        .kernel(&ctx.kernel_release, &real(headers), None)
        .read(real(config))
        .read_as(&source, dir)
        .read(&source);
    files.iter().fold(view, |view, file| view.read_as(real(file), file))
}

/// Whether bash runs as another user who sees the file system as it is: a mount namespace shows what it needs, wherever that lies.
fn needs_copies() -> bool {
    is_root() && Layers::here().confinement != Confinement::MountNamespace
}

/// Copies of what others may not read. Their names are put right again in all that bash says.
#[derive(Default)]
struct Stage {
    dir: Option<tempfile::TempDir>,
    names: Vec<(String, String)>,
}

impl Stage {
    /// `file`, or a readable copy of it.
    fn readable(&mut self, file: &Path) -> io::Result<PathBuf> {
        let meta = fs::metadata(file)?;
        if !meta.is_file() || meta.len() > MAX_CONF_LEN {
            return Err(io::Error::other("it is no file of a sensible size"));
        }
        if !needs_copies() || readable_by_all(file) {
            fs::File::open(file)?;
            return Ok(file.to_owned());
        }
        self.copy(file, &[file.file_name().unwrap_or_default().as_ref()], file)
    }

    /// The directory of headers, or a readable copy of the files in it that confs look at.
    fn headers(&mut self, ctx: &ConfContext) -> io::Result<PathBuf> {
        let dir = &ctx.kernel_source_dir;
        if !needs_copies() || !ctx.kernel_config.exists() || readable_by_all(&ctx.kernel_config) {
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
    fn real_names(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (copy, real)| text.replace(copy, real))
    }
}

fn open_to_all(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
