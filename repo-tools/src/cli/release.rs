//! `dkms-repo release-package`: the package by which a machine comes to trust this repository.

use std::path::PathBuf;

use dkms_index::trust::{Expiry, Kept, Refresh};
use url::Url;

use super::make::{self, Written};
use super::{Context, Failure};
use crate::export::{Release, Settings};
use crate::publish::state;

/// Makes a .deb and an .rpm with the addresses of this repository and its newest root: installed, they make a machine trust it.
///
/// Their name is that of the repository with -release behind it, their version that of the root. They need dkms-fetch.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where machines reach the repository: https://HOST/PATH, file:///PATH, or http:// where policy allows it; the preferred one first.
    #[arg(required = true, value_name = "URL", value_parser = mirror)]
    urls: Vec<Url>,
    /// Where the packages go.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Only this kind of package.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where several repositories serve one device, the higher number wins.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// The revision of the packaging: higher where the addresses have changed and the root has not.
    #[arg(long, default_value = "1", value_parser = make::revision)]
    revision: String,
    /// Who is responsible for the packages, as NAME <ADDRESS>.
    #[arg(long, value_name = "MAINTAINER", env = "MAINTAINER")]
    maintainer: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For apt.
    Deb,
    /// For dnf and zypper.
    Rpm,
}

/// An address as the agent takes it.
fn mirror(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "https" | "http" | "file") {
        return Err("expected https://, http:// or file://".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the address of a repository has no `?` or `#`".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("every machine can read this package: no user or password".to_owned());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Makes both, or one.
pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    let name = repository.config().name.as_str();
    if !is_name(name) {
        return Err(Failure::new(format!(
            "the repository's name {name:?} can be no name of a package: a letter or digit, then letters, digits, `-`, `_` and `.`, 64 in all"
        ))
        .with_hint("name in repo.toml can be changed at any time"));
    }
    let (root_version, root) = state::newest_root_file(&repository.public_dir())?;
    Refresh::start(&root, Kept::new(), context.now, Expiry::AllowStale)
        .map_err(|error| Failure::new(format!("{root_version}.root.json is no valid root: {error}")).refused())?;
    let settings = Settings {
        revision: args.revision.clone(),
        maintainer: make::maintainer(args.maintainer.as_ref(), context)?,
        time_s: make::time_s()?,
    };
    let release = Release {
        name,
        urls: &args.urls,
        priority: args.priority,
        root: &root,
        root_version,
    };
    let mut made = Vec::new();
    if args.format != Some(Format::Rpm) {
        made.push(release.deb(&settings)?);
    }
    if args.format != Some(Format::Deb) {
        made.push(release.rpm(&settings)?);
    }
    let written = made.into_iter().map(|made| Written {
        name: name.to_owned(),
        version: root_version.to_string(),
        kernel: None,
        made,
    });
    make::write(written, &args.out, context)
}

/// Whether the agent takes it as a name, and package managers with `-release` behind it.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_the_agent_takes() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(mirror(text).ok().as_ref().map(Url::as_str), expected, "{text}");
        };
        check(
            "https://drivers.example.org/public",
            Some("https://drivers.example.org/public/"),
        );
        check("file:///srv/drivers/", Some("file:///srv/drivers/"));
        check("ftp://drivers.example.org/", None);
        check("https://user:secret@drivers.example.org/", None);
        check("https://drivers.example.org/?a", None);
        check("drivers.example.org", None);
    }

    #[test]
    fn names_that_are_file_names_and_package_names() {
        for name in ["acme", "Acme_Drivers", "a.b-c1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".acme", "-acme", "ac me", "ac/me", "äcme"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
