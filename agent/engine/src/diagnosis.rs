//! The cause of a failed make as a value: kbuild finds it, the tree stores it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The cause of a failed make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Diagnosis {
    /// The disk is full.
    NoSpace,
    /// The compiler was killed, most often because memory ran out.
    Killed {
        /// What was killed.
        program: String,
    },
    /// A program is not there.
    ToolMissing {
        /// Its name.
        program: String,
    },
    /// A program of the kernel's headers cannot start for want of a shared library.
    LibraryMissing {
        /// Its file name, `libelf.so.1`.
        library: String,
    },
    /// The compiler does not understand what the kernel was built with.
    CompilerMismatch {
        /// What the kernel was built with.
        wanted: String,
        /// What is there.
        present: String,
    },
    /// The kernel lacks an option.
    ConfigMissing {
        /// Its name, with `CONFIG_`.
        option: String,
    },
    /// The headers of the kernel are incomplete or were not prepared.
    HeadersIncomplete {
        /// The file or message.
        what: String,
    },
    /// The source uses something that this kernel does not have (any more).
    ApiChange {
        /// The file, below the source.
        file: String,
        /// The line, from 1.
        line: u32,
        /// What the compiler says.
        message: String,
    },
    /// Another error in the source.
    CompileError {
        /// The file, below the source.
        file: String,
        /// The line, from 1.
        line: u32,
        /// What the compiler says.
        message: String,
    },
    /// Symbols that the kernel does not export.
    SymbolMissing {
        /// The symbol.
        symbol: String,
        /// The module that wants it.
        module: String,
    },
    /// A program wanted to read or write what builds may not.
    Denied {
        /// The file.
        path: String,
        /// What the program says.
        message: String,
    },
    /// The package downloads something, and a build has no network.
    NoNetwork {
        /// What could not be reached.
        host: String,
    },
    /// A script of the package lacks the mode bit by which it could be run.
    NotExecutable {
        /// Its name, as it was called.
        script: String,
    },
    /// It took too long.
    TimedOut {
        /// How long it may take, in seconds.
        limit_s: u64,
    },
    /// No known cause.
    Unknown {
        /// The line that looks most like the reason.
        line: String,
    },
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Diagnosis::NoSpace => f.write_str("no space is left on the disk"),
            Diagnosis::Killed { program } => write!(f, "{program} was killed, most likely for want of memory"),
            Diagnosis::ToolMissing { program } => write!(f, "the program {program} is not installed"),
            Diagnosis::LibraryMissing { library } => {
                write!(f, "a program of the kernel headers needs the library {library}")
            }
            Diagnosis::CompilerMismatch { wanted, present } => {
                write!(f, "the kernel was built with {wanted}, the compiler here is {present}")
            }
            Diagnosis::ConfigMissing { option } => write!(f, "the kernel was built without {option}"),
            Diagnosis::HeadersIncomplete { what } => write!(f, "the kernel headers are not complete: {what}"),
            Diagnosis::ApiChange { file, line, message } => {
                write!(
                    f,
                    "the source does not fit the interfaces of this kernel at {file}:{line}: {message}"
                )
            }
            Diagnosis::CompileError { file, line, message } => {
                write!(f, "compiling failed at {file}:{line}: {message}")
            }
            Diagnosis::SymbolMissing { symbol, module } => {
                write!(
                    f,
                    "{module} needs the symbol {symbol}, which this kernel does not export"
                )
            }
            Diagnosis::Denied { path, message } => write!(
                f,
                "the build was denied access to {path}: builds run as a user without rights, who may write in the build directory and in \
                 /tmp alone ({message})"
            ),
            Diagnosis::NoNetwork { host } => write!(f, "the build wants to reach {host}, and builds have no network"),
            Diagnosis::NotExecutable { script } => write!(f, "the script {script} of the package is not executable"),
            Diagnosis::TimedOut { limit_s } => write!(f, "make was still running after {limit_s} s"),
            Diagnosis::Unknown { line } if line.is_empty() => f.write_str("make failed without a word"),
            Diagnosis::Unknown { line } => write!(f, "make failed: {line}"),
        }
    }
}
