//! Kernels that the command line names, by their release or by suites of Debian.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use dkms_engine::root::Root;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::{Failure, print};
use crate::kernels::{Cache, News, Ready, Source, Suite, ready};
use crate::scan::trial::{BuildRoot, Target};

/// The directory of a repository in which kernels of suites are unpacked.
pub(super) const DIR: &str = "kernels";

/// The kernels that packages are built for.
#[derive(Debug, clap::Args)]
pub(super) struct KernelArgs {
    /// Build for this kernel, or with debian:SUITE,SUITE for the current ones of these suites, such as trixie-backports, by the compiler of the
    /// suite; these are fetched and unpacked. May be repeated. All kernels with headers if none is given.
    #[arg(short, long = "kernel", value_name = "RELEASE|debian:SUITE")]
    kernels: Vec<String>,
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Look for kernel headers in this root first; may be repeated.
    #[arg(long = "root", default_value = "/", value_name = "DIR")]
    roots: Vec<PathBuf>,
}

impl KernelArgs {
    /// The place for the builds, and the kernels that were fetched for it, which stay for as long as they are held. Kernels of suites go
    /// into `cache` where no other place is given.
    pub(super) fn build_root(&self, cache: &Path, now: Timestamp) -> Result<(BuildRoot, Vec<Ready>), Failure> {
        let roots: Vec<Root> = self.roots.iter().map(|path| root(path)).collect();
        if self.kernels.is_empty() {
            return Ok((BuildRoot::new(&roots, &[])?, Vec::new()));
        }
        let asked = asked(&self.kernels)?;
        let ready = fetch(&asked, &self.archive, cache, now)?;
        let targets = asked.iter().filter_map(|asked| match asked {
            Asked::Release(release) => Some(Target::Release(release.clone())),
            Asked::Suite(suite) => {
                let ready = ready.iter().find(|ready| ready.suite == *suite)?;
                Some(Target::System(ready.dir.clone(), ready.release.clone()))
            }
        });
        let targets: Vec<Target> = targets.collect();
        Ok((BuildRoot::for_targets(&roots, &targets)?, ready))
    }
}

fn root(path: &Path) -> Root {
    if path.as_os_str() == "/" {
        Root::host()
    } else {
        Root::at(path)
    }
}

/// Where the kernels of suites come from, and where they are kept.
#[derive(Debug, clap::Args)]
struct ArchiveArgs {
    /// The archive of debian:SUITE: the address before dists/, https://, http:// or file://.
    #[arg(long, value_name = "URL", default_value = "https://deb.debian.org/debian")]
    mirror: String,
    /// The keys that may sign its index, as a file of gpgv.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/usr/share/keyrings/debian-archive-keyring.gpg"
    )]
    keyring: PathBuf,
    /// Take an index that has expired, as those of archives of the past have.
    #[arg(long)]
    allow_expired_index: bool,
    /// Where kernels of suites are unpacked; default: kernels in the repository's directory.
    #[arg(long, value_name = "DIR")]
    kernel_cache: Option<PathBuf>,
}

/// A kernel of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// By its release.
    Release(String),
    /// The current one of a suite.
    Suite(Suite),
}

/// Reads the arguments of `--kernel`.
fn asked(arguments: &[String]) -> Result<Vec<Asked>, Failure> {
    let mut all = Vec::new();
    for argument in arguments {
        match Suite::parse(argument) {
            None => all.push(Asked::Release(argument.clone())),
            Some(suites) => all.extend(suites?.into_iter().map(Asked::Suite)),
        }
    }
    Ok(all)
}

/// Fetches the kernels of all suites among those that are asked for.
fn fetch(asked: &[Asked], args: &ArchiveArgs, cache: &Path, now: Timestamp) -> Result<Vec<Ready>, Failure> {
    let suites: Vec<Suite> = asked
        .iter()
        .filter_map(|asked| match asked {
            Asked::Suite(suite) => Some(suite.clone()),
            Asked::Release(_) => None,
        })
        .collect();
    let source = Source {
        mirror: &args.mirror,
        keyring: &args.keyring,
        now,
        allow_expired: args.allow_expired_index,
    };
    let dir = args.kernel_cache.clone();
    let cache = Cache::at(dir.unwrap_or_else(|| cache.to_owned()));
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::hidden();
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes} {elapsed}") {
            bar.set_style(style);
        }
        bar
    });
    Ok(ready(&suites, &source, &cache, &|news| tell(news, bar.as_ref()))?)
}

fn tell(news: &News<'_>, bar: Option<&ProgressBar>) {
    match news {
        News::Offline { suite, date, why } => print::note(&format!(
            "warning: {why}; debian:{} is taken as it was on {date}",
            suite.name()
        )),
        News::Fetching {
            suite,
            release,
            packages,
            bytes,
        } => {
            print::note(&format!(
                "debian:{}: fetching kernel {release} and its compiler, {packages} packages of {} MB",
                suite.name(),
                bytes.div_ceil(1_000_000)
            ));
            if let Some(bar) = bar {
                bar.set_length(*bytes);
                bar.reset();
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
        }
        News::Unpacked(bytes) => bar.into_iter().for_each(|bar| bar.inc(*bytes)),
        // The bar of the next suite begins anew.
        News::Done => bar.into_iter().for_each(ProgressBar::finish_and_clear),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_by_release_and_by_suite() {
        let names = ["6.1.0-50-amd64", "debian:bookworm,sid"].map(str::to_owned);
        let suite = |name: &str| Suite::parse(&format!("debian:{name}")).and_then(Result::ok);
        let suites = ["bookworm", "sid"].map(|name| suite(name).expect("a suite")[0].clone());
        let [bookworm, sid] = suites.map(Asked::Suite);
        let expected = vec![Asked::Release("6.1.0-50-amd64".to_owned()), bookworm, sid];
        assert_eq!(asked(&names).ok(), Some(expected));
        assert!(asked(&["suse:leap".to_owned()]).is_err());
    }
}
