//! The source of a plain package: a flat directory of C files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walkdir::WalkDir;

use super::NotPlain;
use super::makefile;
use crate::sandbox::take;

/// The most that all C files have together, in bytes.
const MAX_BYTES: u64 = 512 << 10;

/// The most files and directories in a source.
const MAX_ENTRIES: usize = 512;

/// What kbuild and the compiler would use without being told, or take for made already.
const INPUTS: [&str; 20] = [
    ".S",
    ".a",
    ".cmd",
    ".gch",
    ".i",
    ".ko",
    ".lds",
    ".lst",
    ".mod",
    ".mod.c",
    ".o",
    ".order",
    ".pch",
    ".rs",
    ".s",
    ".so",
    ".symtypes",
    ".symvers",
    ".cpp",
    "_shipped",
];

/// What C files may not contain. Exports of one package could be used by another one; a path that leads out of the directory leads to
/// other files here than where the package is compiled alone.
const FORBIDDEN: [&str; 5] = ["EXPORT_SYMBOL", "../", ".incbin", "__has_include", "__BASE_FILE__"];

/// The files of a plain package.
#[derive(Debug, Clone)]
pub(in super::super) struct Source {
    /// The C files and headers, by name.
    pub(in super::super) files: BTreeMap<String, Vec<u8>>,
    pub(super) makefile: Vec<u8>,
    pub(super) makefile_name: &'static str,
}

impl Source {
    /// Reads the source directory `dir`.
    pub(super) fn read(dir: &Path) -> Result<Source, NotPlain> {
        let refuse = |what: &str| NotPlain::Source(what.to_owned());
        let top = take::open_dir(dir).map_err(|_| refuse("no directory"))?;
        let (mut names, mut others, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
        let (mut has_kbuild, mut has_makefile) = (false, false);
        for (count, entry) in WalkDir::new(dir).min_depth(1).into_iter().enumerate() {
            let entry = entry.map_err(|_| refuse("something that cannot be read"))?;
            let name = entry.file_name().to_str().ok_or_else(|| refuse("an odd name"))?;
            if count >= MAX_ENTRIES {
                return Err(refuse("many files"));
            }
            if entry.file_type().is_dir() {
                continue;
            }
            if !entry.file_type().is_file() || INPUTS.iter().any(|suffix| name.ends_with(suffix)) {
                return Err(NotPlain::Source(name.to_owned()));
            }
            let is_code = name.ends_with(".c") || name.ends_with(".h");
            match (entry.depth(), name) {
                (1, "Kbuild") => has_kbuild = true,
                (1, "Makefile") => has_makefile = true,
                (1, _) if is_code && is_plain_name(name) => {
                    bytes += fs::symlink_metadata(entry.path()).map_or(MAX_BYTES, |meta| meta.len());
                    names.push(name.to_owned());
                }
                _ if is_code => return Err(refuse("C files in directories")),
                _ => drop(others.insert(name.to_owned())),
            }
            if bytes > MAX_BYTES {
                return Err(refuse("large files"));
            }
        }
        // As scripts/Makefile.build has it.
        let makefile_name = match (has_kbuild, has_makefile) {
            (true, _) => "Kbuild",
            (false, true) => "Makefile",
            (false, false) => return Err(refuse("no Makefile")),
        };
        let read = |name: &str, max_len| {
            take::read(&top, Path::new(name), max_len).map_err(|error| NotPlain::Source(error.to_string()))
        };
        let makefile = read(makefile_name, makefile::MAX_LEN)?;
        let files: BTreeMap<String, Vec<u8>> = names
            .into_iter()
            .map(|name| read(&name, MAX_BYTES).map(|text| (name, text)))
            .collect::<Result<_, _>>()?;
        for (name, text) in &files {
            if let Some(word) = FORBIDDEN.iter().find(|word| contains(text, word.as_bytes())) {
                return Err(NotPlain::Source(format!("{word} in {name}")));
            }
            // Only C files and headers are given to the compiler.
            if let Some(other) = included(text).find(|other| others.contains(*other)) {
                return Err(NotPlain::Source(format!("{other}, which {name} includes")));
            }
        }
        Ok(Source {
            files,
            makefile,
            makefile_name,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }
}

fn is_plain_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && name.chars().all(is_plain)
}

/// The files that `text` includes by name.
fn included(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?.trim_start();
        let what = line
            .strip_prefix('#')?
            .trim_start()
            .strip_prefix("include")?
            .trim_start();
        let end = if what.starts_with('<') { '>' } else { '"' };
        Some(what.strip_prefix(['<', '"'])?.split_once(end)?.0)
    })
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
