//! Runs bash over a dkms.conf and takes its values.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::context::{ConfContext, override_files};
use super::error::{ConfError, StderrTail};
use super::model::DkmsConf;
use super::plain;
use super::raw::{End, RawConf};
use super::reader::read_conf;
use super::stage::{Shown, Stage, sees_real_files};
use super::syntax::SyntaxSpan;
use crate::command::{Confined, Output, is_root};
use crate::fsutil::chown_tree;
use crate::sandbox::{Account, Limits, View};

pub(super) const SCRIPT: &str = include_str!("evaluate.sh");

/// Evaluates the dkms.conf of the source directory `dir`, with the override files and directives of `ctx`.
///
/// Plain files are read by a parser; all others are evaluated by bash. Bash runs in the sandbox: it sees the source, the override files
/// and the headers, and can write nothing. Its environment is empty; its time, memory, output and processes are limited, and the
/// processes that it started are killed when it ends. Where other users cannot read some file of the source, bash runs as our own user,
/// without capabilities.
///
/// # Errors
/// When the conf cannot be read, is no bash, or does not describe a package; see [`ConfError`].
pub fn evaluate(dir: &Path, ctx: &ConfContext) -> Result<DkmsConf, ConfError> {
    if let Some(result) = without_bash(dir, ctx) {
        return result;
    }
    let first = attempt(dir, ctx, None, false);
    if first.result.is_err() && first.stderr.contains("Permission denied") && is_root() && !sees_real_files() {
        return attempt(dir, ctx, None, true).result;
    }
    first.result
}

/// Reads what an evaluation printed: names and values, each ended by a zero byte. `None` when the end mark is missing, or the
/// values do not describe a package.
pub fn read_output(stdout: &[u8], ctx: &ConfContext) -> Option<DkmsConf> {
    let raw = RawConf::parse(stdout, str::to_owned).ok()?;
    read_conf(&raw, ctx, "").ok()
}

/// Reads a conf of this text by the parser of plain confs, without override files. `None` where only bash can read it, or it does not
/// describe a package.
pub fn read_plain(text: &[u8], ctx: &ConfContext) -> Option<DkmsConf> {
    let raw = plain::read_text(text, ctx)?;
    read_conf(&raw, ctx, "").ok()
}

/// Refuses a dkms.conf that is a link out of its source: a package could have a file of this machine read as its configuration, and
/// lines of it would be shown in errors. A file that the caller names is the caller's.
fn require_own_conf(dir: &Path, ctx: &ConfContext) -> Result<(), ConfError> {
    let path = dir.join("dkms.conf");
    if ctx.conf_file.is_some() || !path.is_symlink() {
        return Ok(());
    }
    let is_inside = fs::canonicalize(&path).and_then(|conf| Ok(conf.starts_with(fs::canonicalize(dir)?)));
    match is_inside {
        Ok(true) => Ok(()),
        Ok(false) => Err(ConfError::Missing {
            path,
            source: io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is a link to a file outside of the source",
            ),
        }),
        Err(source) => Err(ConfError::Missing { path, source }),
    }
}

/// The values of a plain conf, or why it may not be read; None for one that only bash can read.
pub(super) fn without_bash(dir: &Path, ctx: &ConfContext) -> Option<Result<DkmsConf, ConfError>> {
    if let Err(error) = require_own_conf(dir, ctx) {
        return Some(Err(error));
    }
    let raw = plain::read(dir, ctx)?;
    Some(typed(&raw, dir, ctx, ""))
}

/// The dkms.conf of the source directory `dir`, where it is a plain and valid one: as [`evaluate`], without a bash.
pub(crate) fn evaluate_plain(dir: &Path, ctx: &ConfContext) -> Option<DkmsConf> {
    without_bash(dir, ctx)?.ok()
}

/// The outcome of one evaluation.
pub(super) struct Attempt {
    pub(super) result: Result<DkmsConf, ConfError>,
    /// What bash wrote to standard error.
    pub(super) stderr: String,
}

/// Evaluates once. If there is a `copy`, bash sees it in the place of `dir` and may write there. `as_us`: bash runs as our own user.
pub(super) fn attempt(dir: &Path, ctx: &ConfContext, copy: Option<&Path>, as_us: bool) -> Attempt {
    let mut stderr = String::new();
    let values = values_by_bash(dir, ctx, copy, as_us, &mut stderr);
    let result = values.and_then(|raw| typed(&raw, dir, ctx, &stderr));
    Attempt { result, stderr }
}

fn typed(raw: &RawConf, dir: &Path, ctx: &ConfContext, stderr: &str) -> Result<DkmsConf, ConfError> {
    read_conf(raw, ctx, stderr).map_err(|problems| ConfError::Invalid {
        path: ctx.conf_file.clone().unwrap_or_else(|| dir.join("dkms.conf")),
        problems,
    })
}

/// The values of a conf by bash, whose standard error goes to `stderr_seen`.
pub(super) fn values_by_bash(
    dir: &Path,
    ctx: &ConfContext,
    copy: Option<&Path>,
    as_us: bool,
    stderr_seen: &mut String,
) -> Result<RawConf, ConfError> {
    let path = ctx.conf_file.clone().unwrap_or_else(|| dir.join("dkms.conf"));
    let mut stage = Stage::default();
    let mut place = Place {
        dir: dir.to_owned(),
        copy: copy.map(Path::to_owned),
        as_us,
    };
    let mut files = vec![path.clone()];
    if let Some(copy) = copy.filter(|_| sees_real_files()) {
        // Without a mount namespace the copy keeps its own path: bash works there, and that path is replaced in its output.
        copy.clone_into(&mut place.dir);
        stage.stands_for(copy, dir);
        if ctx.conf_file.is_none() {
            files = vec![copy.join("dkms.conf")];
        }
    }
    files.extend(override_files(ctx));
    let shown: Vec<Shown> = files
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
    let output = run(&place, ctx, &headers, &shown).map_err(|error| ConfError::Bash {
        path: path.clone(),
        what: error.to_string(),
    })?;
    let stderr = stage.real_names(&String::from_utf8_lossy(&output.stderr));
    stderr_seen.clone_from(&stderr);
    files[0].clone_from(&path);
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
            stderr: last,
        });
    }
    if let Some(exceeded) = output.ended.exceeded {
        return Err(ConfError::TooMuch {
            path,
            exceeded,
            stderr: last,
        });
    }
    RawConf::parse(&output.stdout, |text| stage.real_names(text)).map_err(|end| match end {
        End::Exits(file) => ConfError::Exits {
            path: file,
            stderr: last,
        },
        End::Killed { signal, file } => ConfError::Killed {
            path: file,
            signal,
            stderr: last,
        },
        End::Missing => ConfError::Bash {
            path: path.clone(),
            what: format!("it ended early, {}{last}", output.ended.status),
        },
    })
}

/// The source as bash sees it, and the user that bash runs as.
struct Place {
    /// The source, by the name that bash knows.
    dir: PathBuf,
    /// The copy that takes its place, which may be written.
    copy: Option<PathBuf>,
    /// Whether bash runs as our own user.
    as_us: bool,
}

fn run(place: &Place, ctx: &ConfContext, headers: &Path, files: &[Shown]) -> io::Result<Output> {
    let config = if headers == ctx.kernel_source_dir {
        ctx.kernel_config.clone()
    } else {
        headers.join(".config")
    };
    let limits = Limits::evaluation();
    let account = if place.as_us || !is_open_to_all(place, &config, files) {
        Account::ours()
    } else {
        Account::reserve()
    };
    if let (Some(user), Some(copy)) = (account.id(), &place.copy) {
        chown_tree(copy, user)?;
    }
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
        .args(files.iter().map(|file| &file.name))
        .args(ctx.directives.iter().map(|d| format!("{}={}", d.name, d.value)))
        .dir(&place.dir)
        // git refuses a source that another user owns (git-config(1), safe.directory); confs take their version from it.
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .sandbox(view(place, ctx, headers, &config, files, account))
        .output(limits.output_bytes)
}

/// Whether another user may read what this evaluation needs.
fn is_open_to_all(place: &Place, config: &Path, files: &[Shown]) -> bool {
    let is_open =
        |path: &Path, bits: u32| fs::metadata(path).map_or(true, |meta| meta.permissions().mode() & bits == bits);
    let source = place.copy.is_some() || is_open(&place.dir, 0o5);
    let is_shown =
        |file: &Shown| is_open(&file.bytes, 0o4) || (place.copy.is_some() && file.bytes.starts_with(&place.dir));
    source && is_open(config, 0o4) && files.iter().all(is_shown)
}

/// The view of one evaluation.
fn view(place: &Place, ctx: &ConfContext, headers: &Path, config: &Path, files: &[Shown], account: Account) -> View {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let source = real(&place.dir);
    let view = View::new(Path::new("/"), account, Limits::evaluation())
        .kernel(&ctx.kernel_release, &real(headers), None)
        .read(real(config));
    let view = match &place.copy {
        None => view.read_as(&source, &place.dir).read(&source),
        Some(copy) => view.write_as(copy, &place.dir).write_as(copy, &source),
    };
    // The files of the source are part of the copy.
    let is_elsewhere = |file: &&Shown| place.copy.is_none() || !file.bytes.starts_with(&place.dir);
    files
        .iter()
        .filter(is_elsewhere)
        .fold(view, |view, file| view.read_as(real(&file.bytes), &file.name))
}
