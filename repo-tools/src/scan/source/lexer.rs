//! C source cut into tokens, as far as device tables need it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or keyword.
    Ident(Arc<str>),
    /// An integer constant, suffixes dropped.
    Number(u64),
    /// A string constant, escapes kept as written.
    Text(Arc<str>),
    /// Any other character.
    Punct(char),
}

impl Token {
    pub(super) fn is(&self, punct: char) -> bool {
        *self == Self::Punct(punct)
    }

    /// The work of looking at it, in tokens of the usual length.
    pub(super) fn work(&self) -> usize {
        match self {
            Self::Ident(name) => 1 + name.len() / 32,
            _ => 1,
        }
    }
}

/// A macro of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Macro {
    /// Names of its parameters; `None` for one that takes none and no brackets.
    pub(super) parameters: Option<Vec<String>>,
    pub(super) body: Vec<Token>,
}

/// Tokens that may be read, copied or skipped while the tables of one source are read. A large driver needs less than
/// half of it; a hostile one is stopped well within a second.
const MAX_WORK: usize = 4_000_000;
/// A macro with more parameters is passed over.
const MAX_PARAMETERS: usize = 64;

/// Macros by name, and how much work may still be spent on them.
#[derive(Debug)]
pub(super) struct Macros {
    by_name: HashMap<String, Macro>,
    work_left: AtomicUsize,
}

impl Clone for Macros {
    /// The same macros, with all of the work before them.
    fn clone(&self) -> Self {
        Self {
            by_name: self.by_name.clone(),
            ..Self::default()
        }
    }
}

impl Default for Macros {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            work_left: AtomicUsize::new(MAX_WORK),
        }
    }
}

impl Macros {
    pub(super) fn get(&self, name: &str) -> Option<&Macro> {
        self.by_name.get(name)
    }

    /// Adds a macro; the first definition of a name stays.
    pub(super) fn add(&mut self, name: &str, found: Macro) {
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.to_owned(), found);
        }
    }

    /// Adds the macros of `other` whose names are not defined here.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (name, found) in &other.by_name {
            self.add(name, found.clone());
        }
    }

    /// Counts work on so many tokens.
    ///
    /// # Errors
    /// When the limit is reached; then everything that is still asked for fails at once.
    pub(super) fn charge(&self, tokens: usize) -> Result<(), String> {
        match self.work_left.load(Ordering::Relaxed).checked_sub(tokens.max(1)) {
            Some(left) => {
                self.work_left.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => {
                self.work_left.store(0, Ordering::Relaxed);
                Err("macros and tables that take too much work".to_owned())
            }
        }
    }
}

/// The tokens of `text` outside of comments, preprocessor lines and `#if 0`; its macros go to `macros`, where the
/// first definition of a name stays.
pub(super) fn lex(text: &str, macros: &mut Macros) -> Vec<Token> {
    let text = without_comments(text).replace("\\\n", " ").replace("\\\r\n", " ");
    let mut tokens = Vec::new();
    // For each open #if: whether it is a dead branch; and how many of them are.
    let mut branches: Vec<bool> = Vec::new();
    let mut dead_branches = 0usize;
    for line in text.lines() {
        let Some(directive) = line.trim_start().strip_prefix('#') else {
            if dead_branches == 0 {
                tokens_of(line, &mut tokens);
            }
            continue;
        };
        let directive = directive.trim();
        let (word, rest) = directive
            .split_once(|c: char| c.is_whitespace() || c == '(')
            .unwrap_or((directive, ""));
        match word {
            "if" => {
                let dead = rest.trim() == "0";
                dead_branches += usize::from(dead);
                branches.push(dead);
            }
            "ifdef" | "ifndef" => branches.push(false),
            // Other conditions count as true: a table should claim too much rather than too little.
            "else" | "elif" => {
                if let Some(dead) = branches.last_mut() {
                    dead_branches -= usize::from(std::mem::take(dead));
                }
            }
            "endif" => dead_branches -= usize::from(branches.pop().unwrap_or_default()),
            "define" if dead_branches == 0 => define(rest, macros),
            _ => {}
        }
    }
    tokens
}

fn define(text: &str, macros: &mut Macros) {
    let text = text.trim_start();
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let (parameters, body) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((list, body)) => {
            let parameters: Vec<String> = list.split(',').map(|p| p.trim().to_owned()).collect();
            if parameters.len() > MAX_PARAMETERS {
                return;
            }
            (Some(parameters), body)
        }
        None => (None, rest),
    };
    let mut tokens = Vec::new();
    tokens_of(body, &mut tokens);
    macros.add(
        name,
        Macro {
            parameters,
            body: tokens,
        },
    );
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Comments become spaces; line ends and strings stay.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            // A string does not go over a line end: an apostrophe in an #error line must not swallow the file.
            (Some(open), _) if c == open || c == '\n' => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '/') if chars.peek() == Some(&'/') => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            (None, '/') if chars.peek() == Some(&'*') => {
                chars.next();
                let mut last = ' ';
                out.push(' ');
                for c in chars.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    if c == '\n' {
                        out.push(c);
                    }
                    last = c;
                }
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

fn tokens_of(line: &str, tokens: &mut Vec<Token>) {
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, len_bytes) = if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            (number(&rest[..end]), end)
        } else if is_name(first) {
            let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            (Token::Ident(rest[..end].into()), end)
        } else if first == '"' || first == '\'' {
            let end = closing(&rest[1..], first).map_or(rest.len(), |at| at + 1);
            let text = Token::Text(rest[1..end].into());
            (text, (end + 1).min(rest.len()))
        } else {
            (Token::Punct(first), first.len_utf8())
        };
        tokens.push(token);
        rest = rest[len_bytes..].trim_start();
    }
}

/// Where the closing quote is.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

fn number(text: &str) -> Token {
    let digits = text.trim_end_matches(['u', 'U', 'l', 'L']);
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    value.map_or_else(|_| Token::Ident(text.into()), Token::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let shown: Vec<String> = lex(text, &mut Macros::default())
            .into_iter()
            .map(|token| match token {
                Token::Ident(name) => name.to_string(),
                Token::Number(value) => value.to_string(),
                Token::Text(text) => format!("{text:?}"),
                Token::Punct(c) => c.to_string(),
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn tokens() {
        check("x = 0x1FuL + 010;", &["x", "=", "31", "+", "8", ";"]);
        check("a /* b\n c */ d // e\nf", &["a", "d", "f"]);
        check(r#"s("a /* b \" // c")"#, &["s", "(", r#""a /* b \\\" // c""#, ")"]);
        check("#if 0\ndead\n#else\nlive\n#endif\nafter", &["live", "after"]);
        check("#ifdef X\na\n#else\nb\n#endif", &["a", "b"]);
        check("#error don't\nstill", &["still"]);
        check("'", &["\"\""]);
        check("é\"", &["é", "\"\""]);
    }

    #[test]
    fn macros_are_kept() {
        let mut macros = Macros::default();
        lex(
            "#define ID 0x1\n#define ID 2\n#define DEV(a, b) { a, \\\n b }\n",
            &mut macros,
        );
        assert_eq!(macros.get("ID").unwrap().body, [Token::Number(1)]);
        assert_eq!(
            macros.get("DEV").unwrap().parameters.as_deref(),
            Some(&["a".to_owned(), "b".to_owned()][..])
        );
        assert_eq!(macros.get("DEV").unwrap().body.len(), 5);
    }
}
