//! Macro expansion and the value of constant expressions.

use super::lexer::{Macros, Token};

/// Tokens that one entry or constant may expand to.
const MAX_TOKENS: usize = 400_000;
/// Macros in macros, and brackets in brackets.
const MAX_DEPTH: usize = 16;
/// Bytes of a name that `##` makes.
const MAX_NAME_BYTES: usize = 256;
/// Bytes of a text that is put together, and of what is said of a token that is not known.
const MAX_TEXT_BYTES: usize = 1024;

/// `tokens` with the macros of the source put in. A macro below [`MAX_DEPTH`] others stays as it is.
///
/// # Errors
/// When it takes more work or gives more tokens than is allowed.
pub(super) fn expand(tokens: &[Token], macros: &Macros) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    expand_into(tokens, macros, MAX_DEPTH, &mut out)?;
    Ok(out)
}

fn expand_into(tokens: &[Token], macros: &Macros, depth: usize, out: &mut Vec<Token>) -> Result<(), String> {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        macros.charge(token.work())?;
        if out.len() >= MAX_TOKENS {
            return Err("macros that expand to too many tokens".to_owned());
        }
        let known = match token {
            Token::Ident(name) if depth > 0 => macros.get(name),
            _ => None,
        };
        match known {
            Some(found) if found.parameters.is_none() => expand_into(&found.body, macros, depth - 1, out)?,
            Some(found) => {
                let rest = &tokens[at..];
                let call = arguments(rest);
                // To find the end of the call, its tokens are read; without an end, all of them.
                let read = match (&call, rest.first()) {
                    (Some((_, used)), _) => *used,
                    (None, Some(first)) if first.is('(') => rest.len(),
                    (None, _) => 0,
                };
                macros.charge(read)?;
                match call {
                    Some((arguments, used)) => {
                        let parameters = found.parameters.as_deref().unwrap_or_default();
                        let body = substitute(&found.body, parameters, &arguments, macros)?;
                        expand_into(&body, macros, depth - 1, out)?;
                        at += used;
                    }
                    None => out.push(token.clone()),
                }
            }
            None => out.push(token.clone()),
        }
    }
    Ok(())
}

/// The arguments of a call whose `(` comes first, and how many tokens the call's brackets take.
pub(super) fn arguments(tokens: &[Token]) -> Option<(Vec<&[Token]>, usize)> {
    if !tokens.first()?.is('(') {
        return None;
    }
    let end = matching(tokens)?;
    Some((split(&tokens[1..end]), end + 1))
}

/// The index of the bracket that closes the first token.
pub(super) fn matching(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Punct('(' | '{' | '[') => depth += 1,
            Token::Punct(')' | '}' | ']') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Split at the commas that stand in no bracket; an empty last part is dropped.
pub(super) fn split(tokens: &[Token]) -> Vec<&[Token]> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0i32, 0);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Punct('(' | '{' | '[') => depth += 1,
            Token::Punct(')' | '}' | ']') => depth -= 1,
            Token::Punct(',') if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < tokens.len() {
        parts.push(&tokens[start..]);
    }
    parts
}

/// The macro's body with its parameters replaced and `##` carried out.
///
/// # Errors
/// When it is more work than is allowed.
fn substitute(
    body: &[Token],
    parameters: &[String],
    arguments: &[&[Token]],
    macros: &Macros,
) -> Result<Vec<Token>, String> {
    let mut out: Vec<Token> = Vec::new();
    for token in body {
        let parameter = match token {
            Token::Ident(name) => parameters.iter().position(|p| **p == **name),
            _ => None,
        };
        let put = match parameter.and_then(|index| arguments.get(index)) {
            Some(argument) => {
                macros.charge(argument.len() + parameters.len() / 8)?;
                argument.to_vec()
            }
            None => {
                // A name is compared with those of the parameters.
                macros.charge(1 + parameters.len() / 8)?;
                vec![token.clone()]
            }
        };
        match (out.as_slice(), put.as_slice()) {
            ([.., left, Token::Punct('#'), Token::Punct('#')], [right, ..]) => {
                let pasted = format!("{}{}", spelling(left), spelling(right));
                if pasted.len() > MAX_NAME_BYTES {
                    return Err("names that ## makes too long".to_owned());
                }
                let pasted = Token::Ident(pasted.into());
                out.truncate(out.len() - 3);
                out.push(pasted);
                out.extend_from_slice(&put[1..]);
            }
            _ => out.extend(put),
        }
    }
    Ok(out)
}

/// The token as it is written, or as much of it as is worth reading.
pub(super) fn spelling(token: &Token) -> String {
    match token {
        Token::Ident(text) | Token::Text(text) => text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned(),
        Token::Number(value) => value.to_string(),
        Token::Punct(c) => c.to_string(),
    }
}

/// The value of an integer expression, or the first thing in it that is not known.
pub(super) fn number(tokens: &[Token], macros: &Macros) -> Result<u64, String> {
    let tokens = expand(tokens, macros)?;
    let mut parser = Parser { tokens: &tokens };
    let value = parser.binary(0, 0)?;
    match parser.tokens.first() {
        None => Ok(value),
        Some(token) => Err(spelling(token)),
    }
}

/// The text of adjacent string constants, or the first thing that is none. No name of a device is longer than [`MAX_TEXT_BYTES`].
pub(super) fn text(tokens: &[Token], macros: &Macros) -> Result<String, String> {
    let tokens = expand(tokens, macros)?;
    let mut joined = String::new();
    for token in &tokens {
        match token {
            Token::Punct('(' | ')' | '{' | '}') => {}
            Token::Text(text) if joined.len() + text.len() <= MAX_TEXT_BYTES => joined.push_str(text),
            Token::Text(_) => return Err("texts that are too long".to_owned()),
            other => return Err(spelling(other)),
        }
    }
    Ok(joined)
}

/// Binary operators, loosest first.
const LEVELS: [&[char]; 6] = [&['|'], &['^'], &['&'], &['<', '>'], &['+', '-'], &['*']];

struct Parser<'a> {
    tokens: &'a [Token],
}

impl Parser<'_> {
    fn eat(&mut self, punct: char) -> bool {
        let found = self.tokens.first().is_some_and(|token| token.is(punct));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn binary(&mut self, level: usize, depth: usize) -> Result<u64, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary(depth);
        };
        let mut left = self.binary(level + 1, depth)?;
        while let Some(operator) = operators.iter().copied().find(|o| self.eat(*o)) {
            if matches!(operator, '<' | '>') && !self.eat(operator) {
                return Err(operator.to_string());
            }
            let right = self.binary(level + 1, depth)?;
            let shift = u32::try_from(right).unwrap_or(u32::MAX);
            left = match operator {
                '|' => left | right,
                '^' => left ^ right,
                '&' => left & right,
                '<' => left.checked_shl(shift).unwrap_or(0),
                '>' => left.checked_shr(shift).unwrap_or(0),
                '+' => left.wrapping_add(right),
                '-' => left.wrapping_sub(right),
                _ => left.wrapping_mul(right),
            };
        }
        Ok(left)
    }

    fn unary(&mut self, depth: usize) -> Result<u64, String> {
        if depth > MAX_DEPTH {
            return Err("brackets in brackets".to_owned());
        }
        if self.eat('~') {
            return self.unary(depth + 1).map(|value| !value);
        }
        if self.eat('-') {
            return self.unary(depth + 1).map(u64::wrapping_neg);
        }
        if self.eat('(') {
            if let Some(rest) = cast(self.tokens) {
                self.tokens = rest;
                return self.unary(depth + 1);
            }
            let value = self.binary(0, depth + 1)?;
            return if self.eat(')') { Ok(value) } else { Err("(".to_owned()) };
        }
        match self.tokens.split_first() {
            Some((Token::Number(value), rest)) => {
                self.tokens = rest;
                Ok(*value)
            }
            Some((other, _)) => Err(spelling(other)),
            None => Err("nothing".to_owned()),
        }
    }
}

/// What follows `type)`, behind an opening bracket, if a type is all that stands there.
fn cast(tokens: &[Token]) -> Option<&[Token]> {
    const TYPES: [&str; 14] = [
        "unsigned",
        "signed",
        "int",
        "long",
        "short",
        "char",
        "u8",
        "u16",
        "u32",
        "__u8",
        "__u16",
        "__u32",
        "kernel_ulong_t",
        "uint32_t",
    ];
    let end = tokens.iter().position(|token| token.is(')'))?;
    let all_types = tokens[..end]
        .iter()
        .all(|token| matches!(token, Token::Ident(name) if TYPES.contains(&&**name)));
    (end > 0 && all_types).then(|| &tokens[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;
    use super::*;

    #[test]
    fn values() {
        fn check(expression: &str, expected: Result<u64, &str>) {
            let mut macros = Macros::default();
            lex(
                "#define A 0x10\n#define B(x) (A | x)\n#define LOOP LOOP + 1\n#define P(x) A ## x\n#define AB 7\n",
                &mut macros,
            );
            let tokens = lex(expression, &mut Macros::default());
            assert_eq!(
                number(&tokens, &macros),
                expected.map_err(str::to_owned),
                "{expression}"
            );
        }
        check("1", Ok(1));
        check("A + 2 * 3", Ok(22));
        check("B(1)", Ok(17));
        check("P(B)", Ok(7));
        check("(u32)~0 & 0xFF", Ok(0xFF));
        check("1 << 4 | 1", Ok(17));
        check("UNKNOWN | 1", Err("UNKNOWN"));
        check("(1", Err("("));
        check("", Err("nothing"));
        check("LOOP", Err("LOOP"));
        check(&"(".repeat(1000), Err("brackets in brackets"));
    }
}
