//! Alias patterns guessed from the source's device tables, without a compiler.
//!
//! A hint only: tables may be built by macros, generated, or left out by the kernel's configuration. The aliases of modules
//! that a trial build made replace it; until then this is the best guess.

mod bus;
mod entry;
mod expand;
mod lexer;
mod spelling;
mod usb;

use std::collections::{BTreeMap, BTreeSet};

use crate::ingest::SourceTree;
use bus::{BUSES, Bus};
use expand::{matching, split};
use lexer::{Macro, Macros, Token, lex};

/// One `MODULE_DEVICE_TABLE`, or the file's `MODULE_ALIAS` lines (bus `alias`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The file, relative to the source.
    pub file: String,
    /// The first argument of `MODULE_DEVICE_TABLE`.
    pub bus: String,
    /// The patterns of the entries that were understood, sorted.
    pub patterns: BTreeSet<String>,
    /// Why the others were not: unknown constants and macros.
    pub unknown: BTreeSet<String>,
}

/// Constants that sources take from the kernel's headers.
#[derive(Debug, Clone, Default)]
pub struct Constants {
    macros: Macros,
}

impl Constants {
    /// The few without which hardly any table can be read.
    pub fn builtin() -> Self {
        const VALUES: [(&str, u64); 34] = [
            ("PCI_ANY_ID", 0xFFFF_FFFF),
            ("HID_ANY_ID", 0xFFFF_FFFF),
            ("HID_BUS_ANY", 0xFFFF),
            ("HID_GROUP_ANY", 0),
            ("HID_GROUP_GENERIC", 1),
            ("HID_GROUP_MULTITOUCH", 2),
            ("BUS_USB", 0x03),
            ("BUS_BLUETOOTH", 0x05),
            ("BUS_I2C", 0x18),
            ("SDIO_ANY_ID", 0xFFFF_FFFF),
            ("VIRTIO_DEV_ANY_ID", 0xFFFF_FFFF),
            ("USB_CLASS_AUDIO", 0x01),
            ("USB_CLASS_COMM", 0x02),
            ("USB_CLASS_HID", 0x03),
            ("USB_CLASS_PRINTER", 0x07),
            ("USB_CLASS_MASS_STORAGE", 0x08),
            ("USB_CLASS_CDC_DATA", 0x0A),
            ("USB_CLASS_VIDEO", 0x0E),
            ("USB_CLASS_WIRELESS_CONTROLLER", 0xE0),
            ("USB_CLASS_MISC", 0xEF),
            ("USB_CLASS_APP_SPEC", 0xFE),
            ("USB_CLASS_VENDOR_SPEC", 0xFF),
            ("USB_DEVICE_ID_MATCH_VENDOR", 0x1),
            ("USB_DEVICE_ID_MATCH_PRODUCT", 0x2),
            ("USB_DEVICE_ID_MATCH_DEVICE", 0x3),
            ("USB_DEVICE_ID_MATCH_DEV_LO", 0x4),
            ("USB_DEVICE_ID_MATCH_DEV_HI", 0x8),
            ("USB_DEVICE_ID_MATCH_DEV_CLASS", 0x10),
            ("USB_DEVICE_ID_MATCH_DEV_INFO", 0x70),
            ("USB_DEVICE_ID_MATCH_INT_CLASS", 0x80),
            ("USB_DEVICE_ID_MATCH_INT_SUBCLASS", 0x100),
            ("USB_DEVICE_ID_MATCH_INT_PROTOCOL", 0x200),
            ("USB_DEVICE_ID_MATCH_INT_INFO", 0x380),
            ("USB_DEVICE_ID_MATCH_INT_NUMBER", 0x400),
        ];
        let mut macros = Macros::default();
        for (name, value) in VALUES {
            let constant = Macro {
                parameters: None,
                body: vec![Token::Number(value)],
            };
            macros.add(name, constant);
        }
        Self { macros }
    }

    /// Adds the macros of a header such as include/linux/pci_ids.h.
    pub fn add_header(&mut self, text: &str) {
        lex(text, &mut self.macros);
    }
}

/// Reads the device tables of all C files of a source, file by file in the order of their names.
pub fn scan(tree: &SourceTree, constants: &Constants) -> Vec<Table> {
    let mut macros = Macros::default();
    let mut sources: Vec<(&str, Vec<Token>)> = Vec::new();
    for (path, bytes) in tree.files() {
        if path.ends_with(".h") || path.ends_with(".c") {
            // The source's own definitions come first: `lex` keeps the first of a name.
            let tokens = lex(&String::from_utf8_lossy(bytes), &mut macros);
            sources.push((path, tokens));
        }
    }
    macros.add_all(&constants.macros);
    let mut tables = Vec::new();
    for (path, tokens) in sources.iter().filter(|(path, _)| path.ends_with(".c")) {
        let mut seen = BTreeSet::new();
        for (at, bus, name) in table_calls(tokens) {
            if !seen.insert((bus, name)) {
                continue;
            }
            let own = definition(&tokens[..at], name, &macros);
            // Tables may also lie in a file that this one includes.
            let found = own.or_else(|| sources.iter().find_map(|(_, tokens)| definition(tokens, name, &macros)));
            tables.push(read_table(path, bus, found.unwrap_or_default(), &macros));
        }
        tables.extend(module_aliases(path, tokens, &macros));
    }
    tables
}

/// Every `MODULE_DEVICE_TABLE(bus, name)` with its place.
fn table_calls(tokens: &[Token]) -> impl Iterator<Item = (usize, &str, &str)> {
    tokens.windows(6).enumerate().filter_map(|(at, window)| match window {
        [
            Token::Ident(call),
            Token::Punct('('),
            Token::Ident(bus),
            Token::Punct(','),
            Token::Ident(name),
            Token::Punct(')'),
        ] if **call == *"MODULE_DEVICE_TABLE" => Some((at, &**bus, &**name)),
        _ => None,
    })
}

/// The initialiser of the array `name`, without its outer braces. None is found any more when too much work was done.
fn definition<'a>(tokens: &'a [Token], name: &str, macros: &Macros) -> Option<&'a [Token]> {
    // Comparing names is quicker than anything else that is counted.
    macros.charge(tokens.len() / 16).ok()?;
    let named = |token: &Token| matches!(token, Token::Ident(found) if **found == *name);
    (0..tokens.len()).rev().filter(|at| named(&tokens[*at])).find_map(|at| {
        // Brackets are matched before it is known how far; none are when the limit is reached.
        macros.charge(1).ok()?;
        let rest = tokens.get(at + 1..)?;
        let rest = match rest.first()? {
            token if token.is('[') => {
                let end = matching(rest);
                macros.charge(end.unwrap_or(rest.len())).ok()?;
                rest.get(end? + 1..)?
            }
            // `DEFINE_PCI_DEVICE_TABLE(name) = {`
            token if token.is(')') => &rest[1..],
            _ => return None,
        };
        // Attributes may stand between `[]` and `=`.
        let equals = rest.iter().take(8).position(|token| token.is('='))?;
        let body = rest.get(equals + 1..)?;
        if !body.first()?.is('{') {
            return None;
        }
        let end = matching(body);
        macros.charge(end.unwrap_or(body.len())).ok()?;
        Some(&body[1..end?])
    })
}

/// The work of making one pattern, in tokens, beside one for each byte of it.
const PATTERN_WORK: usize = 20;

fn read_table(file: &str, bus: &str, body: &[Token], macros: &Macros) -> Table {
    let mut table = Table {
        file: file.to_owned(),
        bus: bus.to_owned(),
        patterns: BTreeSet::new(),
        unknown: BTreeSet::new(),
    };
    let Some(known) = BUSES.iter().find(|known| known.name == bus) else {
        table.unknown.insert(format!("tables of the bus {bus}"));
        return table;
    };
    if body.is_empty() {
        table.unknown.insert("where the table is defined".to_owned());
    }
    for entry in split(body) {
        match entry_patterns(entry, known, macros) {
            Ok(patterns) => match macros.charge(patterns.iter().map(|pattern| PATTERN_WORK + pattern.len()).sum()) {
                Ok(()) => table.patterns.extend(patterns),
                Err(unknown) => drop(table.unknown.insert(unknown)),
            },
            Err(unknown) => {
                table.unknown.insert(unknown);
            }
        }
    }
    table
}

fn entry_patterns(entry: &[Token], bus: &Bus, macros: &Macros) -> Result<Vec<String>, String> {
    let expanded = expand::expand(entry, macros)?;
    let mut patterns = Vec::new();
    // A macro of the driver's own may stand for several entries at once.
    for one in split(&expanded) {
        let inner = match one {
            [Token::Punct('{'), inner @ .., Token::Punct('}')] => inner,
            // `[INDEX] = { … }`
            [Token::Punct('['), rest @ .., Token::Punct('}')] => match rest.iter().position(|token| token.is('{')) {
                Some(open) => &rest[open + 1..],
                None => continue,
            },
            [Token::Punct('['), ..] => continue,
            bare => bare,
        };
        let values = entry::parse(inner, &bus.layout, macros)?;
        if !values.is_end() {
            patterns.extend((bus.patterns)(&values, macros)?);
        }
    }
    Ok(patterns)
}

/// The file's `MODULE_ALIAS("…")` lines that name a device, as one table.
fn module_aliases(file: &str, tokens: &[Token], macros: &Macros) -> Option<Table> {
    let mut table = Table {
        file: file.to_owned(),
        bus: "alias".to_owned(),
        patterns: BTreeSet::new(),
        unknown: BTreeSet::new(),
    };
    for (at, token) in tokens.iter().enumerate() {
        if !matches!(token, Token::Ident(name) if **name == *"MODULE_ALIAS") {
            continue;
        }
        let rest = &tokens[at + 1..];
        let call = expand::arguments(rest);
        if let Err(too_much) = macros.charge(call.as_ref().map_or(rest.len(), |(_, used)| *used)) {
            table.unknown.insert(too_much);
            break;
        }
        let Some((arguments, _)) = call else { continue };
        match arguments.first().map(|argument| expand::text(argument, macros)) {
            // Only device aliases have a bus and a colon; others name file systems, devices nodes and the like.
            Some(Ok(text)) if text.contains(':') => {
                table.patterns.insert(text);
            }
            Some(Err(unknown)) => {
                table.unknown.insert(unknown);
            }
            _ => {}
        }
    }
    (!table.patterns.is_empty() || !table.unknown.is_empty()).then_some(table)
}

/// The patterns of `tables` by module: each file's go to the module of its name, or the one whose name it begins with
/// (`hid-uclogic-core.c` belongs to `hid_uclogic`), or whose directory it lies in, or to the first.
pub fn by_module(tables: &[Table], modules: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for table in tables {
        if let Some(module) = module_of(&table.file, modules) {
            found
                .entry(module.to_owned())
                .or_default()
                .extend(table.patterns.iter().cloned());
        }
    }
    found
}

fn module_of<'a>(file: &str, modules: &'a [String]) -> Option<&'a str> {
    let path = file.replace('-', "_");
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let stem = name.strip_suffix(".c").unwrap_or(name);
    let longest = |fits: &dyn Fn(&str) -> bool| modules.iter().filter(|m| fits(m)).max_by_key(|m| m.len());
    longest(&|module| stem == module)
        .or_else(|| longest(&|module| stem.starts_with(module)))
        .or_else(|| longest(&|module| directory.split('/').any(|part| part == module)))
        .or_else(|| modules.first())
        .map(String::as_str)
}

#[cfg(test)]
mod tests;
