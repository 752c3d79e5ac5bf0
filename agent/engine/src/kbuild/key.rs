//! Whether a build is up to date: it is made again when one of its inputs changed, and not otherwise.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::conf::{ConfContext, override_files};
use crate::fsutil::{files_digest, tree_digest, tree_stamp};
use crate::kernel::KernelTarget;
use crate::package::{DkmsId, KernelId};
use crate::tree::{BuildKey, BuildRecord, Mark, Tree};

/// What changed since a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Stale {
    /// The source.
    #[error("its source changed")]
    Source,
    /// The kernel's headers or configuration.
    #[error("the headers or the configuration of the kernel changed")]
    Kernel,
    /// The compiler.
    #[error("the compiler changed")]
    Compiler,
    /// Override files, directives or scripts of this machine.
    #[error("its overrides or directives changed")]
    Settings,
    /// A package it depends on.
    #[error("a package it depends on was built anew")]
    Depends,
}

impl BuildKey {
    /// The key of a build that is about to be made.
    pub(crate) fn now(
        tree: &Tree,
        package: &DkmsId,
        kernel: &KernelTarget,
        ctx: &ConfContext,
        depends: &[String],
    ) -> std::io::Result<BuildKey> {
        let source = tree.source_dir(package);
        Ok(BuildKey {
            source: Mark {
                // The stamp before the digest: the next run notices a change in between.
                stamp: tree_stamp(&source),
                digest: tree_digest(&source)?,
            },
            kernel: Mark {
                digest: kernel.headers_digest().to_owned(),
                stamp: kernel.headers_stamp().to_owned(),
            },
            settings: settings(tree, ctx),
            compiler: kernel.toolchain().present.clone().unwrap_or_default(),
            compiler_stamp: kernel.compiler_stamp(&kernel.toolchain().cc),
            depends: depends_digest(tree, &KernelId::from(kernel), depends),
        })
    }
}

/// Whether a build matches its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Up to date: no stamp differs.
    Fresh,
    /// Up to date: stamps differ, but the contents do not. The key has the new stamps, to be stored for the next run.
    Restamped(Box<BuildKey>),
    /// It is to be made again.
    Stale(Stale),
}

/// Whether the build in `record` is up to date.
///
/// While nothing changed this reads no contents and starts no program.
pub(crate) fn freshness(
    tree: &Tree,
    package: &DkmsId,
    kernel: &KernelTarget,
    ctx: &ConfContext,
    record: &BuildRecord,
) -> Freshness {
    let mut key = record.key.clone();
    if key.settings != settings(tree, ctx) {
        return Freshness::Stale(Stale::Settings);
    }
    let source = tree.source_dir(package);
    let stamp = tree_stamp(&source);
    if key.source.stamp != stamp {
        match tree_digest(&source) {
            Ok(digest) if digest != key.source.digest => return Freshness::Stale(Stale::Source),
            Ok(_) => key.source.stamp = stamp,
            // Cannot be compared: the build stays, and the next run tries again.
            Err(_) => {}
        }
    }
    if key.kernel.stamp != kernel.headers_stamp() {
        if key.kernel.digest != kernel.headers_digest() {
            return Freshness::Stale(Stale::Kernel);
        }
        kernel.headers_stamp().clone_into(&mut key.kernel.stamp);
    }
    let compiler = key.compiler.split_whitespace().next().unwrap_or_default();
    let stamp = kernel.compiler_stamp(compiler);
    if key.compiler_stamp != stamp {
        if key.compiler != kernel.toolchain().present.clone().unwrap_or_default() {
            return Freshness::Stale(Stale::Compiler);
        }
        key.compiler_stamp = stamp;
    }
    if key.depends != depends_digest(tree, &KernelId::from(kernel), &record.build_depends) {
        return Freshness::Stale(Stale::Depends);
    }
    if key == record.key {
        Freshness::Fresh
    } else {
        Freshness::Restamped(Box::new(key))
    }
}

fn digest_of(files: &[PathBuf]) -> String {
    files_digest(files.iter().map(PathBuf::as_path))
}

fn settings(tree: &Tree, ctx: &ConfContext) -> String {
    let mut files = override_files(ctx);
    files.extend(ctx.conf_file.clone());
    let local = tree.root().join(Path::new("/etc/dkms").join(&ctx.module));
    let directives: Vec<String> = ctx
        .directives
        .iter()
        .map(|d| format!("{}={}", d.name, d.value))
        .collect();
    let local = if local.is_dir() {
        tree_digest(&local).unwrap_or_default()
    } else {
        String::new()
    };
    if files.is_empty() && directives.is_empty() && local.is_empty() {
        return String::new();
    }
    format!("{} {local} {}", digest_of(&files), directives.join(" "))
}

/// What the dependencies' builds for `kernel` export.
fn depends_digest(tree: &Tree, kernel: &KernelId, depends: &[String]) -> String {
    let files = depends_symvers(tree, kernel, depends);
    if files.is_empty() {
        String::new()
    } else {
        digest_of(&files)
    }
}

/// The Module.symvers of the installed (or else newest built) versions of `depends`.
pub(super) fn depends_symvers(tree: &Tree, kernel: &KernelId, depends: &[String]) -> Vec<PathBuf> {
    let packages = if depends.is_empty() {
        Vec::new()
    } else {
        tree.packages()
    };
    depends
        .iter()
        .filter_map(|module| {
            let installed = tree.installed_version(module, kernel);
            let newest = || {
                let built = packages.iter().rev().filter(|p| p.module == *module);
                built
                    .map(|p| p.version.clone())
                    .find(|v| DkmsId::new(module, v).is_some_and(|package| tree.is_built(&package, kernel)))
            };
            let package = DkmsId::new(module, &installed.or_else(newest)?)?;
            let path = tree.built_dir(&package, kernel).join("module/Module.symvers");
            path.is_file().then_some(path)
        })
        .collect()
}
