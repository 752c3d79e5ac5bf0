//! The names of suites.

use dkms_engine::kernel::machine;

use super::error::KernelsError;

/// A suite whose kernel is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suite(String);

/// What is added to another suite: packages of these need those of the other one.
const ADDITIONS: [&str; 4] = ["-backports-sloppy", "-backports", "-proposed-updates", "-updates"];

impl Suite {
    /// The suites that `text` names, `debian:SUITE,SUITE`; None where it names no distribution, but a kernel.
    ///
    /// # Errors
    /// When the distribution is another one, or a suite has no name that a directory of an archive can have.
    pub fn parse(text: &str) -> Option<Result<Vec<Suite>, KernelsError>> {
        let (distribution, suites) = text.split_once(':')?;
        let bad = || KernelsError::Name(text.to_owned());
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.len() <= 64
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        Some(if distribution == "debian" && suites.split(',').all(is_name) {
            Ok(suites.split(',').map(|name| Suite(name.to_owned())).collect())
        } else {
            Err(bad())
        })
    }

    /// Its name in the archive.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The suites whose packages it is made of, itself last.
    pub(super) fn layers(&self) -> Vec<&str> {
        let base = ADDITIONS.iter().find_map(|addition| self.0.strip_suffix(addition));
        let base = if self.0 == "experimental" { Some("sid") } else { base };
        base.into_iter().chain([self.name()]).collect()
    }
}

/// What Debian calls the architecture of this machine, and what its package of the current headers is called.
pub fn debian_arch() -> Result<(&'static str, &'static str), KernelsError> {
    Ok(match machine().as_str() {
        "x86_64" => ("amd64", "linux-headers-amd64"),
        "aarch64" => ("arm64", "linux-headers-arm64"),
        "armv7l" => ("armhf", "linux-headers-armmp"),
        "ppc64le" => ("ppc64el", "linux-headers-powerpc64le"),
        "riscv64" => ("riscv64", "linux-headers-riscv64"),
        "s390x" => ("s390x", "linux-headers-s390x"),
        "loongarch64" => ("loong64", "linux-headers-loong64"),
        other => return Err(KernelsError::Arch(other.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_suites_and_of_kernels() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let found = Suite::parse(text).map(|found| found.map_err(|error| error.to_string()));
            let expected = expected.map(|names| Ok(names.iter().map(|name| Suite((*name).to_owned())).collect()));
            assert_eq!(found, expected, "{text}");
        };
        check("6.1.0-56-amd64", None);
        check("debian:sid", Some(&["sid"]));
        check(
            "debian:bookworm,trixie-backports",
            Some(&["bookworm", "trixie-backports"]),
        );
        for text in [
            "debian:",
            "debian:a,",
            "debian:../x",
            "debian:a/b",
            "fedora:42",
            "debian:Sid",
        ] {
            let error = Suite::parse(text).and_then(Result::err).map(|error| error.to_string());
            assert_eq!(error, Some(KernelsError::Name(text.to_owned()).to_string()), "{text}");
        }
    }

    #[test]
    fn some_suites_build_on_others() {
        let check = |name: &str, expected: &[&str]| assert_eq!(Suite(name.to_owned()).layers(), expected);
        check("trixie", &["trixie"]);
        check("trixie-backports", &["trixie", "trixie-backports"]);
        check("bookworm-backports-sloppy", &["bookworm", "bookworm-backports-sloppy"]);
        check("experimental", &["sid", "experimental"]);
    }
}
