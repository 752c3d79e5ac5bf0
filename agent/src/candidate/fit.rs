//! Whether a package may be built for a kernel at all: its own conditions, and what trial builds showed.

use dkms_engine::kernel::compiler_major;
use dkms_engine::version;
use dkms_index::document::Recipe;
use dkms_index::document::record::{BuildFact, BuildOutcome};
use regex_lite::{Regex, RegexBuilder};

use super::{Rejection, TargetKernel};

/// A package's regular expression is remote input: its compiled form stays below this.
const REGEX_MAX_BYTES: usize = 64 * 1024;

/// The best evidence of trial builds that a package builds for a kernel. Greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// There is no trial build.
    None,
    /// It was built for another kernel of the same series, `6.1`.
    SameSeries,
    /// It was built for this very kernel.
    ThisKernel,
}

/// The first condition of `dkms.conf` that this kernel does not meet, as text; `None` when it meets all that can be checked.
pub(super) fn unmet_condition(recipe: &Recipe, kernel: &TargetKernel) -> Option<String> {
    let release = &kernel.release;
    if let Some(min) = &recipe.kernel_min
        && version::compare(release, min).is_lt()
    {
        return Some(format!("needs kernel {min} or newer"));
    }
    if let Some(max) = &recipe.kernel_max
        && version::compare(release, max).is_gt()
        && !release_is_of_series(release, max)
    {
        return Some(format!("is for kernels up to {max}"));
    }
    match Fit::of(recipe.kernel_regex.as_deref(), release) {
        Fit::Matches => {}
        Fit::Differs => return Some(format!("excludes kernel {release} by its own condition")),
        Fit::TooLarge => return Some(too_large("kernels")),
    }
    match Fit::of(recipe.arch_regex.as_deref(), &kernel.arch) {
        Fit::Matches => {}
        Fit::Differs => return Some(format!("is not for {}", kernel.arch)),
        Fit::TooLarge => return Some(too_large("architectures")),
    }
    let config = kernel.config.as_ref()?;
    recipe.config.iter().find_map(|option| match option.strip_prefix('!') {
        Some(option) => config
            .is_enabled(option)
            .then(|| format!("needs a kernel without {option}")),
        None => (!config.is_enabled(option)).then(|| format!("needs a kernel with {option}")),
    })
}

/// `6.5` as an upper bound includes 6.5.13.
fn release_is_of_series(release: &str, series: &str) -> bool {
    release
        .strip_prefix(series)
        .is_some_and(|rest| rest.starts_with(|c: char| !c.is_ascii_digit()))
}

fn too_large(what: &str) -> String {
    format!(
        "has a condition on {what} that takes more than {} KiB to evaluate",
        REGEX_MAX_BYTES / 1024
    )
}

/// Whether the regular expression of a condition matches somewhere in a text, as bash's `=~`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It does, or there is none, or it is not valid here: the build evaluates it with bash then.
    Matches,
    Differs,
    /// It is not evaluated.
    TooLarge,
}

impl Fit {
    fn of(expression: Option<&str>, text: &str) -> Fit {
        let Some(expression) = expression else {
            return Fit::Matches;
        };
        let compiled: Result<Regex, _> = RegexBuilder::new(expression).size_limit(REGEX_MAX_BYTES).build();
        match compiled {
            Ok(regex) if regex.is_match(text) => Fit::Matches,
            Ok(_) => Fit::Differs,
            Err(error) if error.to_string() == OVER_SIZE_LIMIT => Fit::TooLarge,
            Err(_) => Fit::Matches,
        }
    }
}

/// What the library says of an expression that is valid and too large; it has no other sign.
const OVER_SIZE_LIMIT: &str = "compiled regex exceeded size limit";

/// What trial builds showed for this kernel and architecture. Of several, the one by this machine's compiler counts, else one by another
/// release of it, else any; and of these the newest.
pub(super) fn proof(builds: &[BuildFact], kernel: &TargetKernel) -> Result<Proof, Rejection> {
    let of_arch = || builds.iter().filter(|fact| fact.arch == kernel.arch);
    let here = of_arch()
        .filter(|fact| fact.kernel == kernel.release)
        .max_by_key(|fact| (likeness(fact, kernel), &fact.date));
    match here {
        Some(fact) => match fact.outcome {
            BuildOutcome::Built => Ok(Proof::ThisKernel),
            BuildOutcome::Failed => Err(Rejection::KnownToFail {
                kernel: fact.kernel.clone(),
                date: fact.date.clone(),
                reason: fact.reason.clone(),
            }),
            BuildOutcome::Excluded => Err(Rejection::Unfit {
                reason: format!("excludes kernel {} by its own condition", fact.kernel),
            }),
        },
        None if of_arch().any(|f| f.outcome == BuildOutcome::Built && series(&f.kernel) == series(&kernel.release)) => {
            Ok(Proof::SameSeries)
        }
        None => Ok(Proof::None),
    }
}

/// How much the compiler of a trial build is that of this machine. Greater is more.
fn likeness(fact: &BuildFact, kernel: &TargetKernel) -> u8 {
    let kind = |text: &str| (text.contains("clang"), compiler_major(text).map(str::to_owned));
    match kernel.compiler.as_deref() {
        Some(own) if own == fact.compiler => 2,
        Some(own) if kind(own).1.is_some() && kind(own) == kind(&fact.compiler) => 1,
        _ => 0,
    }
}

/// The first two numbers of a release: `6.12` of `6.12.95+deb12-amd64`.
pub(super) fn series(release: &str) -> &str {
    let mut numbers = release.match_indices(|c: char| !c.is_ascii_digit());
    let end = numbers.nth(1).map_or(release.len(), |(at, _)| at);
    &release[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(release: &str) -> TargetKernel {
        TargetKernel {
            release: release.into(),
            arch: "x86_64".into(),
            config: None,
            compiler: None,
            own_modules: Default::default(),
            modules_in_use: Default::default(),
        }
    }

    #[test]
    fn conditions_of_the_recipe() {
        let check = |recipe: Recipe, release: &str, expected: Option<&str>| {
            assert_eq!(
                unmet_condition(&recipe, &kernel(release)).as_deref(),
                expected,
                "{recipe:?} {release}"
            );
        };
        let some = |text: &str| Some(text.to_owned());
        check(Recipe::default(), "6.1.0-56-amd64", None);
        let min = Recipe {
            kernel_min: some("6.5"),
            ..Recipe::default()
        };
        check(min.clone(), "6.1.0-56-amd64", Some("needs kernel 6.5 or newer"));
        check(min, "6.12.95+deb12-amd64", None);
        let max = Recipe {
            kernel_max: some("6.1"),
            ..Recipe::default()
        };
        check(max.clone(), "6.1.0-56-amd64", None);
        check(max, "6.12.95+deb12-amd64", Some("is for kernels up to 6.1"));
        let regex = Recipe {
            kernel_regex: some("^(5\\.|6\\.1\\.)"),
            ..Recipe::default()
        };
        check(regex.clone(), "6.1.0-56-amd64", None);
        check(
            regex,
            "6.12.95+deb12-amd64",
            Some("excludes kernel 6.12.95+deb12-amd64 by its own condition"),
        );
        check(
            Recipe {
                kernel_regex: some("(["),
                ..Recipe::default()
            },
            "6.1.0",
            None,
        );
        // What is too large is told, whether or not it would match.
        for expression in ["(a{100}){100}|6", "((a{100}){100}){100}"] {
            check(
                Recipe {
                    kernel_regex: some(expression),
                    ..Recipe::default()
                },
                "6.1.0",
                Some("has a condition on kernels that takes more than 64 KiB to evaluate"),
            );
        }
        check(
            Recipe {
                arch_regex: some("(a{100}){100}|x86_64"),
                ..Recipe::default()
            },
            "6.1.0",
            Some("has a condition on architectures that takes more than 64 KiB to evaluate"),
        );
        check(
            Recipe {
                arch_regex: some("^aarch64$"),
                ..Recipe::default()
            },
            "6.1.0",
            Some("is not for x86_64"),
        );
    }

    #[test]
    fn what_trial_builds_prove() {
        let fact = |kernel: &str, date: &str, outcome| BuildFact {
            kernel: kernel.into(),
            arch: "x86_64".into(),
            compiler: String::new(),
            date: date.into(),
            outcome,
            reason: "strlcpy is gone".into(),
        };
        let check = |builds: &[BuildFact], release: &str, expected: Result<Proof, &str>| {
            let found = proof(builds, &kernel(release)).map_err(|why| why.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{builds:?} {release}");
        };
        use BuildOutcome::{Built, Excluded, Failed};
        check(&[], "6.12.1", Ok(Proof::None));
        check(&[fact("6.12.1", "2026-01-01", Built)], "6.12.1", Ok(Proof::ThisKernel));
        check(&[fact("6.12.0", "2026-01-01", Built)], "6.12.1", Ok(Proof::SameSeries));
        check(&[fact("6.1.2", "2026-01-01", Built)], "6.12.1", Ok(Proof::None));
        check(
            &[fact("6.12.1", "2026-01-01", Failed)],
            "6.12.1",
            Err("known not to build on 6.12.1 (tried 2026-01-01): strlcpy is gone"),
        );
        // A later build succeeded.
        let fixed = [
            fact("6.12.1", "2026-02-01", Built),
            fact("6.12.1", "2026-01-01", Failed),
        ];
        check(&fixed, "6.12.1", Ok(Proof::ThisKernel));
        check(
            &[fact("6.12.1", "2026-01-01", Excluded)],
            "6.12.1",
            Err("excludes kernel 6.12.1 by its own condition"),
        );
        // By several compilers: that of this machine, then another release of it, then the newest.
        let by = |compiler: &str, date, outcome| BuildFact {
            compiler: compiler.into(),
            ..fact("6.12.1", date, outcome)
        };
        let both = [
            by("gcc (Debian 14.2.0-19) 14.2.0", "2026-01-01", Failed),
            by("gcc-12 (Debian 12.2.0-14) 12.2.0", "2026-02-01", Built),
        ];
        let builds_by = |compiler: Option<&str>| {
            let kernel = TargetKernel {
                compiler: compiler.map(str::to_owned),
                ..kernel("6.12.1")
            };
            proof(&both, &kernel).is_ok()
        };
        assert!(!builds_by(Some("gcc (Debian 14.2.0-19) 14.2.0")));
        assert!(!builds_by(Some("gcc-14 (Debian 14.3.0-1) 14.3.0")));
        assert!(builds_by(Some("gcc-12 (Debian 12.2.0-14) 12.2.0")));
        assert!(
            builds_by(Some("clang version 14.0.6")),
            "another compiler of that number"
        );
        assert!(builds_by(Some("gcc (GCC) 13.1.0")) && builds_by(None));
        let mut other = fact("6.12.1", "2026-01-01", Failed);
        other.arch = "aarch64".into();
        check(&[other], "6.12.1", Ok(Proof::None));
    }

    #[test]
    fn series_of_releases() {
        let check = |release: &str, expected: &str| assert_eq!(series(release), expected);
        check("6.12.95+deb12-amd64", "6.12");
        check("6.1.0-56-amd64", "6.1");
        check("6.1", "6.1");
        check("", "");
    }
}
