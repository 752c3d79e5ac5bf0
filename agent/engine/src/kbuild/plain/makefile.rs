//! Reads the Makefile of a package that says nothing to kbuild but which objects its modules are made of, and with which flags.
//!
//! The parser accepts only what GNU make and kbuild read in the same way, and returns None for everything else. What it accepted is
//! written anew ([`Makefile::kbuild`]): no line of a package's Makefile reaches a make.

use std::collections::BTreeMap;

use super::flags;
use super::names::{is_ignored_target, is_ignored_variable, is_module, is_plain_value};

/// The longest Makefile that is read, in bytes.
pub(super) const MAX_LEN: u64 = 64 << 10;

/// What a Makefile says to kbuild.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Makefile {
    /// The modules in the order of `obj-m`, without `.o`.
    pub(in super::super) modules: Vec<String>,
    /// `NAME-objs` and `NAME-y` of the modules that have several objects: the objects, without `.o`.
    lists: BTreeMap<String, Vec<String>>,
    /// `ccflags-y`.
    ccflags: Vec<String>,
    /// `EXTRA_CFLAGS`.
    extra_cflags: Vec<String>,
}

impl Makefile {
    /// Reads `text`; None where it contains more than is known to be harmless.
    pub(in super::super) fn read(text: &[u8]) -> Option<Makefile> {
        // Comments may be in any encoding; elsewhere only ASCII is taken.
        let is_forbidden_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t');
        if text.len() as u64 > MAX_LEN || text.iter().any(is_forbidden_control) {
            return None;
        }
        let text: String = text
            .iter()
            .map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\u{80}' })
            .collect();
        let mut reader = Reader::default();
        for line in logical_lines(&text)? {
            reader.line(&line)?;
        }
        let makefile = reader.end()?;
        makefile.is_consistent().then_some(makefile)
    }

    /// Each module is a word that kbuild takes for one, and each list belongs to a module.
    fn is_consistent(&self) -> bool {
        let is_once = |name: &String| self.modules.iter().filter(|other| *other == name).count() == 1;
        let of_module = |list: &String| {
            let module = list.strip_suffix("-objs").or_else(|| list.strip_suffix("-y"));
            module.is_some_and(|module| self.modules.iter().any(|other| other == module))
        };
        !self.modules.is_empty()
            && self.modules.iter().all(|name| is_module(name) && is_once(name))
            && self.lists.keys().all(of_module)
            && self.lists.values().all(|objects| !objects.is_empty())
            && self
                .modules
                .iter()
                .all(|name| !self.objects_of(name).contains(name) || self.is_single(name))
    }

    fn is_single(&self, module: &str) -> bool {
        !self.lists.contains_key(&format!("{module}-objs")) && !self.lists.contains_key(&format!("{module}-y"))
    }

    fn objects_of(&self, module: &str) -> Vec<String> {
        if self.is_single(module) {
            return vec![module.to_owned()];
        }
        let of = |suffix: &str| {
            self.lists
                .get(&format!("{module}{suffix}"))
                .cloned()
                .unwrap_or_default()
        };
        [of("-objs"), of("-y")].concat()
    }

    /// All objects that are compiled, without `.o`.
    pub(in super::super) fn objects(&self) -> Vec<String> {
        let mut objects: Vec<String> = self.modules.iter().flat_map(|module| self.objects_of(module)).collect();
        objects.sort();
        objects.dedup();
        objects
    }

    /// The same as a Kbuild file.
    pub(in super::super) fn kbuild(&self) -> String {
        let objects = |names: &[String]| names.iter().map(|name| format!(" {name}.o")).collect::<String>();
        let flags = |flags: &[String]| flags.iter().map(|flag| format!(" {flag}")).collect::<String>();
        let mut text = format!("obj-m :={}\n", objects(&self.modules));
        for (list, names) in &self.lists {
            text += &format!("{list} :={}\n", objects(names));
        }
        if !self.ccflags.is_empty() {
            text += &format!("ccflags-y :={}\n", flags(&self.ccflags));
        }
        if !self.extra_cflags.is_empty() {
            text += &format!("EXTRA_CFLAGS :={}\n", flags(&self.extra_cflags));
        }
        text
    }
}

/// Joins lines that end in a backslash, as make does before it looks for comments. None where a line ends in two of them.
fn logical_lines(text: &str) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let mut joined: Option<String> = None;
    for line in text.split('\n') {
        let mut whole = match joined.take() {
            Some(begun) => format!("{begun} {}", line.trim_start_matches([' ', '\t'])),
            None => line.to_owned(),
        };
        if whole.ends_with("\\\\") {
            return None;
        }
        if whole.ends_with('\\') {
            whole.pop();
            // A recipe keeps its first tab, whatever follows.
            let kept = whole
                .trim_end_matches([' ', '\t'])
                .len()
                .max(usize::from(whole.starts_with('\t')));
            whole.truncate(kept);
            joined = Some(whole);
        } else {
            lines.push(whole);
        }
    }
    // A backslash at the end of the file joins nothing.
    joined.is_none().then_some(lines)
}

/// One conditional that is open.
#[derive(Clone, Copy)]
struct Branch {
    is_taken: bool,
    has_else: bool,
}

#[derive(Default)]
struct Reader {
    makefile: Makefile,
    branches: Vec<Branch>,
    /// Conditionals inside of one whose lines are ignored.
    ignored_depth: usize,
    /// The last line was of a rule, so that a tab begins a recipe.
    in_rule: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<()> {
        let begins_with_tab = line.starts_with('\t');
        let is_ignored = self.branches.iter().any(|branch| !branch.is_taken);
        if begins_with_tab && self.in_rule && !is_ignored {
            return Some(());
        }
        let text = line.trim_start_matches([' ', '\t']);
        let text = text.split('#').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        let word = text.split([' ', '\t']).next().unwrap_or_default();
        if is_directive(word) {
            // make may take such a line for a part of a recipe, or for no part of one.
            self.in_rule = false;
            return if begins_with_tab {
                None
            } else {
                self.conditional(word, text)
            };
        }
        if is_ignored {
            let may_change_more = [
                "define", "endef", "override", "export", "unexport", "private", "undefine",
            ];
            return (!may_change_more.contains(&word)).then_some(());
        }
        if text.is_empty() {
            return Some(());
        }
        if begins_with_tab || !is_balanced(text) || !text.is_ascii() || text.contains('\\') {
            return None;
        }
        self.in_rule = false;
        match assignment(text) {
            Some((name, operator, value)) => self.assign(name, operator, value),
            None => self.rule(text),
        }
    }

    /// Only conditions on KERNELRELEASE are known: kbuild is what sets it.
    fn conditional(&mut self, word: &str, text: &str) -> Option<()> {
        if word == "endif" {
            if self.ignored_depth > 0 {
                self.ignored_depth -= 1;
            } else {
                self.branches.pop()?;
            }
            return (text == "endif").then_some(());
        }
        if word == "else" {
            if self.ignored_depth > 0 {
                return Some(());
            }
            let branch = self.branches.last_mut().filter(|branch| !branch.has_else)?;
            *branch = Branch {
                is_taken: !branch.is_taken,
                has_else: true,
            };
            return (text == "else").then_some(());
        }
        if self.branches.iter().any(|branch| !branch.is_taken) {
            self.ignored_depth += 1;
            return Some(());
        }
        let condition: String = text[word.len()..]
            .chars()
            .filter(|c| !matches!(c, ' ' | '\t'))
            .collect();
        let is_empty_check = ["$(KERNELRELEASE)", "${KERNELRELEASE}"].iter().any(|release| {
            [
                format!("({release},)"),
                format!("(,{release})"),
                format!("\"{release}\"\"\""),
                format!("'{release}'''"),
                format!("\"\"\"{release}\""),
                format!("'''{release}'"),
            ]
            .contains(&condition)
        });
        let is_taken = match word {
            "ifeq" if is_empty_check => false,
            "ifneq" if is_empty_check => true,
            "ifdef" if condition == "KERNELRELEASE" => true,
            "ifndef" if condition == "KERNELRELEASE" => false,
            _ => return None,
        };
        self.branches.push(Branch {
            is_taken,
            has_else: false,
        });
        Some(())
    }

    fn assign(&mut self, name: &str, operator: &str, value: &str) -> Option<()> {
        let makefile = &mut self.makefile;
        let list = match name {
            "obj-m" => &mut makefile.modules,
            "ccflags-y" => &mut makefile.ccflags,
            "EXTRA_CFLAGS" => &mut makefile.extra_cflags,
            _ if name.ends_with("-objs") || name.ends_with("-y") => makefile.lists.entry(name.to_owned()).or_default(),
            _ => return (is_ignored_variable(name) && is_plain_value(value)).then_some(()),
        };
        let words = value.split([' ', '\t']).filter(|word| !word.is_empty());
        let is_flags = matches!(name, "ccflags-y" | "EXTRA_CFLAGS");
        let words: Vec<String> = words
            .map(|word| {
                if is_flags {
                    flags::is_plain(word).then(|| word.to_owned())
                } else {
                    object(word)
                }
            })
            .collect::<Option<_>>()?;
        match operator {
            "=" | ":=" => *list = words,
            "+=" => list.extend(words),
            _ => return None,
        }
        Some(())
    }

    /// `all clean: modules`: kbuild asks for none of these targets, so that neither they nor their recipes matter.
    fn rule(&mut self, text: &str) -> Option<()> {
        let (targets, needed) = text.split_once(':')?;
        let is_literal = |word: &str| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        };
        let blank = [' ', '\t'];
        let mut targets = targets.split(blank).filter(|word| !word.is_empty()).peekable();
        targets.peek()?;
        let is_harmless =
            targets.all(is_ignored_target) && needed.split(blank).filter(|word| !word.is_empty()).all(is_literal);
        self.in_rule = true;
        is_harmless.then_some(())
    }

    fn end(self) -> Option<Makefile> {
        self.branches.is_empty().then_some(self.makefile)
    }
}

fn is_directive(word: &str) -> bool {
    matches!(word, "ifeq" | "ifneq" | "ifdef" | "ifndef" | "else" | "endif")
}

/// Splits `NAME = VALUE`; the operator is one of `=`, `:=`, `+=`, `?=`.
fn assignment(text: &str) -> Option<(&str, &str, &str)> {
    let at = text.find('=')?;
    let (before, value) = (&text[..at], &text[at + 1..]);
    let operator = match before.chars().next_back()? {
        c @ (':' | '+' | '?') => match c {
            ':' => ":=",
            '+' => "+=",
            _ => "?=",
        },
        _ => "=",
    };
    let name = before[..before.len() + 1 - operator.len()].trim_end_matches([' ', '\t']);
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    is_name.then(|| (name, operator, value.trim_matches([' ', '\t'])))
}

/// An object of the package's own directory, without `.o`.
fn object(word: &str) -> Option<String> {
    let name = word.strip_suffix(".o")?;
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    is_plain.then(|| name.to_owned())
}

/// Whether every parenthesis and brace is closed: otherwise `#` may be no comment.
fn is_balanced(text: &str) -> bool {
    let count = |c: char| text.chars().filter(|other| *other == c).count();
    count('(') == count(')') && count('{') == count('}')
}
