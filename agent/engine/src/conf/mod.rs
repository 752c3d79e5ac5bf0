//! dkms.conf: a bash script that says what a package builds and where it goes.
//!
//! A plain one is parsed here. Any other is evaluated by the real bash, because nothing else gives the values that its author meant. Bash
//! runs in the sandbox, because a dkms.conf is untrusted code. The result is typed, with upstream's defaults filled in.

mod context;
mod error;
mod evaluate;
mod exclusive;
mod model;
mod plain;
mod raw;
mod reader;
mod stage;
mod syntax;
#[cfg(test)]
mod tests;
mod writing;

pub use context::{ConfContext, Directive, override_files};
pub use error::{ConfError, ConfProblem};
pub(crate) use evaluate::evaluate_plain;
pub use evaluate::{evaluate, read_output, read_plain};
pub use exclusive::{Exclusion, Exclusive};
pub(crate) use model::placeholder_hint;
pub use model::{ConfWarning, DkmsConf, ModuleSpec, Scripts};
pub use syntax::SyntaxSpan;
pub use writing::{FirstEvaluation, WrittenFile, evaluate_first};

/// True for what can be a PACKAGE_NAME or PACKAGE_VERSION: one path component that is not hidden.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with(['.', '-'])
        && text
            .chars()
            .all(|c| c.is_ascii_graphic() && !"/\\\"'`$;&|<>*?[](){}!,".contains(c))
}
