//! Why a distribution's package cannot be made.

use std::path::PathBuf;

use dkms_engine::ko::KoError;
use thiserror::Error;

use crate::files::FileError;
use crate::scan::error::ScanError;

/// A package version does not fit into a distribution's package.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Its documents are not those of a package that could be published.
    #[error("{name} {version} cannot be packaged: {problem}")]
    Invalid {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// The first problem of its manifest.
        problem: String,
    },
    /// Writing an archive failed.
    #[error("the {format} of {name} {version} cannot be written: {source}")]
    Archive {
        /// `.deb` or `.rpm`.
        format: &'static str,
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A package of modules is made of a build, and there is none.
    #[error("{name} {version} cannot be built for {kernel}: {reason}{}", log_text(.log.as_deref()))]
    NotBuilt {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// The kernel.
        kernel: String,
        /// Why.
        reason: String,
        /// The end of the log.
        log: Option<String>,
    },
    /// A kernel module package is for one flavor of SUSE's kernels.
    #[error("the kernel {release} has no flavor, such as the one of 6.4.0-150600.21-default")]
    NoFlavor {
        /// The kernel.
        release: String,
    },
    /// The builds cannot be made at all.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// What was built cannot be read.
    #[error(transparent)]
    Module(#[from] KoError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A program that a driver disk is made with is not there.
    #[error("{what} cannot be made: there is no {program}")]
    NoProgram {
        /// What it makes.
        what: &'static str,
        /// The program.
        program: &'static str,
        /// The package of Debian that has it.
        package: &'static str,
    },
    /// A program failed.
    #[error("{program} failed on {}: {said}", .on.display())]
    Program {
        /// The program.
        program: &'static str,
        /// What it worked on.
        on: PathBuf,
        /// The last that it said.
        said: String,
    },
    /// A driver disk is not put among other files.
    #[error("the driver disk cannot be written to {}: something is there already", .path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
}

fn log_text(log: Option<&str>) -> String {
    log.map(|log| format!("\n{log}")).unwrap_or_default()
}

impl ExportError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { .. } => Some("correct the dkms.conf of the source, and add it again".to_owned()),
            Self::Archive { .. } => {
                Some("look for unusual file names or a very large file in the source; nothing was written".to_owned())
            }
            Self::NotBuilt { name, .. } => Some(format!(
                "dkms-repo scan {name}: shows where it builds, and keeps the log of a build that failed; what it needs has to be in the \
                 repository, too"
            )),
            Self::NoFlavor { .. } => Some("--kernel with a kernel of SUSE, whose headers are below --root".to_owned()),
            Self::Scan(error) => error.hint(),
            Self::Module(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::NoProgram { package, .. } => Some(format!("apt-get install {package}")),
            Self::Program { .. } => Some("is there room in that file system? nothing was left there".to_owned()),
            Self::Taken { .. } => Some("name a new directory by --out, or an image, FILE.iso".to_owned()),
        }
    }
}
