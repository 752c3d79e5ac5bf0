//! Which parts of the sandbox this machine has, found out once.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::{Account, Limits, View, bubblewrap, landlock, remembered, seccomp};

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
    /// Why there is no mount namespace: the error of bubblewrap. None where there is one.
    pub no_mount_namespace: Option<String>,
    /// Whether the kernel has Landlock.
    pub landlock: bool,
    /// Whether the filter of system calls can be made for this architecture.
    pub seccomp: bool,
    /// Whether each build has a user of its own: only root can change users.
    pub own_user: bool,
}

static LAYERS: OnceLock<Layers> = OnceLock::new();

impl Layers {
    /// The layers of this machine, for this process.
    pub fn here() -> &'static Layers {
        LAYERS.get_or_init(Layers::probe)
    }

    /// The layers of this machine, if this process has looked them up already, which it does before it runs code of a package.
    pub(crate) fn if_used() -> Option<&'static Layers> {
        LAYERS.get()
    }

    /// Why packages cannot be confined with these layers. None where they can.
    pub fn no_sandbox(&self) -> Option<NoSandbox> {
        (self.confinement == Confinement::User).then(|| NoSandbox {
            reason: self.no_mount_namespace.clone().unwrap_or_default(),
        })
    }

    /// How to get a mount namespace, where there is none.
    pub fn hint(&self) -> Option<String> {
        self.no_mount_namespace.as_deref().map(|reason| fix(reason).to_owned())
    }

    /// What is missing and why, one sentence for each layer; empty where nothing is.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if let Some(reason) = &self.no_mount_namespace {
            missing.push(format!("there is no mount namespace: {reason}"));
            if !self.landlock {
                missing.push("the kernel has no Landlock".to_owned());
            }
        }
        if !self.seccomp {
            missing.push("system calls are not filtered on this architecture".to_owned());
        }
        if !self.own_user {
            missing.push("only root can give each build a user of its own".to_owned());
        }
        missing
    }

    fn probe() -> Layers {
        let no_mount_namespace = if remembered::works() {
            None
        } else {
            let tried = try_mount_namespace();
            if tried.is_ok() {
                remembered::keep();
            }
            tried.err()
        };
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

/// What makes bubblewrap work after it failed for `reason`.
fn fix(reason: &str) -> &'static str {
    if reason.contains("/proc") {
        "mount -t proc proc /proc"
    } else {
        "install bubblewrap; in a container allow it user namespaces"
    }
}

/// Runs `true` as packages' programs are run.
fn try_mount_namespace() -> Result<(), String> {
    let view = View::new(Path::new("/"), Account::reserve(), Limits::evaluation());
    let mut wrapped = bubblewrap::wrap(&view, OsStr::new("true"), &[], Path::new("/"), Vec::new())
        .map_err(|error| error.to_string())?;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Refuse to work.
    #[default]
    Required,
    /// Work with the layers that there are: `dkms`, whose callers depend on it, and where it is configured explicitly.
    Optional,
}

/// There is neither a mount namespace nor Landlock here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "packages cannot be confined on this machine: there is no mount namespace ({reason}) and the kernel has no Landlock"
)]
pub struct NoSandbox {
    /// The error of bubblewrap.
    pub reason: String,
}

impl NoSandbox {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(format!(
            "{}, or set sandbox = \"optional\" in the configuration",
            fix(&self.reason)
        ))
    }
}

/// Refuses where `policy` requires a sandbox and this machine has none.
///
/// # Errors
/// [`NoSandbox`], which says why.
pub fn require(policy: Policy) -> Result<&'static Layers, NoSandbox> {
    let layers = Layers::here();
    match (policy, layers.no_sandbox()) {
        (Policy::Required, Some(refusal)) => Err(refusal),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_layers_are_told_and_without_both_there_is_no_sandbox() {
        let layers = |reason: Option<&str>, landlock, confinement| Layers {
            confinement,
            no_mount_namespace: reason.map(str::to_owned),
            landlock,
            seccomp: true,
            own_user: true,
        };
        let check = |layers: &Layers, expected: &[&str], is_confined: bool| {
            assert_eq!(layers.missing(), expected, "{layers}");
            assert_eq!(layers.no_sandbox().is_none(), is_confined, "{layers}");
        };
        check(&layers(None, false, Confinement::MountNamespace), &[], true);
        let refused = "there is no mount namespace: bwrap: no permissions";
        let reason = Some("bwrap: no permissions");
        check(&layers(reason, true, Confinement::Landlock), &[refused], true);
        let neither = layers(reason, false, Confinement::User);
        check(&neither, &[refused, "the kernel has no Landlock"], false);
        let chroot = layers(
            Some("bwrap: Can't read /proc/sys/kernel/overflowuid"),
            true,
            Confinement::Landlock,
        );
        assert_eq!(chroot.hint().as_deref(), Some("mount -t proc proc /proc"));
        let refusal = neither.no_sandbox().expect("a refusal");
        assert!(refusal.to_string().contains("bwrap: no permissions"), "{refusal}");
        assert!(
            refusal
                .hint()
                .is_some_and(|hint| hint.contains("sandbox = \"optional\""))
        );
        let user = Layers {
            own_user: false,
            seccomp: false,
            ..layers(None, true, Confinement::MountNamespace)
        };
        let expected = [
            "system calls are not filtered on this architecture",
            "only root can give each build a user of its own",
        ];
        check(&user, &expected, true);
    }
}
