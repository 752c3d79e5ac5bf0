//! Parses a command line into a [`Request`]. Pure, except that the caller looks up what a word names on disk.

mod action;
mod kernels;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;

use self::action::Reader;
use self::words::Words;
pub use self::words::{WordKind, word_kind};
use super::command;
use super::request::{Action, Request, Settings};
use super::usage::UsageError;
use crate::usage_error;

/// Reads a command line. `args` does not contain the program's name; `kind` returns what a word names on disk.
///
/// # Errors
/// Returns [`UsageError`] for anything that cannot be understood as one action.
pub fn parse(args: &[String], kind: &dyn Fn(&str) -> WordKind) -> Result<Request, UsageError> {
    let words = std::iter::once("dkms").chain(args.iter().map(String::as_str));
    let words: Vec<OsString> = words.map(OsString::from).collect();
    let matches = match command::command().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            return Ok(Request::bare(Action::Help(error.render().to_string())));
        }
        Err(error) => return Err(UsageError::Syntax(usage_error::text(command::command(), words, &error))),
    };
    if matches.get_flag("version") {
        return Ok(Request::bare(Action::Version));
    }
    if args.is_empty() {
        return Ok(Request::bare(Action::Help(
            command::command().render_help().to_string(),
        )));
    }
    let mut words = Words::read(&matches, kind)?;
    let settings = settings(&matches)?;
    if words.archive.is_none() {
        words.archive.clone_from(&settings.archive);
    }
    let action = Reader {
        matches: &matches,
        words: &words,
    }
    .action()?;
    Ok(Request {
        action,
        settings,
        notices: words.notices,
    })
}

impl Request {
    fn bare(action: Action) -> Self {
        Self {
            action,
            settings: Settings::default(),
            notices: Vec::new(),
        }
    }
}

fn settings(matches: &ArgMatches) -> Result<Settings, UsageError> {
    let path = |id| matches.get_one::<PathBuf>(id).cloned();
    let directives = matches.get_many::<String>("directive").into_iter().flatten();
    let directives = directives.map(|text| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| UsageError::BadDirective(text.clone()))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    Ok(Settings {
        force: matches.get_flag("force"),
        force_version_override: matches.get_flag("force-version-override"),
        rpm_safe_upgrade: matches.get_flag("rpm_safe_upgrade"),
        no_depmod: matches.get_flag("no-depmod"),
        modprobe_on_install: matches.get_flag("modprobe-on-install"),
        symlink_modules: matches.get_flag("symlink-modules"),
        json: matches.get_flag("json"),
        verbose: matches.get_flag("verbose"),
        quiet: matches.get_flag("quiet"),
        jobs: matches.get_one::<usize>("jobs").copied().filter(|jobs| *jobs > 0),
        conf: path("conf"),
        kernel_config: path("config"),
        kernel_source_dir: path("kernelsourcedir"),
        directives: directives.collect::<Result<_, _>>()?,
        archive: path("archive"),
        dkms_tree: path("dkmstree"),
        source_tree: path("sourcetree"),
        install_tree: path("installtree"),
        root: path("root"),
    })
}
