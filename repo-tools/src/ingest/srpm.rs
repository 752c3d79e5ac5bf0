//! The source in a source rpm: its archive, and patches where the spec file applies them in the plain way.
//!
//! A spec file is a program. What it does beside `%autosetup -p1` is not guessed at.

use std::path::Path;

use super::error::Problem;
use super::packed;
use super::patches::Patch;
use super::tree::{Entry, Limits, RawTree};

/// The archive of the source package `files`, named NAME and VERSION, and the patches that belong on it.
pub(super) fn source(
    files: &RawTree,
    (name, version): (&str, &str),
    limits: Limits,
) -> Result<(RawTree, Vec<Patch>), Problem> {
    let spec = files.paths().find(|path| path.ends_with(".spec"));
    let spec = spec.and_then(|path| files.get(path)).map_or_else(String::new, text);
    let patches = patches(&spec, files, (name, version))?;
    let archives: Vec<(&str, &Vec<u8>)> = files
        .paths()
        .filter_map(|path| match files.get(path) {
            Some(Entry::File { bytes, .. }) if packed::is_archive(Path::new(path), bytes) => Some((path, bytes)),
            _ => None,
        })
        .collect();
    let mut trees = Vec::new();
    for (path, bytes) in &archives {
        trees.push((*path, packed::read(bytes, limits)?.below_single_top()));
    }
    let with_conf = trees.iter().filter(|(_, tree)| tree.get("dkms.conf").is_some()).count();
    if with_conf == 1 {
        trees.retain(|(_, tree)| tree.get("dkms.conf").is_some());
    }
    match trees.len() {
        1 => Ok((trees.remove(0).1, patches)),
        0 => Err(unprepared("it has no archive of a source")),
        _ => {
            let names: Vec<&str> = trees.iter().map(|(path, _)| *path).collect();
            Err(unprepared(&format!("it has several archives: {}", names.join(", "))))
        }
    }
}

fn patches(spec: &str, files: &RawTree, (name, version): (&str, &str)) -> Result<Vec<Patch>, Problem> {
    let lines = || spec.lines().map(str::trim);
    let mut numbered = Vec::new();
    for line in lines() {
        let Some((tag, value)) = line.split_once(':') else {
            continue;
        };
        let lower = tag.trim().to_ascii_lowercase();
        let Some(digits) = lower.strip_prefix("patch") else {
            continue;
        };
        let next = numbered.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        let number = match digits {
            "" => next,
            digits => match digits.parse::<u32>() {
                Ok(number) => number,
                Err(_) => continue,
            },
        };
        let value = value.trim().rsplit('/').next().unwrap_or_default();
        let value = value.replace("%{name}", name).replace("%{version}", version);
        numbered.push((number, value));
    }
    if numbered.is_empty() {
        return Ok(Vec::new());
    }
    let by_hand = lines().any(|line| line.starts_with("%patch"));
    let conditional = lines().any(|line| line.starts_with("%if"));
    let mut set_up = lines().filter(|line| line.starts_with("%autosetup") || line.starts_with("%autopatch"));
    let plain = set_up.next().is_some_and(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == "-p1") && !line.split_whitespace().any(|word| word == "-N")
    });
    if by_hand || conditional || !plain || set_up.next().is_some() {
        return Err(unprepared("its spec file applies patches in a way of its own"));
    }
    numbered.sort();
    let patch = |(_, file): (u32, String)| match files.get(&file) {
        Some(Entry::File { bytes, .. }) => Ok(Patch {
            name: file,
            text: bytes.clone(),
            strip: 1,
        }),
        _ => Err(unprepared(&format!(
            "its spec file names the patch {file}, which is not there"
        ))),
    };
    numbered.into_iter().map(patch).collect()
}

fn text(entry: &Entry) -> String {
    match entry {
        Entry::File { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
        Entry::Directory | Entry::Link(_) => String::new(),
    }
}

fn unprepared(what: &str) -> Problem {
    Problem::Unprepared(format!("the source rpm cannot be prepared here: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_patches_are_taken() {
        fn check(spec: &str, expected: Result<&[&str], &str>) {
            let mut files = RawTree::new(Limits::default());
            for name in ["a.patch", "x-1.patch"] {
                let (bytes, executable) = (Vec::new(), false);
                files
                    .insert(name.as_bytes(), Entry::File { bytes, executable })
                    .unwrap();
            }
            let found = patches(spec, &files, ("x", "1"));
            let names = found.map(|patches| patches.into_iter().map(|patch| patch.name).collect::<Vec<_>>());
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(names, expected.map_err(unprepared), "{spec}");
        }
        let own_way = "its spec file applies patches in a way of its own";
        check("Name: x\n%setup -q\n", Ok(&[]));
        check(
            "Patch2: a.patch\nPatch1: https://x/%{name}-%{version}.patch\n%autosetup -p1 -n x\n",
            Ok(&["x-1.patch", "a.patch"]),
        );
        check(
            "Patch: a.patch\nPatch: x-1.patch\n%autosetup -p1\n",
            Ok(&["a.patch", "x-1.patch"]),
        );
        check("Patch0: a.patch\n%setup\n%patch0 -p1\n", Err(own_way));
        check("Patch0: a.patch\n%if 0\n%endif\n%autosetup -p1\n", Err(own_way));
        check("Patch0: a.patch\n%autosetup -N -p1\n", Err(own_way));
        check(
            "Patch0: gone.patch\n%autosetup -p1\n",
            Err("its spec file names the patch gone.patch, which is not there"),
        );
    }
}
