//! Why a package is refused when it is added.

use std::path::PathBuf;

use thiserror::Error;

/// A package cannot be taken in.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The file system refused.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// None of the kinds that are known.
    #[error(
        "{path:?} is neither a directory, nor an archive (.zip, .tar, plain or .gz, .xz, .zst, .bz2), nor a package (.deb, .rpm, .dsc)"
    )]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// The archive holds something that is refused, or is larger than the limits.
    #[error("{path:?} is refused: {problem}")]
    Refused {
        /// The archive or directory.
        path: PathBuf,
        /// What it holds.
        problem: Problem,
    },
    /// There is no `dkms.conf` where one belongs.
    #[error("{path:?} has no dkms.conf")]
    NoConf {
        /// The archive or directory.
        path: PathBuf,
        /// Whether one can be proposed from its makefiles.
        proposed: bool,
    },
    /// A `dkms.conf` was given for a source that has one.
    #[error("{path:?} has a dkms.conf of its own")]
    HasConf {
        /// The archive or directory.
        path: PathBuf,
    },
    /// No dkms.conf can be proposed.
    #[error("no makefile of {path:?} says which modules it builds (obj-m)")]
    NoModules {
        /// The archive or directory.
        path: PathBuf,
    },
    /// A git repository did not give what was asked for.
    #[error("{path:?} cannot be taken from git: {why}")]
    Git {
        /// As given.
        path: PathBuf,
        /// What git said, or what is wrong with the address.
        why: String,
    },
    /// There are several sources in one package.
    #[error("{path:?} holds several sources: {}", found.join(", "))]
    ManyConfs {
        /// The archive or directory.
        path: PathBuf,
        /// The directories that hold a `dkms.conf`.
        found: Vec<String>,
    },
    /// A DKMS archive of built modules only.
    #[error("{path:?} holds built modules and no source")]
    BinariesOnly {
        /// The archive.
        path: PathBuf,
    },
}

impl IngestError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoConf { proposed: false, .. } => Some("the directory with dkms.conf is the one to add".to_owned()),
            Self::NoConf { path, proposed: true } => Some(format!(
                "dkms-repo propose {path:?} > dkms.conf; read and correct it; then add --dkms-conf dkms.conf {path:?}"
            )),
            Self::HasConf { .. } => Some("leave out --dkms-conf, or add a copy of the source without its dkms.conf".to_owned()),
            Self::NoModules { .. } => Some("write a dkms.conf by hand (dkms(8)), and give it by --dkms-conf".to_owned()),
            Self::Git { .. } => Some(
                "give git+https://HOST/PATH@TAG, a whole commit instead of the tag, or the path of a checkout: git+./DIRECTORY@TAG"
                    .to_owned(),
            ),
            Self::ManyConfs { .. } => Some("unpack it and add each of these directories".to_owned()),
            Self::BinariesOnly { .. } => Some("make the archive with `dkms mktarball --source-only`".to_owned()),
            Self::UnknownKind { .. } => Some(
                "give the directory with dkms.conf, an archive of it (`tar -czf x.tar.gz DIR`), a *-dkms.deb, a .rpm or a .dsc"
                    .to_owned(),
            ),
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("check the path".to_owned())
            }
            Self::Read { path, .. } => Some(format!("make it readable for you: `ls -ld {path:?}`")),
            Self::Refused { problem, .. } => Some(problem.hint().to_owned()),
        }
    }
}

/// Why an archive is refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A name with `..`, or an absolute one.
    #[error("the name {0:?} leaves the archive")]
    NameLeaves(String),
    /// A name that is no text, is empty, holds control characters, or is too long.
    #[error("{0:?} is not a usable file name")]
    BadName(String),
    /// A device, a FIFO or a socket.
    #[error("{0:?} is neither file, directory nor link")]
    Special(String),
    /// A link to a place outside the source.
    #[error("the link {name:?} to {target:?} leaves the source")]
    LinkLeaves {
        /// The link.
        name: String,
        /// Where it points.
        target: String,
    },
    /// A hard link to a file that is not in the archive before it.
    #[error("{name:?} is a hard link to {target:?}, which is not there")]
    DanglingHardLink {
        /// The link.
        name: String,
        /// Its target.
        target: String,
    },
    /// One name for two things, or a file below a file or below a link.
    #[error("the name {0:?} stands for two things")]
    Clash(String),
    /// More files than any package has.
    #[error("it has more than {0} entries")]
    TooManyEntries(usize),
    /// More bytes than any package has, or a decompression bomb.
    #[error("it unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// A patch of a source package does not apply.
    #[error("its patch {name} does not apply: {why}")]
    Patch {
        /// Its name in the package.
        name: String,
        /// What patch said last.
        why: String,
    },
    /// A source package that only its own tools can unpack.
    #[error("{0}")]
    Unprepared(String),
    /// The bytes do not follow the format.
    #[error("{0}")]
    Malformed(String),
}

impl Problem {
    /// Suggested fix. None where the archive is hostile.
    fn hint(&self) -> &'static str {
        match self {
            Self::TooManyEntries(_) | Self::TooLarge(_) => {
                "give a package of the driver's source alone, without built files and version control"
            }
            Self::Patch { .. } | Self::Unprepared(_) => {
                "unpack it with the tools of its distribution (`dpkg-source -x`, `rpmbuild -bp`) and add the directory"
            }
            Self::Malformed(_) => "the file is damaged or cut: get it again and compare its checksum",
            Self::Special(_) | Self::LinkLeaves { .. } | Self::DanglingHardLink { .. } => {
                "unpack it where it can do no harm, take out what is not the driver's source, and add the directory"
            }
            Self::NameLeaves(_) | Self::BadName(_) | Self::Clash(_) => {
                "no honest packaging makes this: ask where the file comes from; nothing of it was kept"
            }
        }
    }
}
