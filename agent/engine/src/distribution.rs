//! What of DKMS differs between distributions.

use crate::root::Root;

/// A distribution by the name that decides its rules: the first word of ID_LIKE, else ID; ubuntu keeps its ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    name: String,
    id: String,
}

/// The families whose rules we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Debian,
    RedHat,
    Suse,
    Arch,
    Other,
}

/// What installs packages of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageManager {
    /// Of Debian and Ubuntu.
    Apt,
    /// Of Fedora and RHEL, in its versions 4 and 5.
    Dnf,
    /// Of openSUSE and SLES.
    Zypper,
    /// Of Arch.
    Pacman,
}

impl PackageManager {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            other => other.program(),
        }
    }

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Zypper => "zypper",
            Self::Pacman => "pacman",
        }
    }
}

/// The places of os-release(5); the first one counts.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

impl Distribution {
    /// True where `root` has an os-release file.
    pub fn has_os_release(root: &Root) -> bool {
        OS_RELEASE.iter().any(|path| root.join(path).is_file())
    }

    /// Reads os-release of `root` as text; it is never executed. Without one the name is "unknown".
    pub fn of(root: &Root) -> Distribution {
        OS_RELEASE
            .iter()
            .find_map(|path| std::fs::read_to_string(root.join(path)).ok())
            .map_or_else(Distribution::unknown, |text| Distribution::parse(&text))
    }

    /// Takes it from the text of os-release(5).
    pub fn parse(os_release: &str) -> Distribution {
        let field = |key: &str| {
            os_release
                .lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
        };
        let Some(id) = field("ID") else {
            return Distribution::unknown();
        };
        let like = field("ID_LIKE").and_then(|like| like.split_whitespace().next().map(str::to_owned));
        let name = match like {
            Some(like) if id != "ubuntu" => like,
            _ => id.clone(),
        };
        Distribution { name, id }
    }

    fn unknown() -> Distribution {
        Distribution {
            name: "unknown".into(),
            id: "unknown".into(),
        }
    }

    /// The deciding name, `running_distribution` in dkms.conf.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where modules go, whatever dkms.conf says; None leaves it to dkms.conf.
    pub fn module_directory(&self) -> Option<&'static str> {
        match self.family() {
            Family::RedHat => Some("/extra"),
            Family::Suse => Some("/updates"),
            Family::Debian | Family::Arch => Some("/updates/dkms"),
            Family::Other => None,
        }
    }

    /// True where a module of the same name elsewhere below /lib/modules stays in its place when ours is installed,
    /// because depmod prefers ours; else the original is archived and put back on removal.
    pub fn leaves_originals(&self) -> bool {
        self.family() == Family::Debian
    }

    /// True for Ubuntu, which signs with kmodsign and the key of update-secureboot-policy.
    pub fn is_ubuntu(&self) -> bool {
        self.name == "ubuntu"
    }

    /// True where kernels keep a stable ABI, so that they share modules through weak-modules: RHEL, its derivatives, and SUSE. Not
    /// Fedora, whose kernels have no stable ABI.
    pub fn has_weak_modules(&self) -> bool {
        let is_enterprise =
            self.name.starts_with("rhel") || ["rhel", "centos", "ol", "ovm"].contains(&self.id.as_str());
        self.family() == Family::Suse || (self.family() == Family::RedHat && is_enterprise)
    }

    /// True for SUSE, whose weak-modules has another name and other options.
    pub fn is_suse(&self) -> bool {
        self.family() == Family::Suse
    }

    /// True for Debian and distributions that name it first in ID_LIKE, except Ubuntu.
    pub fn is_debian(&self) -> bool {
        self.name.starts_with("debian")
    }

    /// Its package manager, where we know it.
    pub fn package_manager(&self) -> Option<PackageManager> {
        match self.family() {
            Family::Debian => Some(PackageManager::Apt),
            Family::RedHat => Some(PackageManager::Dnf),
            Family::Suse => Some(PackageManager::Zypper),
            Family::Arch => Some(PackageManager::Pacman),
            Family::Other => None,
        }
    }

    /// The package with the headers of kernel `release`, as its package manager names it.
    pub fn headers_package(&self, release: &str) -> Option<String> {
        Some(match self.family() {
            Family::Debian if self.id.starts_with("proxmox") || release.ends_with("-pve") => {
                format!("proxmox-headers-{release}")
            }
            Family::Debian => format!("linux-headers-{release}"),
            Family::RedHat => match release.rsplit_once('+') {
                Some((release, variant)) => format!("kernel-{variant}-devel-{release}"),
                None => format!("kernel-devel-{release}"),
            },
            Family::Suse => match release.rsplit_once('-') {
                Some((version, flavour)) => format!("kernel-{flavour}-devel={version}"),
                None => "kernel-default-devel".into(),
            },
            Family::Arch => {
                let flavour = ["lts", "zen", "hardened", "rt"]
                    .iter()
                    .find(|flavour| release.contains(*flavour));
                match flavour {
                    Some(flavour) => format!("linux-{flavour}-headers"),
                    None => "linux-headers".into(),
                }
            }
            Family::Other => return None,
        })
    }

    /// The command that installs the headers of kernel `release` here.
    pub fn headers_command(&self, release: &str) -> String {
        let package = self.headers_package(release);
        self.install_command(&package.unwrap_or_else(|| format!("the headers of kernel {release}")))
    }

    /// The package of a compiler by the name of its program, such as `gcc-13`.
    pub fn compiler_package(&self, program: &str) -> String {
        let unversioned = || program.split('-').next().unwrap_or(program);
        match self.family() {
            Family::Suse => program.replace('-', ""),
            Family::RedHat | Family::Arch => unversioned().to_owned(),
            Family::Debian | Family::Other => program.to_owned(),
        }
    }

    /// The command that installs the program or package `name`.
    pub fn install_command(&self, name: &str) -> String {
        match self.package_manager() {
            Some(PackageManager::Pacman) => format!("pacman -S {name}"),
            Some(manager) => format!("{} install {name}", manager.program()),
            None => format!("install {name} with your package manager"),
        }
    }

    fn family(&self) -> Family {
        let is = |names: &[&str]| names.iter().any(|name| self.name.starts_with(name));
        if is(&["debian", "ubuntu"]) {
            Family::Debian
        } else if is(&["fedora", "rhel", "ovm"]) {
            Family::RedHat
        } else if is(&["sles", "suse", "opensuse"]) {
            Family::Suse
        } else if is(&["arch"]) {
            Family::Arch
        } else {
            Family::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_directories() {
        let check = |text: &str, name: &str, directory: Option<&str>| {
            let found = Distribution::parse(text);
            assert_eq!((found.name(), found.module_directory()), (name, directory), "{text}");
        };
        check("ID=debian\n", "debian", Some("/updates/dkms"));
        check(
            "NAME=\"x\"\nID=ubuntu\nID_LIKE=debian\n",
            "ubuntu",
            Some("/updates/dkms"),
        );
        check("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "rhel", Some("/extra"));
        check("ID=fedora\n", "fedora", Some("/extra"));
        check(
            "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n",
            "suse",
            Some("/updates"),
        );
        check("ID=manjaro\nID_LIKE=arch\n", "arch", Some("/updates/dkms"));
        check("ID=gentoo\n", "gentoo", None);
        check("", "unknown", None);
    }

    #[test]
    fn packages_of_headers_and_compilers() {
        let check = |text: &str, release: &str, headers: &str, compiler: &str| {
            let distribution = Distribution::parse(text);
            assert_eq!(distribution.headers_command(release), headers, "{text}");
            assert_eq!(distribution.compiler_package("gcc-13"), compiler, "{text}");
        };
        check(
            "ID=debian\n",
            "6.1.0-9-amd64",
            "apt-get install linux-headers-6.1.0-9-amd64",
            "gcc-13",
        );
        check(
            "ID=debian\n",
            "6.8.4-2-pve",
            "apt-get install proxmox-headers-6.8.4-2-pve",
            "gcc-13",
        );
        check(
            "ID=fedora\n",
            "6.5.6-300.fc39.x86_64",
            "dnf install kernel-devel-6.5.6-300.fc39.x86_64",
            "gcc",
        );
        check(
            "ID=rocky\nID_LIKE=\"rhel centos fedora\"\n",
            "5.14.0-362.8.1.el9_3.x86_64+rt",
            "dnf install kernel-rt-devel-5.14.0-362.8.1.el9_3.x86_64",
            "gcc",
        );
        check(
            "ID=sles\nID_LIKE=suse\n",
            "5.14.21-150500.55.52-default",
            "zypper install kernel-default-devel=5.14.21-150500.55.52",
            "gcc13",
        );
        check("ID=arch\n", "6.6.1-lts", "pacman -S linux-lts-headers", "gcc");
    }

    #[test]
    fn only_kernels_with_a_stable_abi_share_modules() {
        for (text, expected) in [
            ("ID=fedora\n", false),
            ("ID=nobara\nID_LIKE=fedora\n", false),
            ("ID=rhel\nID_LIKE=fedora\n", true),
            ("ID=ol\nID_LIKE=fedora\n", true),
            ("ID=rocky\nID_LIKE=\"rhel centos fedora\"\n", true),
            ("ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n", true),
            ("ID=debian\n", false),
            ("ID=arch\n", false),
        ] {
            assert_eq!(Distribution::parse(text).has_weak_modules(), expected, "{text}");
        }
    }
}
