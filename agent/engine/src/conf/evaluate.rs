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
use super::stage::{Shown, Stage, sees_real_files};
use super::syntax::SyntaxSpan;
use crate::command::{Confined, Output, is_root};
use crate::fsutil::chown_tree;
use crate::sandbox::{Account, Limits, View};

pub(super) const SCRIPT: &str = include_str!("evaluate.sh");

/// Evaluates the dkms.conf of the source directory `dir`, with the override files and directives of `ctx`.
///
/// Where they are plain, they are read by a parser; else bash evaluates them. Bash runs in the sandbox: it sees the source, the override files and the headers, and writes nothing. Its environment is empty; its
/// time, memory, output and processes are limited, and what it started ends with it. Where the source has files that are closed to other
/// users, it is evaluated by our own user, who has no rights in there.
///
/// # Errors
/// When the conf cannot be read, is no bash, or does not describe a package; see [`ConfError`].
pub fn evaluate(dir: &Path, ctx: &ConfContext) -> Result<DkmsConf, ConfError> {
    if let Some(result) = without_bash(dir, ctx) {
        return result;
    }
    let first = attempt(dir, ctx, None, false);
    if first.result.is_err() && first.said.contains("Permission denied") && is_root() && !sees_real_files() {
        return attempt(dir, ctx, None, true).result;
    }
    first.result
}

/// What a plain conf says; None for one that only bash can read.
pub(super) fn without_bash(dir: &Path, ctx: &ConfContext) -> Option<Result<DkmsConf, ConfError>> {
    let raw = plain::read(dir, ctx)?;
    Some(typed(&raw, dir, ctx, ""))
}

/// What one evaluation gave.
pub(super) struct Attempt {
    pub(super) result: Result<DkmsConf, ConfError>,
    /// The end of what bash said on standard error.
    pub(super) said: String,
}

/// Evaluates once. In the place of `dir` bash sees `copy`, if there is one, and may write there. `as_us`: as our own user.
pub(super) fn attempt(dir: &Path, ctx: &ConfContext, copy: Option<&Path>, as_us: bool) -> Attempt {
    let mut said = String::new();
    let values = values_by_bash(dir, ctx, copy, as_us, &mut said);
    let result = values.and_then(|raw| typed(&raw, dir, ctx, &said));
    Attempt { result, said }
}

fn typed(raw: &RawConf, dir: &Path, ctx: &ConfContext, said: &str) -> Result<DkmsConf, ConfError> {
    DkmsConf::from_raw(raw, ctx, said).map_err(|problems| ConfError::Invalid {
        path: ctx.conf_file.clone().unwrap_or_else(|| dir.join("dkms.conf")),
        problems,
    })
}

/// The values of a conf by bash; `said` becomes what it says on standard error.
pub(super) fn values_by_bash(
    dir: &Path,
    ctx: &ConfContext,
    copy: Option<&Path>,
    as_us: bool,
    said: &mut String,
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
        // Nothing can be shown under another name: bash works in the copy, and its name is put right in what comes out.
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
    said.clone_from(&stderr);
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
            said: last,
        });
    }
    if let Some(exceeded) = output.ended.exceeded {
        return Err(ConfError::TooMuch {
            path,
            exceeded,
            said: last,
        });
    }
    RawConf::parse(&output.stdout, |text| stage.real_names(text)).map_err(|end| match end {
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
    })
}

/// Where and as whom bash runs.
struct Place {
    /// The source, by the name that bash knows.
    dir: PathBuf,
    /// What is there instead, and may be written.
    copy: Option<PathBuf>,
    as_us: bool,
}

fn run(place: &Place, ctx: &ConfContext, headers: &Path, files: &[Shown]) -> io::Result<Output> {
    let config = if headers == ctx.kernel_source_dir {
        ctx.kernel_config.clone()
    } else {
        headers.join(".config")
    };
    let account = Account::lend();
    let limits = Limits::evaluation();
    let user = account
        .id()
        .filter(|_| !place.as_us && is_open_to_all(place, &config, files));
    if let (Some(user), Some(copy)) = (user, &place.copy) {
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
        .sandbox(view(place, ctx, headers, &config, files, user))
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

/// What one evaluation sees.
fn view(place: &Place, ctx: &ConfContext, headers: &Path, config: &Path, files: &[Shown], user: Option<u32>) -> View {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let source = real(&place.dir);
    let view = View::new(Path::new("/"), user, Limits::evaluation())
        .kernel(&ctx.kernel_release, &real(headers), None)
        .read(real(config));
    let view = match &place.copy {
        None => view.read_as(&source, &place.dir).read(&source),
        Some(copy) => view.write_as(copy, &place.dir).write_as(copy, &source),
    };
    // In a copy, what belongs to the source is there already.
    let is_elsewhere = |file: &&Shown| place.copy.is_none() || !file.bytes.starts_with(&place.dir);
    files
        .iter()
        .filter(is_elsewhere)
        .fold(view, |view, file| view.read_as(real(&file.bytes), &file.name))
}
