//! The way out of each error that stops a run.

use super::Failure;
use crate::candidate::Rejection;

impl Failure {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRepository { .. } => Some("dkms-fetch repo add URL".to_owned()),
            Self::BadRepository { .. } => Some("dkms-fetch repo add --help".to_owned()),
            Self::BadDescription { .. } => Some(
                "it takes a TOML file with `name = \"NAME\"`, `urls = [\"https://ADDRESS/\"]` and `fingerprint = \"SHA256\"`, or the address \
                 itself: dkms-fetch repo add URL"
                    .to_owned(),
            ),
            Self::RepositoryExists { name, .. } => Some(format!(
                "dkms-fetch repo remove {name}, or give this one another name with --name"
            )),
            Self::UnknownRepository { known, .. } if known.is_empty() => Some("dkms-fetch repo add URL".to_owned()),
            Self::UnknownRepository { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::RepositoryUnreachable { error, .. } => error.hint(),
            Self::WrongFingerprint { .. } => {
                Some("ask the publisher for the fingerprint of metadata/1.root.json; nothing was written".to_owned())
            }
            Self::NoFingerprint { found } => Some(format!(
                "compare {found} with what the publisher says, and give it with --fingerprint"
            )),
            Self::NotConfirmed => None,
            Self::Write { path, source } => crate::files::hint(path, source),
            Self::NoDirectory { dir, .. } => Some(format!(
                "if it is on a medium, mount that first; else `mkdir -p {}`",
                dir.display()
            )),
            Self::Output { path, source } => {
                crate::files::hint(path, source).or_else(|| Some("name a file in another directory".to_owned()))
            }
            Self::NothingCached { .. } => Some("dkms-fetch sync".to_owned()),
            Self::NotRoot { .. } => Some("run it as root, or try it with --check".to_owned()),
            Self::NoRoot { .. } => None,
            Self::WatchesThisMachine => Some("leave out --root, --kernel and --devices, or use --auto".to_owned()),
            Self::Hotplug(_) => Some("dkms-fetch --auto, after a device was plugged in".to_owned()),
            Self::NoKernel { .. } => Some("name one with --kernel RELEASE; its headers must be installed".to_owned()),
            Self::UnknownKernel { known, .. } if known.is_empty() => Some("install its headers first".to_owned()),
            Self::UnknownKernel { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::UnknownPackage { nearest, .. }
            | Self::NotInstalled { nearest, .. }
            | Self::NothingFound { nearest, .. }
                if !nearest.is_empty() =>
            {
                Some(format!("did you mean {}?", nearest.join(", ")))
            }
            Self::UnknownPackage { .. } | Self::NothingFound { .. } => {
                Some("dkms-fetch sync, or another name".to_owned())
            }
            Self::NotInstalled { .. } => Some("dkms-fetch status".to_owned()),
            Self::Needed { package, by } => {
                let all = by.iter().chain([package]).map(|one| one.module.as_str());
                Some(format!("dkms-fetch remove {}", all.collect::<Vec<_>>().join(" ")))
            }
            Self::UnknownEntry { .. } => Some("dkms-fetch history".to_owned()),
            Self::VersionGone { kernel, .. } => Some(format!(
                "dkms-fetch sync, or go back for other kernels than {kernel} with --kernel; nothing was changed"
            )),
            Self::UnknownDevice { .. } => Some("dkms-fetch devices --all".to_owned()),
            Self::Refused(rejected) if matches!(rejected.why, Rejection::Quarantined { .. }) => {
                Some(format!("dkms-fetch unhold {}", rejected.package.name))
            }
            Self::Refused(rejected) => Some(format!("dkms-fetch search {}", rejected.package.name)),
            Self::Kernel(error) => error.hint(),
            Self::Sync(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Toolchain(error) => error.hint(),
            Self::Medium(error) => error.hint(),
            Self::Mok(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Device(error) => error.hint(),
            Self::InTree(error) => Some(error.hint()),
            Self::Runtime(_) => None,
            Self::Scratch(error) => crate::files::hint(&std::env::temp_dir(), error),
            Self::State(error) => error.hint(),
            Self::Lock(error) => error.hint(),
            Self::Tree(error) => error.hint(),
            Self::Framework(error) => error.hint(),
            Self::Remove(error) => error.hint(),
            Self::NoSandbox(error) => error.hint(),
            Self::Interrupted(_) => Some("run it again: it goes on where this one stopped".to_owned()),
            Self::Depmod(errors) => errors.first().and_then(dkms_engine::install::DepmodError::hint),
        }
    }
}
