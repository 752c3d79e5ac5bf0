//! Packages that may be compiled together: those of which nothing but the compiler runs, and whose build is known before it begins.
//!
//! What is not plain is compiled as it always was, so that whatever is not understood here costs time and nothing else.

mod conf;
mod flags;
mod makefile;
mod names;
mod source;
#[cfg(test)]
mod tests;

use super::BuildRequest;
use crate::command::{closed_to_others, is_root};
use crate::conf::{ConfContext, DkmsConf, evaluate_plain};
use crate::kernel::KernelTarget;
use crate::sandbox::{Confinement, Layers};
use crate::tree::Tree;

pub(super) use makefile::Makefile;
pub(super) use source::Source;

/// The most objects of a plain package: what takes long to compile gains nothing, and would keep the others waiting.
const MAX_OBJECTS: usize = 8;

/// The releases on which modules were compared, from the first up to but not including the second. From 6.13 on the compiler runs in the
/// directory of the modules and sees names relative to it.
const RELEASES: [(u32, u32); 2] = [(6, 1), (6, 13)];

/// Why a package is compiled by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotPlain {
    #[error("its request has a conf or directives of its own")]
    Request,
    #[error("the kernel is not known to give the same modules: {0}")]
    Kernel(&'static str),
    #[error("there is no sandbox with a mount namespace")]
    Sandbox,
    #[error("its dkms.conf is evaluated by bash, or is not valid")]
    Evaluated,
    #[error("its dkms.conf has {0}")]
    Conf(&'static str),
    #[error("its source has {0}")]
    Source(String),
    #[error("its {0} says more than which objects there are")]
    Makefile(&'static str),
}

/// A plain package.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub(super) conf: DkmsConf,
    pub(super) source: Source,
    pub(super) makefile: Makefile,
}

impl Plain {
    /// Reads the package of `request`. `ctx` is the context of its conf, with the paths of the tree.
    pub(super) fn of(tree: &Tree, request: &BuildRequest, ctx: &ConfContext) -> Result<Plain, NotPlain> {
        if request.conf_file.is_some() || !request.directives.is_empty() {
            return Err(NotPlain::Request);
        }
        kernel_is_known(&request.kernel)?;
        let dir = tree.source_dir(&request.package);
        let conf = evaluate_plain(&dir, ctx).ok_or(NotPlain::Evaluated)?;
        conf::is_plain(&conf, ctx, Some(request.kernel.config()))?;
        let source = Source::read(&dir)?;
        let makefile = Makefile::read(&source.makefile).ok_or(NotPlain::Makefile(source.makefile_name))?;
        together(&conf, &source, &makefile, ctx, &request.kernel)?;
        if Layers::here().confinement != Confinement::MountNamespace {
            return Err(NotPlain::Sandbox);
        }
        Ok(Plain { conf, source, makefile })
    }
}

fn kernel_is_known(kernel: &KernelTarget) -> Result<(), NotPlain> {
    let config = kernel.config();
    let why = if kernel.chroot().is_some() {
        "it is an image's"
    } else if !is_compared(&kernel.release) {
        "its version"
    } else if config.is_enabled("CONFIG_LTO_CLANG") {
        "CONFIG_LTO_CLANG"
    } else if is_root() && closed_to_others(&kernel.headers, &kernel.headers).is_some() {
        "only root can read its headers"
    } else {
        return Ok(());
    };
    Err(NotPlain::Kernel(why))
}

/// Whether the version that a release begins with is one of [`RELEASES`].
fn is_compared(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (RELEASES[0]..RELEASES[1]).contains(&(major, minor)),
        _ => false,
    }
}

/// Whether conf, source and Makefile of a package belong together.
fn together(
    conf: &DkmsConf,
    source: &Source,
    makefile: &Makefile,
    ctx: &ConfContext,
    kernel: &KernelTarget,
) -> Result<(), NotPlain> {
    let objects = makefile.objects();
    if objects.len() > MAX_OBJECTS {
        return Err(NotPlain::Source(format!("more than {MAX_OBJECTS} objects")));
    }
    if let Some(object) = objects.iter().find(|object| !source.has(&format!("{object}.c"))) {
        return Err(NotPlain::Source(format!("no {object}.c")));
    }
    let specs = conf.modules_for(&ctx.kernel_release, Some(kernel.config()));
    let is_built = |name: &String| makefile.modules.contains(name);
    if specs.is_empty() || !specs.iter().all(|spec| is_built(&spec.built_name)) {
        return Err(NotPlain::Conf("other modules than its Makefile"));
    }
    Ok(())
}
