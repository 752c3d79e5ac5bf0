//! What a dkms.conf is evaluated with: the variables it may use, and the files that override it.

use std::path::{Path, PathBuf};

use super::error::ConfError;
use crate::distribution::Distribution;
use crate::framework::processors;
use crate::kernel::KernelTarget;

/// One `--directive NAME=VALUE`: it overrides the conf and all override files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The variable, in capitals.
    pub name: String,
    /// Its value; index 0 where the variable is an array.
    pub value: String,
}

impl Directive {
    /// Reads `NAME=VALUE`.
    ///
    /// # Errors
    /// When NAME is no name of a variable.
    pub fn parse(text: &str) -> Result<Directive, ConfError> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let good = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if !good {
            return Err(ConfError::BadDirective(text.to_owned()));
        }
        Ok(Directive {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// The input of one evaluation. Paths are paths on the running system.
#[derive(Debug, Clone)]
pub struct ConfContext {
    /// PACKAGE_NAME where it is known already: it sets `$module` and selects the override files.
    pub module: String,
    /// PACKAGE_VERSION where it is known already.
    pub version: String,
    /// `$kernelver`.
    pub kernel_release: String,
    /// `$arch`.
    pub arch: String,
    /// `$kernel_source_dir`.
    pub kernel_source_dir: PathBuf,
    /// `$kernel_config`; BUILD_EXCLUSIVE_CONFIG is looked up in it.
    pub kernel_config: PathBuf,
    /// `$dkms_tree`.
    pub dkms_tree: PathBuf,
    /// `$source_tree`.
    pub source_tree: PathBuf,
    /// `$install_tree`.
    pub install_tree: PathBuf,
    /// `$tmp_location`.
    pub tmp_location: PathBuf,
    /// `$parallel_jobs`.
    pub parallel_jobs: usize,
    /// The distribution, whose rules decide where modules go.
    pub distribution: Distribution,
    /// ADDON_MODULES_DIR, which wins over the distribution.
    pub addon_modules_dir: Option<String>,
    /// Where the override files are: `/etc/dkms`.
    pub overrides_dir: PathBuf,
    /// The conf to read instead of `dkms.conf` in the source.
    pub conf_file: Option<PathBuf>,
    /// `--directive`, in order.
    pub directives: Vec<Directive>,
}

impl ConfContext {
    /// The context of `kernel`, with the places that DKMS has in its root.
    pub fn for_kernel(kernel: &KernelTarget) -> ConfContext {
        ConfContext {
            kernel_release: kernel.release.clone(),
            arch: kernel.arch.clone(),
            kernel_source_dir: if kernel.root.is_host() || kernel.borrowed {
                kernel.source_dir.clone()
            } else {
                kernel.headers.clone()
            },
            kernel_config: kernel.config_file.clone(),
            dkms_tree: kernel.root.join("/var/lib/dkms"),
            source_tree: kernel.root.join("/usr/src"),
            install_tree: kernel.root.join("/lib/modules"),
            overrides_dir: kernel.root.join("/etc/dkms"),
            ..ConfContext::of_distribution(&kernel.release, &kernel.arch, kernel.distribution.clone())
        }
    }

    /// A context with a kernel that need not exist: for reading what does not depend on the kernel.
    pub fn without_kernel(release: &str, arch: &str) -> ConfContext {
        ConfContext::of_distribution(release, arch, Distribution::of(&crate::root::Root::host()))
    }

    /// The default paths, under the rules of `distribution`. Reads no files.
    pub(crate) fn of_distribution(release: &str, arch: &str, distribution: Distribution) -> ConfContext {
        let headers = Path::new("/lib/modules").join(release).join("build");
        ConfContext {
            module: String::new(),
            version: String::new(),
            kernel_release: release.to_owned(),
            arch: arch.to_owned(),
            kernel_config: headers.join(".config"),
            kernel_source_dir: headers,
            dkms_tree: "/var/lib/dkms".into(),
            source_tree: "/usr/src".into(),
            install_tree: "/lib/modules".into(),
            tmp_location: "/tmp".into(),
            parallel_jobs: processors(),
            distribution,
            addon_modules_dir: None,
            overrides_dir: "/etc/dkms".into(),
            conf_file: None,
            directives: Vec::new(),
        }
    }

    /// The same context for a package that is known already.
    #[must_use]
    pub fn of_package(mut self, module: &str, version: &str) -> ConfContext {
        module.clone_into(&mut self.module);
        version.clone_into(&mut self.version);
        self
    }
}

/// The override files that exist for this context, least specific first.
pub fn override_files(ctx: &ConfContext) -> Vec<PathBuf> {
    if ctx.module.is_empty() {
        return Vec::new();
    }
    let (m, v, k, a) = (&ctx.module, &ctx.version, &ctx.kernel_release, &ctx.arch);
    [
        format!("{m}.conf"),
        format!("{m}-{v}.conf"),
        format!("{m}-{v}-{k}.conf"),
        format!("{m}-{v}-{k}-{a}.conf"),
        format!("{m}--{k}.conf"),
        format!("{m}--{k}-{a}.conf"),
    ]
    .iter()
    .map(|name| ctx.overrides_dir.join(name))
    .filter(|path| path.is_file())
    .collect()
}
