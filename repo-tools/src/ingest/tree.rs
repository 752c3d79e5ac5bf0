//! The files of a package in memory, from untrusted entries to a source that is safe to write to disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use super::error::Problem;

/// How much a package may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the package file as it lies on disk.
    pub packed_bytes: u64,
    /// Bytes of all its files together.
    pub total_bytes: u64,
    /// Files, directories and links.
    pub entries: usize,
    /// Bytes of one path.
    pub path_bytes: usize,
}

impl Default for Limits {
    /// Some four times the largest driver in the field, which has 60 MB in 3,000 files.
    fn default() -> Self {
        Self {
            packed_bytes: 128 << 20,
            total_bytes: 256 << 20,
            entries: 20_000,
            path_bytes: 512,
        }
    }
}

impl Limits {
    /// The limits of an archive of `packed_bytes` from outside, which may unpack to so many times its size and no more: a small
    /// archive never takes much memory. Packed sources are a thirtieth to a third of their size.
    pub(super) fn of_archive(self, packed_bytes: usize) -> Self {
        const SMALLEST_BYTES: u64 = 4 << 20;
        const RATIO: u64 = 48;
        let room = SMALLEST_BYTES.saturating_add((packed_bytes as u64).saturating_mul(RATIO));
        Self {
            total_bytes: self.total_bytes.min(room),
            ..self
        }
    }
}

/// One thing in a tree. Owner, time and the exact mode are not kept: they are not the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link and its target, as written.
    Link(String),
}

/// Entries as an archive names them: every path is relative and plain, but links may still point anywhere.
#[derive(Debug)]
pub(super) struct RawTree {
    entries: BTreeMap<String, Entry>,
    limits: Limits,
    total_bytes: u64,
}

impl RawTree {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            entries: BTreeMap::new(),
            limits,
            total_bytes: 0,
        }
    }

    /// How many more bytes of file content fit.
    pub(super) fn bytes_left(&self) -> u64 {
        self.limits.total_bytes.saturating_sub(self.total_bytes)
    }

    pub(super) fn too_large(&self) -> Problem {
        Problem::TooLarge(self.limits.total_bytes)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Adds one entry under the name the archive gives it; a leading `./` and a trailing `/` are dropped.
    pub(super) fn insert(&mut self, name: &[u8], entry: Entry) -> Result<(), Problem> {
        let path = plain_path(name, self.limits.path_bytes)?;
        if path.is_empty() {
            // `./` itself: the top directory.
            return match entry {
                Entry::Directory => Ok(()),
                _ => Err(Problem::Clash(path)),
            };
        }
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            match self.entries.get(above) {
                None => self.put(above.to_owned(), Entry::Directory)?,
                Some(Entry::Directory) => break,
                Some(_) => return Err(Problem::Clash(path)),
            }
            parent = above;
        }
        match (self.entries.get(&path), &entry) {
            (None, _) => self.put(path, entry),
            (Some(Entry::Directory), Entry::Directory) => Ok(()),
            (Some(_), _) => Err(Problem::Clash(path)),
        }
    }

    fn put(&mut self, path: String, entry: Entry) -> Result<(), Problem> {
        if self.entries.len() >= self.limits.entries {
            return Err(Problem::TooManyEntries(self.limits.entries));
        }
        if let Entry::File { bytes, .. } = &entry {
            self.total_bytes = self.total_bytes.saturating_add(bytes.len() as u64);
            if self.total_bytes > self.limits.total_bytes {
                return Err(self.too_large());
            }
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// All paths, sorted.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// All that is below the one directory at the top, if there is nothing beside it.
    pub(super) fn below_single_top(self) -> Self {
        let mut tops = self.entries.keys().filter(|path| !path.contains('/'));
        let top = match (tops.next(), tops.next()) {
            (Some(top), None) if self.entries.get(top) == Some(&Entry::Directory) => format!("{top}/"),
            _ => return self,
        };
        let below = |(path, entry): (String, Entry)| path.strip_prefix(&top).map(|inner| (inner.to_owned(), entry));
        Self {
            entries: self.entries.into_iter().filter_map(below).collect(),
            ..self
        }
    }

    /// Removes a path and all below it.
    pub(super) fn remove(&mut self, path: &str) {
        let prefix = format!("{path}/");
        self.entries
            .retain(|other, _| other != path && !other.starts_with(&prefix));
    }

    /// Adds all of another tree below `dir` (empty: at the top).
    pub(super) fn graft(&mut self, dir: &str, other: Self) -> Result<(), Problem> {
        // Archives of one package share the limits of the largest one.
        self.limits.total_bytes = self.limits.total_bytes.max(other.limits.total_bytes);
        for (path, entry) in other.entries {
            let path = if dir.is_empty() { path } else { format!("{dir}/{path}") };
            self.insert(path.as_bytes(), entry)?;
        }
        Ok(())
    }

    /// The source below `top` (empty: everything), once all its links are known to stay inside it.
    ///
    /// A link to another file of the same package, such as a README among the documentation, becomes that file.
    pub(super) fn source_at(mut self, top: &str) -> Result<SourceTree, Problem> {
        let prefix = if top.is_empty() {
            String::new()
        } else {
            format!("{top}/")
        };
        let mut entries = BTreeMap::new();
        let mut leaving = Vec::new();
        for (path, entry) in &self.entries {
            let Some(inner) = path.strip_prefix(&prefix) else {
                continue;
            };
            match entry {
                Entry::Link(target) if !stays_inside(inner, target) => {
                    leaving.push((inner.to_owned(), path.clone(), target.clone()));
                }
                _ => {}
            }
        }
        for (inner, path, target) in leaving {
            let file = resolve(&path, &target).and_then(|there| self.entries.get(&there));
            match file.cloned() {
                Some(file @ Entry::File { .. }) => {
                    self.entries.remove(&path);
                    self.put(path, file)?;
                }
                _ => return Err(Problem::LinkLeaves { name: inner, target }),
            }
        }
        for (path, entry) in self.entries {
            if let Some(inner) = path.strip_prefix(&prefix) {
                entries.insert(inner.to_owned(), entry);
            }
        }
        Ok(SourceTree { entries })
    }
}

/// A driver's source: relative plain paths, links that stay inside, bounded in size. Holding one is the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    entries: BTreeMap<String, Entry>,
}

impl SourceTree {
    /// A source made of texts, for sources that a program writes.
    ///
    /// # Errors
    /// As for an archive with these names.
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Problem> {
        let mut raw = RawTree::new(Limits::default());
        for (path, text) in files {
            let entry = Entry::File {
                bytes: text.as_bytes().to_vec(),
                executable: text.starts_with("#!"),
            };
            raw.insert(path.as_bytes(), entry)?;
        }
        raw.source_at("")
    }

    /// Every entry with its path relative to the directory of `dkms.conf`, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Every regular file, sorted by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries().filter_map(|(path, entry)| match entry {
            Entry::File { bytes, .. } => Some((path, bytes.as_slice())),
            Entry::Directory | Entry::Link(_) => None,
        })
    }

    /// Writes everything below `dir`, which must exist and be empty.
    ///
    /// # Errors
    /// The file system's, among them "already exists": nothing is ever overwritten.
    pub fn write_to(&self, dir: &Path) -> io::Result<()> {
        let mut links = Vec::new();
        for (path, entry) in self.entries() {
            let place = dir.join(path);
            match entry {
                Entry::Directory => fs::create_dir(&place)?,
                Entry::File { bytes, executable } => {
                    let mode = if *executable { 0o755 } else { 0o644 };
                    let mut file = fs::OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .mode(mode)
                        .open(&place)?;
                    file.write_all(bytes)?;
                    file.set_permissions(fs::Permissions::from_mode(mode))?;
                }
                // Links come last, so that nothing is ever written through one.
                Entry::Link(target) => links.push((place, target)),
            }
        }
        links.into_iter().try_for_each(|(place, target)| symlink(target, place))
    }
}

/// `name` without `./` and doubled or trailing slashes, if it is relative, plain text, and has no `..`.
fn plain_path(name: &[u8], path_bytes: usize) -> Result<String, Problem> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    let text = std::str::from_utf8(name).map_err(|_| Problem::BadName(shown()))?;
    if text.starts_with('/') {
        return Err(Problem::NameLeaves(shown()));
    }
    if text.is_empty() || text.len() > path_bytes || text.chars().any(char::is_control) {
        return Err(Problem::BadName(shown()));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(Problem::NameLeaves(shown()));
    }
    if parts.iter().any(|part| part.len() > 255) {
        return Err(Problem::BadName(shown()));
    }
    Ok(parts.join("/"))
}

/// Whether a link at `path` with `target` ends inside the tree.
///
/// `..` may only stand at the front, where it walks up real directories: behind a name, which may itself be a link,
/// it could leave although the text does not.
fn stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') {
        return false;
    }
    let depth = path.matches('/').count();
    let mut ups = 0;
    let mut named = false;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if named => return false,
            ".." => ups += 1,
            _ => named = true,
        }
    }
    ups <= depth
}

/// Where in the package a link at `path` leads, by its text alone; `None` where it leaves the package.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => path
            .split('/')
            .rev()
            .skip(1)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_of_the_package_become_files() {
        fn check(target: &str, expected: Option<&str>) {
            let mut raw = RawTree::new(Limits::default());
            for name in ["usr/src/x-1/dkms.conf", "usr/share/doc/x/README"] {
                let entry = Entry::File {
                    bytes: name.as_bytes().to_vec(),
                    executable: false,
                };
                raw.insert(name.as_bytes(), entry).unwrap();
            }
            raw.insert(b"usr/src/x-1/README", Entry::Link(target.to_owned()))
                .unwrap();
            let tree = raw.source_at("usr/src/x-1").ok();
            let text = tree.as_ref().and_then(|tree| {
                let readme = tree.files().find(|(path, _)| *path == "README");
                readme.map(|(_, bytes)| std::str::from_utf8(bytes).unwrap())
            });
            assert_eq!(text, expected, "{target}");
        }
        check("../../share/doc/x/README", Some("usr/share/doc/x/README"));
        check("/usr/share/doc/x/README", Some("usr/share/doc/x/README"));
        check("../../share/doc/x", None);
        check("../../../../usr/share/doc/x/README", None);
        check("/etc/passwd", None);
    }

    #[test]
    fn names_are_made_plain_or_refused() {
        fn check(name: &str, expected: Option<&str>) {
            assert_eq!(plain_path(name.as_bytes(), 40).ok().as_deref(), expected, "{name:?}");
        }
        check("a/b.c", Some("a/b.c"));
        check("./a//b/", Some("a/b"));
        check("./", Some(""));
        check("a/..b", Some("a/..b"));
        check("/a", None);
        check("a/../b", None);
        check("..", None);
        check("", None);
        check("a\nb", None);
        check(&"x".repeat(41), None);
        assert!(plain_path(b"a\xff", 40).is_err());
    }

    #[test]
    fn links_stay_inside() {
        fn check(path: &str, target: &str, expected: bool) {
            assert_eq!(stays_inside(path, target), expected, "{path} -> {target}");
        }
        check("a", "b", true);
        check("d/a", "../b", true);
        check("d/e/a", "../../b/c", true);
        check("d/a", "../../b", false);
        check("a", "..", false);
        check("a", "/etc/passwd", false);
        check("a", "", false);
        // `d` may be a link to a directory higher up.
        check("x/a", "d/../b", false);
    }

    #[test]
    fn one_name_is_one_thing() {
        let file = || Entry::File {
            bytes: vec![1; 10],
            executable: false,
        };
        let limits = Limits {
            total_bytes: 25,
            entries: 4,
            ..Limits::default()
        };
        let mut tree = RawTree::new(limits);
        tree.insert(b"./", Entry::Directory).unwrap();
        tree.insert(b"d/f", file()).unwrap();
        tree.insert(b"d/", Entry::Directory).unwrap();
        assert_eq!(tree.insert(b"d/f", file()), Err(Problem::Clash("d/f".into())));
        assert_eq!(tree.insert(b"d/f/g", file()), Err(Problem::Clash("d/f/g".into())));
        tree.insert(b"l", Entry::Link("d".into())).unwrap();
        assert_eq!(tree.insert(b"l/x", file()), Err(Problem::Clash("l/x".into())));
        tree.insert(b"g", file()).unwrap();
        assert_eq!(tree.insert(b"h", file()), Err(Problem::TooManyEntries(4)));
        assert_eq!(tree.paths().collect::<Vec<_>>(), ["d", "d/f", "g", "l"]);
    }
}
