//! Plain confs: assignments of words, quotes and arrays, with variables that are known. They are read here, without a bash.
//!
//! The parsers accept only what bash reads in the same way, and return None for everything else, which bash evaluates. So a conf has one
//! meaning, whichever of the two reads it. [`super::evaluate()`] and this module do the same in the same order: each file is sourced, its
//! values are split into words and expanded once more, directives come last.

mod expand;
mod regex;
mod source;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::context::{ConfContext, override_files};
use super::raw::RawConf;
use super::stage::without_dos_ends;
use variables::{DIRECTIVES, Variables};

/// The longest file that is read here, and the most bytes that all values of one conf may have together.
const MAX_LEN: u64 = 64 << 10;

/// The variables that hold regular expressions.
const ON_KERNEL: [&str; 3] = ["MAKE_MATCH", "PATCH_MATCH", "BUILD_EXCLUSIVE_KERNEL"];
const ON_ARCH: [&str; 1] = ["BUILD_EXCLUSIVE_ARCH"];

/// The values of the conf of the source directory `dir`, if it and all its override files are plain.
pub(super) fn read(dir: &Path, ctx: &ConfContext) -> Option<RawConf> {
    let conf = ctx.conf_file.clone().unwrap_or_else(|| dir.join("dkms.conf"));
    let texts: Vec<Vec<u8>> = std::iter::once(conf)
        .chain(override_files(ctx))
        .map(|path| text_of(&path))
        .collect::<Option<_>>()?;
    values(&texts, ctx)
}

/// The values of a conf of this text, without override files, if it is plain.
pub(super) fn read_text(text: &[u8], ctx: &ConfContext) -> Option<RawConf> {
    let is_short = u64::try_from(text.len()).is_ok_and(|len| len <= MAX_LEN);
    is_short.then(|| values(&[without_dos_ends(text)], ctx))?
}

fn text_of(path: &Path) -> Option<Vec<u8>> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > MAX_LEN {
        return None;
    }
    let text = fs::read(path).ok()?;
    Some(if text.contains(&b'\r') {
        without_dos_ends(&text)
    } else {
        text
    })
}

/// The words of `value` with one blank between them. Blanks at the ends of a regular expression count, as one.
fn joined_words(name: &str, value: &str) -> String {
    const BLANKS: [char; 3] = [' ', '\t', '\n'];
    let words: Vec<&str> = value.split(BLANKS).filter(|word| !word.is_empty()).collect();
    let mut text = words.join(" ");
    if ON_KERNEL.contains(&name) || ON_ARCH.contains(&name) {
        if value.starts_with(BLANKS) {
            text.insert(0, ' ');
        }
        if text != " " && value.ends_with(BLANKS) {
            text.push(' ');
        }
    }
    text
}

/// The values of the files with these texts, in their order.
fn values(texts: &[Vec<u8>], ctx: &ConfContext) -> Option<RawConf> {
    let mut variables = Variables::of(ctx)?;
    for text in texts {
        let mut inside = variables.clone();
        source::read(text, &mut inside)?;
        for name in DIRECTIVES {
            for (index, value) in inside.all(name) {
                let expanded = expand::in_quotes(&joined_words(name, &value), &variables)?;
                variables.set(name, index, expanded)?;
            }
        }
    }
    for directive in &ctx.directives {
        if !DIRECTIVES.contains(&directive.name.as_str()) {
            return None;
        }
        variables.set(&directive.name, 0, directive.value.clone())?;
    }
    let mut raw = RawConf::default();
    for name in DIRECTIVES {
        let values: BTreeMap<usize, String> = variables.all(name).collect();
        if !values.is_empty() {
            raw.values.insert(name.to_owned(), values);
        }
    }
    for (names, text) in [(&ON_KERNEL[..], &ctx.kernel_release), (&ON_ARCH[..], &ctx.arch)] {
        for name in names {
            for (index, pattern) in variables.all(name) {
                let matched = regex::matches(&pattern, text)?;
                raw.matches
                    .entry((*name).to_owned())
                    .or_default()
                    .insert(index, Some(matched));
            }
        }
    }
    Some(raw)
}
