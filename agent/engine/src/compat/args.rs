//! From the words of a command line to a [`Request`]: pure but for the question what a word names on disk.

use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::command;
use super::request::{Action, Filter, Hook, KernelName, Kernels, Package, Request, Settings, Subject, TarballForm};
use super::usage::UsageError;

/// What a positional word names on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordKind {
    /// Nothing: a verb, a module or a module/version.
    Plain,
    /// A file called dkms.conf.
    ConfFile,
    /// A directory with a dkms.conf in it.
    SourceDirectory,
    /// Any other file.
    File,
}

/// Looks at the file system for what `word` names.
#[must_use]
pub fn word_kind(word: &str) -> WordKind {
    let path = Path::new(word);
    if path.is_file() {
        if word.ends_with("dkms.conf") {
            WordKind::ConfFile
        } else {
            WordKind::File
        }
    } else if path.join("dkms.conf").is_file() {
        WordKind::SourceDirectory
    } else {
        WordKind::Plain
    }
}

/// Reads a command line. `args` does not contain the program's name; `kind` answers what a word names on disk.
///
/// # Errors
/// Returns [`UsageError`] for anything that cannot be understood as one action.
pub fn parse(args: &[String], kind: &dyn Fn(&str) -> WordKind) -> Result<Request, UsageError> {
    let words = std::iter::once("dkms").chain(args.iter().map(String::as_str));
    let matches = match command::command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            return Ok(Request::bare(Action::Help(error.render().to_string())));
        }
        Err(error) => return Err(UsageError::Syntax(error.render().to_string())),
    };
    if matches.get_flag("version") {
        return Ok(Request::bare(Action::Version));
    }
    if args.is_empty() {
        return Ok(Request::bare(Action::Help(
            command::command().render_help().to_string(),
        )));
    }
    let mut words = Words::read(&matches, kind)?;
    let settings = settings(&matches)?;
    if words.archive.is_none() {
        words.archive.clone_from(&settings.archive);
    }
    let action = Reader {
        matches: &matches,
        words: &words,
    }
    .action()?;
    Ok(Request {
        action,
        settings,
        notices: words.notices,
    })
}

impl Request {
    fn bare(action: Action) -> Self {
        Self {
            action,
            settings: Settings::default(),
            notices: Vec::new(),
        }
    }
}

/// The positional words and `-m`, `-v`, sorted by what they are.
#[derive(Default)]
struct Words {
    verb: Option<String>,
    module: Option<String>,
    version: Option<String>,
    directory: Option<PathBuf>,
    archive: Option<PathBuf>,
    notices: Vec<String>,
}

impl Words {
    fn read(matches: &ArgMatches, kind: &dyn Fn(&str) -> WordKind) -> Result<Self, UsageError> {
        let mut words = Self::default();
        if let Some(module) = matches.get_one::<String>("module") {
            words.package(module);
        }
        if let Some(version) = matches.get_one::<String>("module-version") {
            words.version = Some(version.clone());
        }
        for word in matches.get_many::<String>("words").into_iter().flatten() {
            words.positional(word, kind)?;
        }
        for id in ["no-initrd", "no-clean-kernel", "no-prepare-kernel"] {
            if matches.get_flag(id) {
                words.notices.push(format!("--{id} has no effect any more"));
            }
        }
        for (name, what) in [(&words.module, "module"), (&words.version, "module version")] {
            if let Some(name) = name {
                check_component(name, what)?;
            }
        }
        Ok(words)
    }

    fn positional(&mut self, word: &str, kind: &dyn Fn(&str) -> WordKind) -> Result<(), UsageError> {
        if command::VERBS.iter().any(|(verb, _)| *verb == word) {
            if let Some(first) = self.verb.replace(word.to_owned()) {
                return Err(UsageError::TwoActions(first, word.to_owned()));
            }
            return Ok(());
        }
        match kind(word) {
            WordKind::ConfFile => {
                let parent = Path::new(word).parent().filter(|parent| !parent.as_os_str().is_empty());
                self.directory = Some(parent.unwrap_or(Path::new(".")).to_owned());
            }
            WordKind::SourceDirectory => self.directory = Some(word.into()),
            WordKind::File => self.archive = Some(word.into()),
            WordKind::Plain if self.module.is_none() => self.package(word),
            WordKind::Plain => self
                .notices
                .push(format!("`{word}` is left out of account: the module is already named")),
        }
        Ok(())
    }

    /// `module` or `module/version`.
    fn package(&mut self, text: &str) {
        match text.split_once('/') {
            Some((module, version)) => {
                self.module = Some(module.to_owned());
                self.version = Some(version.to_owned());
            }
            None => self.module = Some(text.to_owned()),
        }
    }
}

/// Names become directories: one component, no `..`, no control characters, nothing a shell or a list would trip over.
fn check_component(name: &str, what: &'static str) -> Result<(), UsageError> {
    let fine = !name.is_empty()
        && name.len() <= 200
        && !matches!(name, "." | "..")
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '/');
    if fine {
        Ok(())
    } else {
        Err(UsageError::BadName(name.to_owned(), what))
    }
}

fn settings(matches: &ArgMatches) -> Result<Settings, UsageError> {
    let path = |id| matches.get_one::<PathBuf>(id).cloned();
    let directives = matches.get_many::<String>("directive").into_iter().flatten();
    let directives = directives.map(|text| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| UsageError::BadDirective(text.clone()))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    Ok(Settings {
        force: matches.get_flag("force"),
        force_version_override: matches.get_flag("force-version-override"),
        rpm_safe_upgrade: matches.get_flag("rpm_safe_upgrade"),
        no_depmod: matches.get_flag("no-depmod"),
        modprobe_on_install: matches.get_flag("modprobe-on-install"),
        symlink_modules: matches.get_flag("symlink-modules"),
        json: matches.get_flag("json"),
        verbose: matches.get_flag("verbose"),
        quiet: matches.get_flag("quiet"),
        jobs: matches.get_one::<usize>("jobs").copied().filter(|jobs| *jobs > 0),
        conf: path("conf"),
        kernel_config: path("config"),
        kernel_source_dir: path("kernelsourcedir"),
        directives: directives.collect::<Result<_, _>>()?,
        archive: path("archive"),
        dkms_tree: path("dkmstree"),
        source_tree: path("sourcetree"),
        install_tree: path("installtree"),
        root: path("root"),
    })
}

/// Puts the action together; each verb takes what it needs and refuses what it cannot mean.
struct Reader<'a> {
    matches: &'a ArgMatches,
    words: &'a Words,
}

impl Reader<'_> {
    fn action(&self) -> Result<Action, UsageError> {
        let (source_only, binaries_only) = (
            self.matches.get_flag("source-only"),
            self.matches.get_flag("binaries-only"),
        );
        if source_only && binaries_only {
            return Err(UsageError::SourceAndBinariesOnly);
        }
        let kernels = self.kernels()?;
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

    fn kernels(&self) -> Result<Kernels, UsageError> {
        let given = |id: &str| -> Vec<String> {
            self.matches
                .get_many::<String>(id)
                .into_iter()
                .flatten()
                .cloned()
                .collect()
        };
        // `-k K/A` counts as a `-k K` and an `-a A`, as upstream counts.
        let (mut releases, mut arches) = (Vec::new(), given("arch"));
        for text in given("kernelver") {
            match text.split_once('/') {
                Some((release, arch)) => {
                    releases.push(release.to_owned());
                    arches.push(arch.to_owned());
                }
                None => releases.push(text),
            }
        }
        if releases.iter().chain(&arches).any(String::is_empty) {
            return Err(UsageError::EmptyKernel);
        }
        for (names, what) in [(&releases, "kernel"), (&arches, "machine architecture")] {
            names.iter().try_for_each(|name| check_component(name, what))?;
        }
        if arches.len() > 1 && arches.len() != releases.len() {
            return Err(UsageError::ArchesDoNotFit {
                arches: arches.len(),
                kernels: releases.len(),
            });
        }
        match (self.matches.get_flag("all"), releases.is_empty(), arches.is_empty()) {
            (true, false, _) => return Err(UsageError::AllAndKernel),
            (true, true, false) => return Err(UsageError::AllAndArch),
            (true, true, true) => return Ok(Kernels::EveryBuilt),
            (false, true, _) => return Ok(Kernels::Running { arch: arches.pop() }),
            (false, false, _) => {}
        }
        if releases.iter().any(|release| release == "all") {
            return Ok(Kernels::EveryKernel);
        }
        let arch_of = |index: usize| {
            if arches.len() == 1 {
                arches.first()
            } else {
                arches.get(index)
            }
            .cloned()
        };
        let named = releases.into_iter().enumerate();
        Ok(Kernels::Named(
            named
                .map(|(index, release)| KernelName {
                    release,
                    arch: arch_of(index),
                })
                .collect(),
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with /src/dkms.conf, /src and a.tar.gz on it.
    fn disk(word: &str) -> WordKind {
        match word {
            "/src/dkms.conf" | "dkms.conf" => WordKind::ConfFile,
            "/src" => WordKind::SourceDirectory,
            "a.tar.gz" => WordKind::File,
            _ => WordKind::Plain,
        }
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace()
            .map(|word| word.trim_matches('"').to_owned())
            .collect()
    }

    fn check(line: &str, expected: Action) {
        assert_eq!(parse(&words(line), &disk).expect(line).action, expected, "{line}");
    }

    fn check_code(line: &str, code: u8) {
        let error = parse(&words(line), &disk).expect_err(line);
        assert_eq!(error.code(), code, "{line}: {error}");
    }

    fn package() -> Package {
        Package {
            module: "m".into(),
            version: "1".into(),
        }
    }

    fn kernels(names: &[(&str, Option<&str>)]) -> Kernels {
        let name = |(release, arch): &(&str, Option<&str>)| KernelName {
            release: (*release).into(),
            arch: arch.map(Into::into),
        };
        Kernels::Named(names.iter().map(name).collect())
    }

    #[test]
    fn verbs_stand_anywhere_and_packages_are_written_four_ways() {
        let running = Kernels::Running { arch: None };
        for line in [
            "build m/1",
            "m/1 build",
            "build -m m -v 1",
            "-m m/1 build",
            "--module=m -v 1 build",
            "-v 1 build m",
            "-m=m -v=1 build",
        ] {
            check(line, Action::Build(Subject::Package(package()), running.clone()));
        }
        check("add /src", Action::Add(Subject::Directory("/src".into())));
        check("add /src/dkms.conf", Action::Add(Subject::Directory("/src".into())));
        check("add dkms.conf", Action::Add(Subject::Directory(".".into())));
        check(
            "install a.tar.gz",
            Action::Install(Subject::Archive("a.tar.gz".into()), running),
        );
        check("ldtarball --archive=x.gz", Action::Ldtarball("x.gz".into()));
    }

    #[test]
    fn kernels_pair_with_architectures() {
        check("remove m/1 --all", Action::Remove(package(), Kernels::EveryBuilt));
        check(
            "remove m/1 -k a -k b/x",
            Action::Remove(package(), kernels(&[("a", Some("x")), ("b", Some("x"))])),
        );
        check(
            "remove m/1 -k a -k b",
            Action::Remove(package(), kernels(&[("a", None), ("b", None)])),
        );
        check(
            "remove m/1 -k a/x -k b/y",
            Action::Remove(package(), kernels(&[("a", Some("x")), ("b", Some("y"))])),
        );
        check(
            "remove m/1 -a x --kernelver=a",
            Action::Remove(package(), kernels(&[("a", Some("x"))])),
        );
        check("autoinstall -k all", Action::Autoinstall(Kernels::EveryKernel));
        check("autoinstall", Action::Autoinstall(Kernels::Running { arch: None }));
        check(
            "kernel_prerm -k a",
            Action::KernelHook(Hook::Prerm, kernels(&[("a", None)])),
        );
    }

    #[test]
    fn status_filters() {
        let all = Filter::default();
        check("status", Action::Status(all.clone()));
        check(
            "status -m m",
            Action::Status(Filter {
                module: Some("m".into()),
                ..all.clone()
            }),
        );
        check(
            "status m/1",
            Action::Status(Filter {
                module: Some("m".into()),
                version: Some("1".into()),
                ..all
            }),
        );
        assert_eq!(parse(&words("status m b c"), &disk).expect("status").notices.len(), 2);
    }

    #[test]
    fn exit_codes_of_bad_usage_are_upstreams() {
        for (line, code) in [
            ("frob", 1),
            ("add", 1),
            ("add -m x", 1),
            ("build --all m/1", 5),
            ("status --bogus", 2),
            ("add build", 4),
            ("build m/1 -k \"\"", 16),
            ("match", 1),
            ("match --templatekernel=a -k a", 2),
            ("match --templatekernel=a -k b -k c", 4),
            ("mktarball -m x", 1),
            ("ldtarball nosuch.tar.gz", 2),
            ("uninstall m/1 -k x --all", 2),
            ("uninstall m/1 -a x --all", 3),
            ("status -a x -a y -k z", 1),
            ("mktarball --binaries-only --source-only", 8),
            ("kernel_postinst", 1),
            ("add ../etc/1", 1),
            ("add m/..", 1),
            ("build m/1 -k ../..", 1),
            ("build m/1 -j many", 2),
            ("build m/1 --directive nothing", 1),
        ] {
            check_code(line, code);
        }
    }

    #[test]
    fn every_refusal_but_clap_s_own_says_the_way_out() {
        let error = parse(&words("add build"), &disk).expect_err("two actions");
        assert_eq!(
            error.hint().as_deref(),
            Some("run them one after the other: dkms add … && dkms build …")
        );
    }
}
