//! A dkms.conf for a source that has none, proposed from what its Makefile or Kbuild says. Somebody has to read it.

use std::collections::BTreeMap;

use super::tree::{Entry, RawTree};

/// The most variables that are put in for each other.
const DEPTH_MAX: usize = 8;

/// The directory that a dkms.conf belongs into: the first one from the top that has more than one directory in it.
pub(super) fn top(raw: &RawTree) -> String {
    let mut top = String::new();
    loop {
        let prefix = if top.is_empty() {
            String::new()
        } else {
            format!("{top}/")
        };
        let inner = raw.paths().filter_map(|path| path.strip_prefix(&prefix));
        let mut direct = inner.filter(|path| !path.contains('/'));
        let (first, second) = (direct.next(), direct.next());
        match first.map(|name| format!("{prefix}{name}")) {
            Some(only) if second.is_none() && raw.get(&only) == Some(&Entry::Directory) => top = only,
            _ => return top,
        }
    }
}

/// A module: its name, and the directory below the top with a slash at its end, or nothing.
type Module = (String, String);

/// The text of a dkms.conf for the source at `top`; None where no makefile builds modules.
///
/// `given` is the name of the file or directory, from which name and version are taken where the source does not say them.
pub(super) fn conf(raw: &RawTree, top: &str, given: &str, version: Option<&str>) -> Option<String> {
    let prefix = if top.is_empty() {
        String::new()
    } else {
        format!("{top}/")
    };
    let mut modules = Vec::new();
    collect(raw, &prefix, "", &mut modules, 0);
    let mut elsewhere = None;
    if modules.is_empty() {
        // The makefile at the top is one that calls kbuild, or there is none: the first directory that kbuild can build.
        let dirs: Vec<String> = raw
            .paths()
            .filter_map(|path| path.strip_prefix(&prefix))
            .filter_map(|path| path.strip_suffix("/Kbuild").or_else(|| path.strip_suffix("/Makefile")))
            .map(|dir| format!("{dir}/"))
            .collect();
        for dir in dirs {
            collect(raw, &prefix, &dir, &mut modules, 0);
            if !modules.is_empty() {
                elsewhere = Some(dir);
                break;
            }
        }
    }
    modules.dedup();
    if modules.is_empty() {
        return None;
    }
    let (name, found) = name_and_version(given);
    let version = version
        .map(str::to_owned)
        .or(found)
        .or_else(|| module_version(raw, &prefix));
    let mut text = format!("PACKAGE_NAME=\"{name}\"\n");
    match version {
        Some(version) => text.push_str(&format!("PACKAGE_VERSION=\"{version}\"\n")),
        None => text.push_str("# The source does not say its version.\nPACKAGE_VERSION=\"0\"\n"),
    }
    if let Some(dir) = &elsewhere {
        let dir = dir.trim_end_matches('/');
        text.push_str(&format!(
            "MAKE[0]=\"make -C ${{kernel_source_dir}} M=${{dkms_tree}}/${{PACKAGE_NAME}}/${{PACKAGE_VERSION}}/build/{dir} modules\"\n"
        ));
    }
    for (number, (module, dir)) in modules.iter().enumerate() {
        text.push_str(&format!("BUILT_MODULE_NAME[{number}]=\"{module}\"\n"));
        if !dir.is_empty() {
            text.push_str(&format!("BUILT_MODULE_LOCATION[{number}]=\"{dir}\"\n"));
        }
        text.push_str(&format!("DEST_MODULE_LOCATION[{number}]=\"/updates\"\n"));
    }
    text.push_str("AUTOINSTALL=\"yes\"\n");
    Some(text)
}

/// The modules that kbuild makes in `dir`, and in the directories that it names.
fn collect(raw: &RawTree, prefix: &str, dir: &str, modules: &mut Vec<Module>, depth: usize) {
    let read = |name: &str| match raw.get(&format!("{prefix}{dir}{name}")) {
        Some(Entry::File { bytes, .. }) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    };
    // As kbuild does: a Kbuild comes before a Makefile.
    let Some(text) = read("Kbuild").or_else(|| read("Makefile")) else {
        return;
    };
    let variables = variables(&text);
    let mut names: Vec<String> = Vec::new();
    for (variable, value) in &variables {
        let is_modular = variable == "obj-m"
            || variable
                .strip_prefix("obj-$(")
                .and_then(|rest| rest.strip_suffix(')'))
                // What is not set here is a question to whoever builds it, and a module for all that is built outside of the kernel.
                .is_some_and(|config| variables.get(config).is_none_or(|value| value.trim() == "m"));
        if is_modular {
            names.extend(expand(value, &variables, 0).split_whitespace().map(str::to_owned));
        }
    }
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if !name.chars().all(plain) || name.starts_with('/') || name.contains("..") {
            continue;
        }
        if let Some(object) = name.strip_suffix(".o") {
            let path = format!("{dir}{object}");
            let (at, module) = path
                .rsplit_once('/')
                .map_or(("", path.as_str()), |(at, module)| (at, module));
            let at = if at.is_empty() { String::new() } else { format!("{at}/") };
            modules.push((module.to_owned(), at));
        } else if name.ends_with('/') && depth < DEPTH_MAX {
            collect(raw, prefix, &format!("{dir}{name}"), modules, depth + 1);
        }
    }
}

/// Assignments of a makefile by name; those with `+=` are joined.
fn variables(text: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines().filter(|line| !line.starts_with('\t')) {
        let line = line.split('#').next().unwrap_or_default();
        let Some((left, value)) = line.split_once('=') else {
            continue;
        };
        let adds = left.ends_with('+');
        let name = left.trim_end_matches(['+', ':', '?']).trim();
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            continue;
        }
        let entry = found.entry(name.to_owned()).or_default();
        if adds {
            entry.push(' ');
        } else {
            entry.clear();
        }
        entry.push_str(value.trim());
    }
    found
}

/// `$(NAME)` and `${NAME}`, where the makefile assigns it.
fn expand(value: &str, variables: &BTreeMap<String, String>, depth: usize) -> String {
    let mut out = String::new();
    let mut left = value;
    while let Some(at) = left.find('$') {
        out.push_str(&left[..at]);
        let rest = &left[at + 1..];
        let close = if rest.starts_with('(') { ')' } else { '}' };
        let inner = rest.strip_prefix(['(', '{']).and_then(|inner| inner.split_once(close));
        let Some((name, after)) = inner else {
            return out + left;
        };
        match variables.get(name).filter(|_| depth < DEPTH_MAX && out.len() < 4096) {
            Some(value) => out.push_str(&expand(value, variables, depth + 1)),
            None => out.push_str(&left[at..left.len() - after.len()]),
        }
        left = after;
    }
    out + left
}

/// `name-1.2.tar.gz` → `name` and `1.2`.
fn name_and_version(given: &str) -> (String, Option<String>) {
    let endings = [
        ".git", ".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".zst", ".rpm", ".src", ".tar", ".dsc",
    ];
    let stem = endings
        .iter()
        .fold(given, |stem, ending| stem.strip_suffix(ending).unwrap_or(stem));
    let plain = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._+-".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .collect()
    };
    let split = stem.match_indices(['-', '_']).find(|(at, _)| {
        let rest = stem[at + 1..].trim_start_matches('v');
        rest.starts_with(|c: char| c.is_ascii_digit())
    });
    match split {
        Some((at, _)) if at > 0 => (plain(&stem[..at]), Some(plain(&stem[at + 1..]))),
        _ => (plain(stem).trim_start_matches(['.', '-']).to_owned(), None),
    }
}

/// The text of the first `MODULE_VERSION("…")` of the source.
fn module_version(raw: &RawTree, prefix: &str) -> Option<String> {
    raw.paths()
        .filter(|path| path.starts_with(prefix) && path.ends_with(".c"))
        .filter_map(|path| match raw.get(path) {
            Some(Entry::File { bytes, .. }) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
        .find_map(|text| {
            let (_, rest) = text.split_once("MODULE_VERSION(\"")?;
            let version = rest.split('"').next()?.to_owned();
            let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~".contains(c);
            (!version.is_empty() && version.len() < 80 && version.chars().all(plain)).then_some(version)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::tree::Limits;

    fn tree(files: &[(&str, &str)]) -> RawTree {
        let mut raw = RawTree::new(Limits::default());
        for (name, text) in files {
            let entry = Entry::File {
                bytes: text.as_bytes().to_vec(),
                executable: false,
            };
            raw.insert(name.as_bytes(), entry).unwrap();
        }
        raw
    }

    fn check(files: &[(&str, &str)], given: &str, expected: Option<&str>) {
        let raw = tree(files);
        let found = conf(&raw, &top(&raw), given, None);
        assert_eq!(found.as_deref(), expected, "{files:?}");
    }

    #[test]
    fn modules_are_found_as_kbuild_finds_them() {
        check(
            &[
                (
                    "Makefile",
                    "obj-m := x.o\nx-y := a.o b.o\nall:\n\tmake -C $(KDIR) M=$(PWD)\n",
                ),
                ("a.c", ""),
            ],
            "x-1.2.tar.gz",
            Some(
                "PACKAGE_NAME=\"x\"\nPACKAGE_VERSION=\"1.2\"\nBUILT_MODULE_NAME[0]=\"x\"\n\
                 DEST_MODULE_LOCATION[0]=\"/updates\"\nAUTOINSTALL=\"yes\"\n",
            ),
        );
        // Variables, configuration, directories, a Kbuild beside a Makefile, one top directory.
        check(
            &[
                ("top/Makefile", "obj-m := wrong.o\n"),
                (
                    "top/Kbuild",
                    "MOD = a\nobj-$(CONFIG_A) += $(MOD).o\nCONFIG_B := n\nobj-$(CONFIG_B) += b.o\nobj-m += sub/ \\\n  d/e.o\n",
                ),
                ("top/sub/Makefile", "obj-m = c.o # comment\n"),
                ("top/c.c", "MODULE_VERSION(\"3.4\");"),
            ],
            "driver.zip",
            Some(
                "PACKAGE_NAME=\"driver\"\nPACKAGE_VERSION=\"3.4\"\n\
                 BUILT_MODULE_NAME[0]=\"a\"\nDEST_MODULE_LOCATION[0]=\"/updates\"\n\
                 BUILT_MODULE_NAME[1]=\"c\"\nBUILT_MODULE_LOCATION[1]=\"sub/\"\nDEST_MODULE_LOCATION[1]=\"/updates\"\n\
                 BUILT_MODULE_NAME[2]=\"e\"\nBUILT_MODULE_LOCATION[2]=\"d/\"\nDEST_MODULE_LOCATION[2]=\"/updates\"\n\
                 AUTOINSTALL=\"yes\"\n",
            ),
        );
        check(
            &[
                ("README", ""),
                ("Makefile", "all:\n\tmake -C src\n"),
                ("src/Makefile", "obj-m := x.o\n"),
            ],
            "x",
            Some(
                "PACKAGE_NAME=\"x\"\n# The source does not say its version.\nPACKAGE_VERSION=\"0\"\n\
                 MAKE[0]=\"make -C ${kernel_source_dir} M=${dkms_tree}/${PACKAGE_NAME}/${PACKAGE_VERSION}/build/src modules\"\n\
                 BUILT_MODULE_NAME[0]=\"x\"\nBUILT_MODULE_LOCATION[0]=\"src/\"\nDEST_MODULE_LOCATION[0]=\"/updates\"\n\
                 AUTOINSTALL=\"yes\"\n",
            ),
        );
        check(&[("Makefile", "all: x\n"), ("x.c", "")], "x", None);
        check(
            &[(
                "Makefile",
                "A = $(B)\nB = $(A)$(A)\nobj-m := $(A).o \"; rm -rf /;\".o ../x.o\n",
            )],
            "x",
            None,
        );
    }
}
