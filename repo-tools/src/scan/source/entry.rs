//! One entry of a device table: its initialiser's values by field name.

use std::collections::BTreeMap;

use super::expand::{self, arguments, expand, spelling, split};
use super::lexer::{Macros, Token};

/// How one bus writes its tables.
#[derive(Debug)]
pub(super) struct Layout {
    /// Fields in the order of the kernel's struct (include/linux/mod_devicetable.h).
    pub(super) fields: &'static [&'static str],
    /// The macros the kernel's headers offer for entries.
    pub(super) macros: &'static [IdMacro],
}

/// A macro such as `PCI_DEVICE`.
#[derive(Debug)]
pub(super) struct IdMacro {
    pub(super) name: &'static str,
    pub(super) sets: &'static [(&'static str, Source)],
}

/// Where a macro takes a field's value from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// The argument of that index.
    Argument(usize),
    /// A fixed number.
    Value(u64),
    /// The constant whose name is a prefix and the argument of that index.
    Pasted(&'static str, usize),
    /// The constant `<prefix><argument 0>_<argument 1>`.
    PastedBoth(&'static str),
}

/// Field values, as tokens still to be evaluated.
#[derive(Debug, Default)]
pub(super) struct Values {
    fields: BTreeMap<&'static str, Vec<Token>>,
}

impl Values {
    /// The number in `field`, zero where the entry does not name it.
    pub(super) fn number(&self, field: &str, macros: &Macros) -> Result<u64, String> {
        self.fields
            .get(field)
            .map_or(Ok(0), |tokens| expand::number(tokens, macros))
    }

    /// The text in `field`, empty where the entry does not name it.
    pub(super) fn text(&self, field: &str, macros: &Macros) -> Result<String, String> {
        match self.fields.get(field).map(Vec::as_slice) {
            None | Some([Token::Number(0)]) => Ok(String::new()),
            Some(tokens) => expand::text(tokens, macros),
        }
    }

    /// Whether the entry ends the table: it sets nothing, or zero only.
    pub(super) fn is_end(&self) -> bool {
        self.fields
            .values()
            .all(|tokens| matches!(tokens.as_slice(), [] | [Token::Number(0)]) || *tokens == [Token::Text("".into())])
    }
}

/// The values of one entry, given the tokens between its braces.
///
/// # Errors
/// The macro or field that is not known.
pub(super) fn parse(tokens: &[Token], layout: &Layout, macros: &Macros) -> Result<Values, String> {
    // Macros of the driver's own may expand to several fields; the kernel's are not among them.
    let tokens = expand(tokens, macros)?;
    let mut values = Values::default();
    let mut position = 0;
    for item in split(&tokens) {
        match item {
            [] => {}
            [Token::Punct('.'), field @ Token::Ident(name), rest @ ..] => {
                let Some(index) = layout.fields.iter().position(|field| **field == **name) else {
                    continue;
                };
                // `.field[0] =`, as in MEI tables, or plain `.field =`.
                let equals = rest
                    .iter()
                    .position(|token| token.is('='))
                    .ok_or_else(|| spelling(field))?;
                values.fields.insert(layout.fields[index], rest[equals + 1..].to_vec());
                position = index + 1;
            }
            [called @ Token::Ident(name), call @ ..] if call.first().is_some_and(|token| token.is('(')) => {
                let known = layout
                    .macros
                    .iter()
                    .find(|m| *m.name == **name)
                    .ok_or_else(|| spelling(called))?;
                let (arguments, _) = arguments(call).ok_or_else(|| spelling(called))?;
                for (field, source) in known.sets {
                    values.fields.insert(*field, value(*source, &arguments));
                }
                let last = known.sets.last().map_or("", |(field, _)| *field);
                position = 1 + layout
                    .fields
                    .iter()
                    .position(|field| *field == last)
                    .unwrap_or_default();
            }
            value => {
                if let Some(field) = layout.fields.get(position) {
                    values.fields.insert(field, value.to_vec());
                }
                position += 1;
            }
        }
    }
    Ok(values)
}

fn value(source: Source, arguments: &[&[Token]]) -> Vec<Token> {
    let name = |index: usize| match arguments.get(index) {
        Some([token @ (Token::Ident(_) | Token::Number(_))]) => spelling(token),
        _ => String::new(),
    };
    match source {
        Source::Argument(index) => arguments.get(index).map(|tokens| tokens.to_vec()).unwrap_or_default(),
        Source::Value(value) => vec![Token::Number(value)],
        Source::Pasted(prefix, index) => vec![Token::Ident(format!("{prefix}{}", name(index)).into())],
        Source::PastedBoth(prefix) => vec![Token::Ident(format!("{prefix}{}_{}", name(0), name(1)).into())],
    }
}
