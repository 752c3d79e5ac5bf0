//! What builds need, on a medium for machines without a network: a part of the distribution's archives, as their signatures cover it.
//!
//! The archive's signed `InRelease`, its whole list of packages, and the packages for some kernels lie below [`DIR`] as on a mirror. On the
//! machine apt reads them as it reads any archive: what the keys of the distribution do not cover is refused by apt.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use dkms_engine::root::Root;
use dkms_engine::sandbox::take::remove_tree;
use tempfile::TempDir;
use url::Url;

use super::{Apt, Installation, Manager, ToolchainError};
use crate::files;

/// The directory on a medium. No repository can have its name.
pub const DIR: &str = ".toolchain";
/// The file in it that says which archives it has: a line `NUMBER SUITE COMPONENT` each.
const SOURCES: &str = "sources";
/// The largest such file that is read.
const SOURCES_MAX_BYTES: u64 = 64 << 10;
/// Keys of distributions that are not in apt's own directory.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
];

/// A list of packages, as `apt-get indextargets` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    file: PathBuf,
    /// Below the directory of the suite: `main/binary-amd64/Packages`.
    key: String,
    /// The archive's address, with a slash at its end.
    archive: String,
    suite: String,
    component: String,
}

impl Target {
    /// `None` where it is not of a signed suite: what nobody signed cannot be verified on another machine.
    fn parse(line: &str) -> Option<Self> {
        let [file, key, archive, suite, component] = line.split('|').collect::<Vec<_>>().try_into().ok()?;
        let is_plain = [key, suite, component].iter().all(|word| is_plain(word));
        let target = Self {
            file: file.into(),
            key: key.to_owned(),
            archive: format!("{}/", archive.trim_end_matches('/')),
            suite: suite.to_owned(),
            component: component.to_owned(),
        };
        (is_plain && target.release_file()?.is_file()).then_some(target)
    }

    /// The signed file of the suite lies beside the list, under the same name up to the suite.
    fn release_file(&self) -> Option<PathBuf> {
        let name = self.file.file_name()?.to_str()?;
        let ending = self.key.replace('/', "_");
        Some(
            self.file
                .with_file_name(format!("{}InRelease", name.strip_suffix(&ending)?)),
        )
    }
}

/// Whether it can be a word of apt's sources and a path below a directory.
fn is_plain(word: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '~' | '/');
    !word.is_empty()
        && !word.ends_with('/')
        && word.chars().all(allowed)
        && Path::new(word)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Puts the packages that `names` need on a machine that has nothing on the medium `medium`, out of the archives of the apt of `root`.
///
/// # Errors
/// When apt does not offer one or cannot download it, or the medium cannot be written.
pub fn carry(root: &Root, offline: bool, names: &[String], medium: &Path) -> Result<Installation, ToolchainError> {
    let scratch = TempDir::new().map_err(|source| note(&std::env::temp_dir(), source))?;
    let at = |name: &str| scratch.path().join(name).display().to_string();
    for dir in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(scratch.path().join(dir)).map_err(|source| note(scratch.path(), source))?;
    }
    fs::write(at("status"), "").map_err(|source| note(scratch.path(), source))?;
    let options = [
        format!("Dir::State::status={}", at("status")),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::State::extended_states={}", at("extended")),
        format!("Dir::Cache={}", at("cache")),
        "Dir::Log=/dev/null".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::GzipIndexes=false".to_owned(),
        // It need not be root.
        "APT::Sandbox::User=".to_owned(),
    ];
    let apt = Apt::of(root, offline).with_options(options);
    if !apt.is_there() {
        return Err(ToolchainError::NoApt);
    }
    apt.update()?;
    let installation = apt.plan(names)?;
    let uris = apt.uris(&installation)?;
    apt.download(&installation)?;
    let targets: Vec<Target> = apt.targets()?.lines().filter_map(Target::parse).collect();
    let archives = Path::new(&at("cache")).join("archives");
    write(&targets, &uris, &archives, medium)?;
    Ok(installation)
}

/// Writes all of it beside what is there, and puts it in its place when it is whole.
fn write(
    targets: &[Target],
    uris: &BTreeMap<String, String>,
    archives: &Path,
    medium: &Path,
) -> Result<(), ToolchainError> {
    let (place, new) = (medium.join(DIR), medium.join(format!("{DIR}.new")));
    let failed = |source| note(&new, source);
    remove_tree(&new).map_err(failed)?;
    fs::create_dir_all(&new).map_err(failed)?;
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (uri, file) in uris {
        let source = targets
            .iter()
            .filter(|target| uri.starts_with(&target.archive))
            .max_by_key(|target| target.archive.len());
        // apt asks for it by the name in the list, in which these two are not encoded.
        let below = source.and_then(|target| uri.strip_prefix(&target.archive));
        let below = below.map(|below| below.replace("%7e", "~").replace("%2b", "+"));
        let (Some(source), Some(below)) = (source, below.filter(|below| is_plain(below))) else {
            return Err(ToolchainError::NotSigned { uri: uri.clone() });
        };
        let next = numbers.len();
        let number = *numbers.entry(source.archive.as_str()).or_insert(next);
        // apt verifies an archive on this machine where it lies, and keeps no copy.
        let local = Url::parse(uri).ok().filter(|uri| uri.scheme() == "file");
        let local = local.and_then(|uri| uri.to_file_path().ok());
        copy(
            &local.unwrap_or_else(|| archives.join(file)),
            &new.join(number.to_string()).join(below),
        )?;
    }
    let mut sources = String::new();
    for target in targets {
        let Some(number) = numbers.get(target.archive.as_str()) else {
            continue;
        };
        let suite = new.join(number.to_string()).join("dists").join(&target.suite);
        if let Some(release) = target.release_file() {
            copy(&release, &suite.join("InRelease"))?;
        }
        copy(&target.file, &suite.join(&target.key))?;
        // Writing to a String does not fail.
        let _ = writeln!(sources, "{number} {} {}", target.suite, target.component);
    }
    fs::write(new.join(SOURCES), sources).map_err(failed)?;
    remove_tree(&place).map_err(failed)?;
    fs::rename(&new, &place).map_err(|source| note(&place, source))
}

fn copy(from: &Path, to: &Path) -> Result<(), ToolchainError> {
    let copied = || -> io::Result<()> {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        fs::copy(from, to)?;
        fs::set_permissions(to, Permissions::from_mode(0o644))?;
        fs::File::open(to)?.sync_all()
    };
    copied().map_err(|source| note(if from.exists() { to } else { from }, source))
}

fn note(path: &Path, source: io::Error) -> ToolchainError {
    ToolchainError::Note {
        path: path.to_owned(),
        source,
    }
}

/// The apt of `root` with what a medium has in the place of the sources of the machine; none where the medium has nothing of this kind.
///
/// # Errors
/// When no temporary directory can be made, or the system has no apt.
pub fn of_medium<'a>(root: &'a Root, medium: &Path) -> Result<Option<Manager<'a>>, ToolchainError> {
    use io::Read;
    let dir = medium.join(DIR);
    let mut text = String::new();
    let read =
        files::open_regular(&dir.join(SOURCES)).and_then(|file| file.take(SOURCES_MAX_BYTES).read_to_string(&mut text));
    let keyrings: Vec<&str> = KEYRINGS.into_iter().filter(|file| root.join(file).is_file()).collect();
    let sources = match (read, dir.canonicalize()) {
        (Ok(_), Ok(dir)) => sources_list(&text, &dir, &keyrings),
        _ => return Ok(None),
    };
    if sources.is_empty() {
        return Ok(None);
    }
    if !Apt::of(root, false).is_there() {
        return Err(ToolchainError::NoApt);
    }
    let scratch = TempDir::new().map_err(|source| note(&std::env::temp_dir(), source))?;
    let failed = |source| note(scratch.path(), source);
    // apt verifies as a user of its own.
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).map_err(failed)?;
    fs::create_dir_all(scratch.path().join("lists/partial")).map_err(failed)?;
    fs::write(scratch.path().join("sources.list"), sources).map_err(failed)?;
    let options = [
        format!("Dir::Etc::sourcelist={}/sources.list", scratch.path().display()),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        format!("Dir::State::lists={}/lists", scratch.path().display()),
        // The medium has the lists as they are read, whatever the machine's apt keeps.
        "Acquire::GzipIndexes=false".to_owned(),
        "Acquire::IndexTargets::deb::Packages::CompressionTypes=uncompressed".to_owned(),
    ];
    let apt = Apt::of(root, false).with_options(options).holding(scratch);
    Ok(Some(Manager::Apt(apt)))
}

/// Lines for apt, which verifies a copy of each file (`copy:`): a stick may show another content when it is read again. A medium is older
/// than the days for which lists of some suites are good; who signed them is checked all the same.
fn sources_list(text: &str, dir: &Path, keyrings: &[&str]) -> String {
    let signed_by = match keyrings {
        [] => String::new(),
        files => format!(" signed-by={}", files.join(",")),
    };
    let line = |line: &str| {
        let [number, suite, component] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let number: u16 = number.parse().ok()?;
        let archive = Url::from_directory_path(dir.join(number.to_string())).ok()?;
        let is_plain = is_plain(suite) && is_plain(component);
        is_plain.then(|| {
            format!(
                "deb [target=Packages check-valid-until=no{signed_by}] copy:{} {suite} {component}\n",
                archive.path()
            )
        })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_taken_only_where_they_are_plain() {
        let text = "0 bookworm main\n1 bookworm-security main\n0 ../x main\n0 a b c\nx bookworm main\n0 stable main]\n";
        assert_eq!(
            sources_list(text, Path::new("/media/my stick/.toolchain"), &[]),
            "deb [target=Packages check-valid-until=no] copy:/media/my%20stick/.toolchain/0/ bookworm main\n\
             deb [target=Packages check-valid-until=no] copy:/media/my%20stick/.toolchain/1/ bookworm-security main\n"
        );
        let with_key = sources_list("0 stable main\n", Path::new("/m"), &["/a.gpg", "/b.gpg"]);
        assert_eq!(
            with_key,
            "deb [target=Packages check-valid-until=no signed-by=/a.gpg,/b.gpg] copy:/m/0/ stable main\n"
        );
    }

    #[test]
    fn lists_of_suites_that_nobody_signed_are_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let list = dir.path().join("host_debian_dists_bookworm_main_binary-amd64_Packages");
        let line = format!(
            "{}|main/binary-amd64/Packages|http://host/debian|bookworm|main",
            list.display()
        );
        assert_eq!(Target::parse(&line), None, "no InRelease");
        fs::write(dir.path().join("host_debian_dists_bookworm_InRelease"), "").expect("a file");
        let target = Target::parse(&line).expect("signed");
        assert_eq!(
            (target.archive.as_str(), target.suite.as_str()),
            ("http://host/debian/", "bookworm")
        );
        assert_eq!(Target::parse("x|Packages|http://host/|./|"), None, "a flat archive");
    }
}
