//! Circles between the source files of a crate, found in their `use` lines and in the paths that they write out.
//!
//! A name that a module re-exports counts as a use of the file that defines it. Code for tests alone is passed over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use super::paths::{Import, imports, modules, written_paths};
use super::source::without_comments_and_tests;

/// A module's path in its crate, such as `["conf", "model"]`; the crate itself is empty.
type ModulePath = Vec<String>;

/// One source file.
struct Module {
    file: PathBuf,
    imports: Vec<Import>,
    paths: Vec<Vec<String>>,
}

/// The files of one crate that are tied in circles: each circle as the shortest way from a file back to itself.
pub(super) fn circles(crate_root: &Path, shown_below: &Path) -> Vec<Vec<String>> {
    let mut tree = BTreeMap::new();
    read(crate_root, Vec::new(), &mut tree);
    let graph = graph(&tree);
    let mut found = Vec::new();
    let mut told: BTreeSet<&ModulePath> = BTreeSet::new();
    for start in tree.keys() {
        if told.contains(start) {
            continue;
        }
        let Some(way) = way_back(&graph, start) else { continue };
        // All that reach this circle and are reached from it are told with it.
        let (from, to) = (reached(&graph, start), reaching(&graph, start));
        told.extend(from.intersection(&to));
        let shown = |path: &&ModulePath| {
            let file = &tree[*path].file;
            file.strip_prefix(shown_below).unwrap_or(file).display().to_string()
        };
        found.push(way.iter().map(shown).collect());
    }
    found
}

fn read(file: &Path, path: ModulePath, tree: &mut BTreeMap<ModulePath, Module>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let text = without_comments_and_tests(&text);
    let dir = match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => file.parent().expect("a directory").to_owned(),
        _ => file.with_extension(""),
    };
    for name in modules(&text) {
        let files = [dir.join(&name).with_extension("rs"), dir.join(&name).join("mod.rs")];
        let child = files.iter().find(|file| file.is_file());
        let child = child.unwrap_or_else(|| panic!("{}: no file of module {name}", file.display()));
        let mut path = path.clone();
        path.push(name);
        read(child, path, tree);
    }
    let module = Module {
        file: file.to_owned(),
        imports: imports(&text),
        paths: written_paths(&text),
    };
    tree.insert(path, module);
}

fn graph(tree: &BTreeMap<ModulePath, Module>) -> BTreeMap<&ModulePath, BTreeSet<&ModulePath>> {
    let mut graph: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> = BTreeMap::new();
    for (here, module) in tree {
        let imported = module.imports.iter().filter(|import| !import.is_public);
        let named = imported.map(|import| &import.path).chain(&module.paths);
        let used = named.filter_map(|path| home(tree, here, path, 0));
        // A module may use its own parts, and they may use what it defines: that is no circle.
        graph.insert(here, used.filter(|used| !used.starts_with(here)).collect());
    }
    graph
}

/// The module that defines what `path`, written in module `here`, leads to. None for what is of another crate.
fn home<'a>(
    tree: &'a BTreeMap<ModulePath, Module>,
    here: &ModulePath,
    path: &[String],
    depth: usize,
) -> Option<&'a ModulePath> {
    let (first, mut rest) = path.split_first()?;
    let mut at = here.clone();
    match first.as_str() {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            at.pop()?;
            while rest.first().is_some_and(|part| part == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
        _ => {
            at.push(first.clone());
            if !tree.contains_key(&at) {
                return None;
            }
        }
    }
    for (index, part) in rest.iter().enumerate() {
        at.push(part.clone());
        if tree.contains_key(&at) {
            continue;
        }
        at.pop();
        let brought = tree.get(&at)?.imports.iter().find(|import| import.name == *part);
        // An alias of an alias ends somewhere; a chain longer than this is a mistake of this reader.
        if let Some(import) = brought.filter(|_| depth < 8) {
            let path: Vec<String> = import.path.iter().chain(&rest[index + 1..]).cloned().collect();
            return home(tree, &at, &path, depth + 1);
        }
        break;
    }
    tree.get_key_value(&at).map(|(path, _)| path)
}

/// The shortest way from `start` back to it, with `start` at both ends.
fn way_back<'a>(
    graph: &BTreeMap<&'a ModulePath, BTreeSet<&'a ModulePath>>,
    start: &'a ModulePath,
) -> Option<Vec<&'a ModulePath>> {
    let mut came_from: BTreeMap<&ModulePath, &ModulePath> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(at) = open.pop_front() {
        for next in &graph[at] {
            if *next == start {
                let mut way = vec![start, at];
                while let Some(before) = came_from.get(way[way.len() - 1]) {
                    way.push(before);
                }
                way.reverse();
                return Some(if at == start { vec![start, start] } else { way });
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, at);
                open.push_back(next);
            }
        }
    }
    None
}

fn reached<'a>(
    graph: &BTreeMap<&'a ModulePath, BTreeSet<&'a ModulePath>>,
    start: &'a ModulePath,
) -> BTreeSet<&'a ModulePath> {
    let mut found = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        open.extend(graph[at].iter().filter(|next| found.insert(next)));
    }
    found
}

fn reaching<'a>(
    graph: &BTreeMap<&'a ModulePath, BTreeSet<&'a ModulePath>>,
    end: &'a ModulePath,
) -> BTreeSet<&'a ModulePath> {
    let mut found = BTreeSet::from([end]);
    loop {
        let before = found.len();
        for (at, next) in graph {
            if next.iter().any(|next| found.contains(next)) {
                found.insert(at);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}
