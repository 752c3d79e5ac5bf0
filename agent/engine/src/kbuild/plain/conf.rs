//! What a dkms.conf of a plain package may say.

use std::path::Path;

use super::NotPlain;
use crate::conf::{ConfContext, DkmsConf};
use crate::kernel::KernelConfig;

/// Whether the conf asks for nothing but kbuild on the package's own directory.
pub(super) fn is_plain(conf: &DkmsConf, ctx: &ConfContext, config: Option<&KernelConfig>) -> Result<(), NotPlain> {
    let modules = conf.modules_for(&ctx.kernel_release, config);
    let what = if conf.excluded(&ctx.kernel_release, config).is_some() {
        "a condition that excludes this kernel"
    } else if !conf.patches.is_empty() {
        "a PATCH for this kernel"
    } else if conf.scripts.pre_build.is_some() {
        "PRE_BUILD"
    } else if conf.scripts.post_build.is_some() {
        "POST_BUILD"
    } else if !conf.build_depends.is_empty() {
        "BUILD_DEPENDS"
    } else if modules.iter().any(|module| !module.built_location.is_empty()) {
        "BUILT_MODULE_LOCATION"
    } else if modules.iter().any(|module| !module.strip) {
        "STRIP=no"
    } else if !conf.make.as_deref().is_none_or(|make| is_default_make(make, ctx)) {
        "a MAKE of its own"
    } else {
        return Ok(());
    };
    Err(NotPlain::Conf(what))
}

/// Whether a MAKE is what is run where there is none: kbuild on the build directory.
pub(super) fn is_default_make(make: &str, ctx: &ConfContext) -> bool {
    let build = ctx.dkms_tree.join(&ctx.module).join(&ctx.version).join("build");
    let usual = Path::new("/lib/modules").join(&ctx.kernel_release).join("build");
    let is_headers = |path: &str| Path::new(path) == ctx.kernel_source_dir || Path::new(path) == usual;
    let Some(words) = make.split_whitespace().map(unquoted).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let mut words = words.into_iter();
    if words.next() != Some("make") {
        return false;
    }
    let (mut has_headers, mut has_build) = (false, false);
    while let Some(word) = words.next() {
        match word.split_once('=') {
            None if word == "-C" && !has_headers && words.next().is_some_and(is_headers) => has_headers = true,
            None if word == "modules" || is_jobs(word) => {}
            Some(("M", path)) if !has_build && Path::new(path) == build => has_build = true,
            Some(("KERNELRELEASE", release)) if release == ctx.kernel_release => {}
            _ => return false,
        }
    }
    has_headers && has_build
}

/// `-j`, `-j4`: the jobs come from the jobserver.
fn is_jobs(word: &str) -> bool {
    word.strip_prefix("-j")
        .is_some_and(|count| count.chars().all(|c| c.is_ascii_digit()))
}

/// A word without the quotes around it; None where it may mean something to the shell.
fn unquoted(word: &str) -> Option<&str> {
    let inner = ['\'', '"']
        .iter()
        .find_map(|quote| word.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(word);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+=:@%,~-".contains(c);
    (!inner.is_empty() && !inner.starts_with('~') && inner.chars().all(is_plain)).then_some(inner)
}
