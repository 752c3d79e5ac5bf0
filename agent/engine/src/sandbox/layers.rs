//! Which parts of the sandbox this machine has, found out once.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;

use super::{Account, Limits, View, bubblewrap, landlock, seccomp};

/// What keeps a program from the rest of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confinement {
    /// A mount namespace with a root made for one run (bubblewrap).
    MountNamespace,
    /// Landlock's rules on the file system as it is.
    Landlock,
    /// Only the user it runs as.
    User,
}

/// The layers of the sandbox on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layers {
    /// What keeps programs from files.
    pub confinement: Confinement,
    /// Why there is no mount namespace: what bubblewrap said. None where there is one.
    pub no_mount_namespace: Option<String>,
    /// Whether the kernel has Landlock.
    pub landlock: bool,
    /// Whether the filter of system calls can be made for this architecture.
    pub seccomp: bool,
    /// Whether each build has a user of its own: only root can change users.
    pub own_user: bool,
}

impl Layers {
    /// Those of this machine for this process.
    pub fn here() -> &'static Layers {
        static LAYERS: OnceLock<Layers> = OnceLock::new();
        LAYERS.get_or_init(Layers::probe)
    }

    fn probe() -> Layers {
        let no_mount_namespace = try_mount_namespace().err();
        let landlock = landlock::is_available();
        let confinement = match (&no_mount_namespace, landlock) {
            (None, _) => Confinement::MountNamespace,
            (Some(_), true) => Confinement::Landlock,
            (Some(_), false) => Confinement::User,
        };
        Layers {
            confinement,
            no_mount_namespace,
            landlock,
            seccomp: seccomp::filter().is_some(),
            own_user: rustix::process::geteuid().is_root(),
        }
    }
}

/// Runs `true` as packages' programs are run.
fn try_mount_namespace() -> Result<(), String> {
    let account = Account::lend();
    let view = View::new(Path::new("/"), account.id(), Limits::evaluation());
    let mut wrapped =
        bubblewrap::wrap(&view, OsStr::new("true"), &[], Path::new("/")).map_err(|error| error.to_string())?;
    let ran = wrapped
        .command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(first_line(&output.stderr).unwrap_or_else(|| output.status.to_string())),
        Err(error) => Err(format!("bubblewrap cannot be started: {error}")),
    }
}

fn first_line(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

/// Whether work goes on where packages cannot be confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// No: it is refused.
    #[default]
    Required,
    /// Yes, with what there is: the drop-in `dkms`, whose callers could not go on without it, and whoever says so by name.
    Optional,
}

/// There is neither a mount namespace nor Landlock here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "packages cannot be confined on this machine: there is no mount namespace ({reason}) and the kernel has no Landlock"
)]
pub struct NoSandbox {
    /// What bubblewrap said.
    pub reason: String,
}

impl NoSandbox {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(
            "install bubblewrap; in a container allow it user namespaces, or set sandbox = \"optional\" in the policy"
                .into(),
        )
    }
}

/// Refuses where `policy` requires a sandbox and this machine has none.
///
/// # Errors
/// [`NoSandbox`], which says why.
pub fn require(policy: Policy) -> Result<&'static Layers, NoSandbox> {
    let layers = Layers::here();
    match (policy, layers.confinement) {
        (Policy::Required, Confinement::User) => Err(NoSandbox {
            reason: layers.no_mount_namespace.clone().unwrap_or_default(),
        }),
        _ => Ok(layers),
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut layers = vec![match self.confinement {
            Confinement::MountNamespace => "mount, PID, network and IPC namespaces",
            Confinement::Landlock => "Landlock",
            Confinement::User => "neither namespaces nor Landlock",
        }];
        if self.own_user {
            layers.push("a user for each build");
        }
        if self.seccomp {
            layers.push("a filter of system calls");
        }
        f.write_str(&layers.join(", "))
    }
}
