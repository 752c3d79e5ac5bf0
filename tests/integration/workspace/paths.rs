//! The modules, imports and paths of a source file whose comments and strings are blanked.

/// One name that a `use` item brings into a module.
pub(super) struct Import {
    /// The name by which it is known there.
    pub(super) name: String,
    /// The path as written.
    pub(super) path: Vec<String>,
    /// Whether other modules are meant to find it there: `pub use`.
    pub(super) is_public: bool,
}

/// The names of the modules that are in files of their own.
pub(super) fn modules(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let names = lines.filter_map(|line| without_visibility(line).strip_prefix("mod ")?.strip_suffix(';'));
    names.map(|name| name.trim().to_owned()).collect()
}

/// All that `use` items bring, at any level of the file.
pub(super) fn imports(text: &str) -> Vec<Import> {
    let mut found = Vec::new();
    for (start, item) in use_items(text) {
        let line = text[..start].rfind('\n').map_or(0, |end| end + 1);
        let is_public = text[line..start].trim_start().starts_with("pub");
        let mut paths = Vec::new();
        leaves(&item, &[], &mut paths);
        found.extend(paths.into_iter().map(|(name, path)| Import { name, path, is_public }));
    }
    found
}

/// The paths outside of `use` items that lead through modules: `crate::a::B`, `super::a::B`, `a::B`.
pub(super) fn written_paths(text: &str) -> Vec<Vec<String>> {
    let mut outside = text.to_owned();
    for (start, item) in use_items(text).into_iter().rev() {
        outside.replace_range(start..start + "use ".len() + item.len(), "");
    }
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = outside.split(|letter: char| !is_word(letter));
    let paths = words.filter(|word| word.contains("::") && !word.starts_with(':'));
    paths
        .map(|path| {
            path.split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect()
}

/// Where each `use` item has its keyword, and what stands between that and its semicolon.
fn use_items(text: &str) -> Vec<(usize, String)> {
    let starts = text.match_indices("use ").map(|(start, _)| start);
    let is_item = |start: &usize| {
        let line = text[..*start].rfind('\n').map_or(0, |end| end + 1);
        without_visibility(text[line..].trim_start()).starts_with("use ") && text[line..*start].trim().len() < 20
    };
    starts
        .filter(is_item)
        .filter_map(|start| {
            let item = &text[start + "use ".len()..];
            Some((start, item[..item.find(';')?].to_owned()))
        })
        .collect()
}

fn without_visibility(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else {
        return line;
    };
    match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, rest)) => rest.trim_start(),
        None => rest.trim_start(),
    }
}

/// The paths of a `use` tree such as `a::{b, c::{self, D as E}}`, each with the name it brings.
fn leaves(tree: &str, above: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim();
    if let Some((before, group)) = tree.split_once('{') {
        let mut path = above.to_vec();
        path.extend(
            before
                .split("::")
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(str::to_owned),
        );
        let group = group.trim_end().strip_suffix('}').unwrap_or(group);
        let mut depth = 0_usize;
        let parts = group.split(|letter| {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            letter == ',' && depth == 0
        });
        parts
            .filter(|part| !part.trim().is_empty())
            .for_each(|part| leaves(part, &path, found));
        return;
    }
    let (path_text, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim().to_owned())),
        None => (tree, None),
    };
    let mut path = above.to_vec();
    path.extend(
        path_text
            .split("::")
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty()),
    );
    if path.len() > 1 && path.last().is_some_and(|part| part == "self" || part == "*") {
        path.pop();
    }
    let Some(last) = path.last().cloned() else { return };
    found.push((alias.unwrap_or(last), path));
}
