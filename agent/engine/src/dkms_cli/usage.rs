//! Why a command line is refused.

/// Why a command line is refused. The exit codes are upstream's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UsageError {
    /// clap's own complaint, already formatted.
    #[error("{0}")]
    Syntax(String),
    /// No verb.
    #[error("no action given{}", .0.as_deref().map(|word| format!(": `{word}` is not one")).unwrap_or_default())]
    NoAction(Option<String>),
    /// Two verbs.
    #[error("two actions given: `{0}` and `{1}`")]
    TwoActions(String, String),
    /// `add`, `build` … without module and version.
    #[error("`{0}` needs a module and its version")]
    NoPackage(&'static str),
    /// A name that would leave its directory.
    #[error("`{0}` cannot be the name of a {1}: it must be one path component of printable characters")]
    BadName(String, &'static str),
    /// `-k ""`.
    #[error("an empty kernel release or architecture was given")]
    EmptyKernel,
    /// Neither one architecture nor one for each kernel.
    #[error("{arches} architectures given for {kernels} kernels")]
    ArchesDoNotFit {
        /// How many `-a`.
        arches: usize,
        /// How many `-k`.
        kernels: usize,
    },
    /// `--all` with `-k`.
    #[error("both --all and a kernel were given")]
    AllAndKernel,
    /// `--all` with `-a`.
    #[error("both --all and an architecture were given")]
    AllAndArch,
    /// `--all` where it means nothing.
    #[error("`{0}` does not take --all")]
    AllNotForThis(&'static str),
    /// Two kernels where only one makes sense.
    #[error("`{0}` works on one kernel at a time")]
    OneKernelOnly(&'static str),
    /// A kernel must be named.
    #[error("`{0}` needs the kernel it is about")]
    NoKernel(&'static str),
    /// `match` without a template.
    #[error("`match` needs the kernel to take as the model")]
    NoTemplate,
    /// `match` of a kernel with itself.
    #[error("the template kernel and the kernel to change are both {0}")]
    TemplateIsTarget(String),
    /// `--source-only` with `--binaries-only`.
    #[error("both --source-only and --binaries-only were given")]
    SourceAndBinariesOnly,
    /// `ldtarball` without a file.
    #[error("`ldtarball` needs a tarball{}", .0.as_deref().map(|word| format!(": there is no file {word}")).unwrap_or_default())]
    NoArchive(Option<String>),
    /// A directive without `=`.
    #[error("the directive `{0}` is not NAME=VALUE")]
    BadDirective(String),
}

impl UsageError {
    /// The exit code, as upstream's.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Syntax(_) | Self::AllAndKernel | Self::TemplateIsTarget(_) | Self::NoArchive(_) => 2,
            Self::AllAndArch => 3,
            Self::TwoActions(..) | Self::OneKernelOnly(_) | Self::NoKernel(_) => 4,
            Self::AllNotForThis(_) => 5,
            Self::SourceAndBinariesOnly => 8,
            Self::EmptyKernel => 16,
            _ => 1,
        }
    }

    /// Suggested fix, a command where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => return None,
            Self::NoAction(_) => "dkms --help".to_owned(),
            Self::TwoActions(first, second) => {
                format!("run them one after the other: dkms {first} … && dkms {second} …")
            }
            Self::NoPackage(verb) => format!("dkms {verb} MODULE/VERSION; `dkms status` lists those that are known"),
            Self::BadName(..) => "ls /var/lib/dkms/ /usr/src/".to_owned(),
            Self::EmptyKernel => "a kernel release is a directory name in /lib/modules: ls /lib/modules".to_owned(),
            Self::ArchesDoNotFit { .. } => "give one -a for all kernels, or write -k KERNEL/ARCH".to_owned(),
            Self::AllAndKernel | Self::AllAndArch => "leave out --all, or -k and -a".to_owned(),
            Self::AllNotForThis(verb) => format!("name the kernels: dkms {verb} … -k KERNEL -k KERNEL, or -k all"),
            Self::OneKernelOnly(verb) => format!("run `dkms {verb}` once for each kernel"),
            Self::NoKernel(verb) => format!("dkms {verb} -k KERNEL"),
            Self::NoTemplate => "dkms match --templatekernel OLD-KERNEL -k NEW-KERNEL".to_owned(),
            Self::TemplateIsTarget(_) => "name another kernel with -k; ls /lib/modules".to_owned(),
            Self::SourceAndBinariesOnly => "leave out one of them, or both for a tarball with everything".to_owned(),
            Self::NoArchive(_) => "dkms ldtarball --archive FILE.dkms.tar.gz".to_owned(),
            Self::BadDirective(_) => "dkms … --directive 'MAKE=make -f Makefile.dkms'".to_owned(),
        })
    }
}
