//! What can be wrong with a dkms.conf.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::syntax::SyntaxSpan;
use crate::sandbox::Exceeded;

/// Why a dkms.conf gave no values.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// It is not there or cannot be read.
    #[error("{} cannot be read", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has a syntax error.
    #[error("{0}")]
    Syntax(SyntaxSpan),
    /// It ended the shell that evaluates it.
    #[error("{} cannot be evaluated: it calls exit{stderr}", .path.display())]
    Exits {
        /// The file.
        path: PathBuf,
        /// The last line of bash's standard error.
        stderr: StderrTail,
    },
    /// A signal ended it: its own, or that of a limit.
    #[error("{} cannot be evaluated: it was ended by {signal}{stderr}", .path.display())]
    Killed {
        /// The file.
        path: PathBuf,
        /// Such as `SIGXFSZ`, for more output than is allowed.
        signal: String,
        /// The last line of bash's standard error.
        stderr: StderrTail,
    },
    /// It ran for too long.
    #[error("{} cannot be evaluated: it was still running after {limit_s} s{stderr}", .path.display())]
    TooSlow {
        /// The file.
        path: PathBuf,
        /// The time that was allowed.
        limit_s: u64,
        /// The last line of bash's standard error.
        stderr: StderrTail,
    },
    /// It exceeded a limit.
    #[error("{} cannot be evaluated: {exceeded}{stderr}", .path.display())]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// The limit.
        exceeded: Exceeded,
        /// The last line of bash's standard error.
        stderr: StderrTail,
    },
    /// bash could not be run, or was stopped by a limit.
    #[error("{} cannot be evaluated by bash: {what}", .path.display())]
    Bash {
        /// The file.
        path: PathBuf,
        /// What happened.
        what: String,
    },
    /// Its values cannot be used. All problems at once.
    #[error("{} cannot be used: {}", .path.display(), list(.problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, at least one.
        problems: Vec<ConfProblem>,
    },
    /// The source could not be copied for a conf that writes into its directory.
    #[error("the source {} cannot be copied for its dkms.conf", .dir.display())]
    Copy {
        /// The source.
        dir: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// `--directive` with something that is no `NAME=VALUE`.
    #[error("the directive {0:?} is not NAME=VALUE")]
    BadDirective(String),
}

/// The last line of bash's standard error; displayed with a leading separator, or as nothing where it is empty.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StderrTail(String);

impl StderrTail {
    /// Longer lines are cut, in characters.
    const LONGEST: usize = 200;

    pub(super) fn of(stderr: &str) -> StderrTail {
        let line = stderr.trim_end().lines().last().unwrap_or_default();
        StderrTail(line.chars().take(StderrTail::LONGEST).collect())
    }
}

impl fmt::Display for StderrTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => Ok(()),
            line => write!(f, "; it said: {line}"),
        }
    }
}

/// One thing that is wrong with the values of a dkms.conf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfProblem {
    /// A required directive is not there.
    #[error("it does not set {0}")]
    Unset(String),
    /// A name with a slash, `..` or the like.
    #[error("{directive} is {value:?}, which cannot be a name")]
    BadName {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// A placeholder that the package's own build system replaces.
    #[error("{directive} is {value:?}, a placeholder that the package's own installation replaces")]
    Placeholder {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// Two modules with one name.
    #[error("{directive} is {value:?}, like that of another module")]
    Duplicate {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// A module's name with its suffix.
    #[error("{directive} is {value:?}: it must not end in .o or .ko")]
    Suffix {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// A destination outside of the three allowed ones.
    #[error("{directive} is {value:?}: it must begin with /kernel, /updates or /extra")]
    BadDestination {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// A path that leaves the source.
    #[error("{directive} is {value:?}: it leaves the source directory")]
    Leaves {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// Neither yes nor no.
    #[error("{directive} is {value:?}: it must be yes or no")]
    NotYesNo {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// A value longer than any real one.
    #[error("{directive} is longer than a megabyte")]
    TooLong {
        /// The directive.
        directive: String,
    },
    /// A value with quotes that do not pair up when it is expanded.
    #[error("the quotes in {directive} do not pair up")]
    Quotes {
        /// The directive.
        directive: String,
    },
}

fn list(problems: &[ConfProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ConfError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfError::Missing { path, .. } => Some(format!("ls -l {}", path.display())),
            ConfError::Syntax(span) => Some(format!("bash -n {}", span.path.display())),
            ConfError::Invalid { path, .. }
            | ConfError::Exits { path, .. }
            | ConfError::Killed { path, .. }
            | ConfError::TooMuch { path, .. }
            | ConfError::TooSlow { path, .. } => Some(format!("edit {}", path.display())),
            ConfError::Bash { path, .. } => Some(format!("less {}", path.display())),
            ConfError::Copy { dir, .. } => Some(format!(
                "ls -la {}; df {}",
                dir.display(),
                std::env::temp_dir().display()
            )),
            ConfError::BadDirective(_) => Some("--directive 'AUTOINSTALL=no'".into()),
        }
    }

    /// For a syntax error: the line of the file with a caret under the place.
    pub fn snippet(&self) -> Option<String> {
        match self {
            ConfError::Syntax(span) => Some(span.snippet()),
            _ => None,
        }
    }
}
