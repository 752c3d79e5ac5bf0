//! The action that the words and options mean together.

use clap::ArgMatches;

use super::kernels;
use super::words::{Words, check_component};
use crate::dkms_cli::request::{Action, Filter, Hook, Kernels, Package, Subject, TarballForm};
use crate::dkms_cli::usage::UsageError;

/// Makes the action. Each verb takes the words and options that it needs, and refuses those that do not apply to it.
pub(super) struct Reader<'a> {
    pub(super) matches: &'a ArgMatches,
    pub(super) words: &'a Words,
}

impl Reader<'_> {
    pub(super) fn action(&self) -> Result<Action, UsageError> {
        let (source_only, binaries_only) = (
            self.matches.get_flag("source-only"),
            self.matches.get_flag("binaries-only"),
        );
        if source_only && binaries_only {
            return Err(UsageError::SourceAndBinariesOnly);
        }
        let kernels = kernels::read(self.matches)?;
        let verb = self
            .words
            .verb
            .as_deref()
            .ok_or_else(|| UsageError::NoAction(self.words.module.clone()))?;
        Ok(match verb {
            "add" => Action::Add(self.not_all("add", &kernels).and_then(|_| self.subject("add"))?),
            "build" => Action::Build(self.subject("build")?, self.not_all("build", &kernels)?),
            "install" => Action::Install(self.subject("install")?, self.not_all("install", &kernels)?),
            "unbuild" => Action::Unbuild(self.package("unbuild")?, kernels),
            "uninstall" => Action::Uninstall(self.package("uninstall")?, kernels),
            "remove" => Action::Remove(self.package("remove")?, kernels),
            "autoinstall" => Action::Autoinstall(self.not_all("autoinstall", &kernels)?),
            "match" => self.matched(&kernels)?,
            "mktarball" => {
                let form = match (source_only, binaries_only) {
                    (true, _) => TarballForm::SourceOnly,
                    (_, true) => TarballForm::BinariesOnly,
                    _ => TarballForm::Full,
                };
                Action::Mktarball(self.package("mktarball")?, kernels, form)
            }
            "ldtarball" => {
                let archive = self.words.archive.clone();
                Action::Ldtarball(archive.ok_or_else(|| UsageError::NoArchive(self.words.module.clone()))?)
            }
            "generate_mok" => Action::GenerateMok,
            "kernel_preinst" => Action::KernelHook(Hook::Preinst, self.named("kernel_preinst", kernels)?),
            "kernel_postinst" => Action::KernelHook(Hook::Postinst, self.named("kernel_postinst", kernels)?),
            "kernel_prerm" => Action::KernelHook(Hook::Prerm, self.named("kernel_prerm", kernels)?),
            _ => Action::Status(self.filter(kernels)),
        })
    }

    fn package(&self, verb: &'static str) -> Result<Package, UsageError> {
        match (&self.words.module, &self.words.version) {
            (Some(module), Some(version)) => Ok(Package {
                module: module.clone(),
                version: version.clone(),
            }),
            _ => Err(UsageError::NoPackage(verb)),
        }
    }

    fn subject(&self, verb: &'static str) -> Result<Subject, UsageError> {
        match (&self.words.module, &self.words.archive, &self.words.directory) {
            (None, Some(archive), _) => Ok(Subject::Archive(archive.clone())),
            (None, None, Some(directory)) => Ok(Subject::Directory(directory.clone())),
            _ => self.package(verb).map(Subject::Package),
        }
    }

    fn not_all(&self, verb: &'static str, kernels: &Kernels) -> Result<Kernels, UsageError> {
        if *kernels == Kernels::EveryBuilt {
            Err(UsageError::AllNotForThis(verb))
        } else {
            Ok(kernels.clone())
        }
    }

    fn named(&self, verb: &'static str, kernels: Kernels) -> Result<Kernels, UsageError> {
        if matches!(kernels, Kernels::Named(_)) {
            Ok(kernels)
        } else {
            Err(UsageError::NoKernel(verb))
        }
    }

    fn matched(&self, kernels: &Kernels) -> Result<Action, UsageError> {
        let kernels = self.not_all("match", kernels)?;
        if matches!(&kernels, Kernels::Named(named) if named.len() > 1) || kernels == Kernels::EveryKernel {
            return Err(UsageError::OneKernelOnly("match"));
        }
        let template = self
            .matches
            .get_one::<String>("templatekernel")
            .ok_or(UsageError::NoTemplate)?
            .clone();
        check_component(&template, "kernel")?;
        if matches!(&kernels, Kernels::Named(named) if named.iter().any(|kernel| kernel.release == template)) {
            return Err(UsageError::TemplateIsTarget(template));
        }
        Ok(Action::Match {
            template,
            kernels,
            module: self.words.module.clone(),
        })
    }

    fn filter(&self, kernels: Kernels) -> Filter {
        let (kernels, arch) = match kernels {
            Kernels::Named(kernels) => (kernels, None),
            Kernels::Running { arch } => (Vec::new(), arch),
            Kernels::EveryKernel | Kernels::EveryBuilt => (Vec::new(), None),
        };
        Filter {
            module: self.words.module.clone(),
            version: self.words.version.clone(),
            kernels,
            arch,
        }
    }
}
