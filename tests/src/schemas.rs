//! The JSON Schema files of `docs/schemas`, to check documents of the real programs with.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use boon::{Compiler, SchemaIndex};
use serde_json::Value;

use crate::inputs;

/// The file that only others refer to.
pub const COMMON: &str = "common";

/// The schemas, and which of them were used.
#[derive(Default)]
pub struct Schemas {
    compiler: Compiler,
    compiled: boon::Schemas,
    used: BTreeSet<String>,
}

impl Schemas {
    /// All schemas, by the names of their files.
    ///
    /// # Panics
    /// When their directory is not readable.
    #[must_use]
    pub fn names() -> BTreeSet<String> {
        let entries = fs::read_dir(dir()).expect("readable");
        let paths = entries.map(|entry| entry.expect("readable").path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect()
    }

    /// A schema as JSON.
    ///
    /// # Panics
    /// When it is not there, or is not JSON.
    #[must_use]
    pub fn read(name: &str) -> Value {
        let text = fs::read(file(name)).expect("readable");
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Checks that `text` is one JSON document of the schema `name`.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn check(&mut self, name: &str, text: &str) {
        let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
        let schema = self.compile(name);
        if let Err(error) = self.compiled.validate(&document, schema) {
            panic!("{error:#}\n{document:#}");
        }
        self.used.insert(name.to_owned());
    }

    /// Checks the output of a run with `--json`: events, then the document `name`.
    ///
    /// # Panics
    /// When a line is not what its schema says.
    #[track_caller]
    pub fn check_lines(&mut self, name: &str, stdout: &str) {
        let lines: Vec<&str> = stdout.lines().collect();
        let (last, events) = lines.split_last().expect("a document");
        for event in events {
            self.check("fetch-event", event);
        }
        self.check(name, last);
    }

    /// Those that no document was checked with.
    #[must_use]
    pub fn unused(&self) -> BTreeSet<String> {
        let mut names = Self::names();
        names.remove(COMMON);
        names.difference(&self.used).cloned().collect()
    }

    fn compile(&mut self, name: &str) -> SchemaIndex {
        let path = file(name);
        let path = path.to_str().expect("UTF-8");
        self.compiler.enable_format_assertions();
        self.compiler
            .compile(path, &mut self.compiled)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"))
    }
}

fn dir() -> PathBuf {
    inputs::workspace().join("docs/schemas")
}

fn file(name: &str) -> PathBuf {
    dir().join(format!("{name}.json"))
}
