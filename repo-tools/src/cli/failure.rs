//! How a subcommand fails: what, why, the suggested fix, and the exit code.

use std::error::Error;
use std::process::ExitCode;

use dkms_engine::excerpt;
use dkms_support::chain;
use dkms_support::terminal::printable;

/// An error with a suggested fix.
pub trait Hint: Error {
    /// Suggested fix, best as a command to paste.
    fn hint(&self) -> Option<String>;

    /// Whether it means that something is not what its signature says: exit code 4.
    fn is_refusal(&self) -> bool {
        false
    }
}

/// Delegates [`Hint`] to the error's own `hint` method.
macro_rules! hints {
    ($($error:ty),* $(,)?) => {$(
        impl Hint for $error {
            fn hint(&self) -> Option<String> {
                <$error>::hint(self)
            }
        }
    )*};
}

hints!(
    crate::authority::AuthorityError,
    crate::export::ExportError,
    crate::files::FileError,
    crate::gc::GcError,
    crate::ingest::IngestError,
    crate::intake::IntakeError,
    crate::keys::KeyError,
    crate::init::InitError,
    crate::publish::PublishError,
    crate::push::PushError,
    crate::recipe::RecipeError,
    crate::repository::RepositoryError,
    crate::scan::error::ScanError,
    crate::signed::SignError,
    crate::serve::ServeError,
    crate::stage::StageError,
    crate::store::StoreError,
    dkms_engine::sandbox::NoSandbox,
);

impl Hint for crate::verify::VerifyError {
    fn hint(&self) -> Option<String> {
        crate::verify::VerifyError::hint(self)
    }

    fn is_refusal(&self) -> bool {
        matches!(self, Self::Trust(_) | Self::Record(_))
    }
}

impl Hint for crate::ceremony::CeremonyError {
    fn hint(&self) -> Option<String> {
        crate::ceremony::CeremonyError::hint(self)
    }

    fn is_refusal(&self) -> bool {
        crate::ceremony::CeremonyError::is_refusal(self)
    }
}

impl Hint for crate::import::ImportError {
    fn hint(&self) -> Option<String> {
        crate::import::ImportError::hint(self)
    }

    fn is_refusal(&self) -> bool {
        crate::import::ImportError::is_refusal(self)
    }
}

impl Hint for crate::kernels::KernelsError {
    fn hint(&self) -> Option<String> {
        crate::kernels::KernelsError::hint(self)
    }

    fn is_refusal(&self) -> bool {
        crate::kernels::KernelsError::is_refusal(self)
    }
}

impl Hint for crate::mirror::MirrorError {
    fn hint(&self) -> Option<String> {
        crate::mirror::MirrorError::hint(self)
    }

    fn is_refusal(&self) -> bool {
        crate::mirror::MirrorError::is_refusal(self)
    }
}

impl Hint for crate::diff::DiffError {
    fn hint(&self) -> Option<String> {
        crate::diff::DiffError::hint(self)
    }

    fn is_refusal(&self) -> bool {
        crate::diff::DiffError::is_refusal(self)
    }
}

/// What `main` reports.
#[derive(Debug)]
pub struct Failure {
    message: String,
    excerpt: Option<String>,
    hint: Option<String>,
    refused: bool,
}

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            excerpt: None,
            hint: None,
            refused: false,
        }
    }

    /// Adds the suggested fix.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes it a refusal: exit code 4.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.refused = true;
        self
    }

    /// Prints it on stderr.
    pub fn print(&self) {
        anstream::eprintln!("error: {}", printable(&self.message));
        self.excerpt
            .iter()
            .for_each(|lines| anstream::eprintln!("{}", printable(lines)));
        if let Some(hint) = &self.hint {
            anstream::eprintln!("hint: {}", printable(hint));
        }
    }

    /// 4 when trust was refused, else 1.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.refused { 4 } else { 1 })
    }
}

impl<E: Hint + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            message: chain(&error),
            excerpt: excerpt::of(&error),
            hint: error.hint(),
            refused: error.is_refusal(),
        }
    }
}
