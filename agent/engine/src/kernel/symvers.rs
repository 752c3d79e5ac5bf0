//! Module.symvers: what a kernel, or a package built for it, exports and with which CRC.

use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Exported symbols with their CRCs.
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    crcs: HashMap<String, u32>,
}

impl Symbols {
    /// Reads a Module.symvers file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> io::Result<Symbols> {
        let bytes = std::fs::read(path)?;
        Ok(match std::str::from_utf8(&bytes) {
            Ok(text) => parse_symvers(text),
            Err(_) => parse_symvers(&String::from_utf8_lossy(&bytes)),
        })
    }

    /// The CRC of `symbol`; None if it is not exported.
    pub fn crc(&self, symbol: &str) -> Option<u32> {
        self.crcs.get(symbol).copied()
    }

    /// All of them with their CRCs, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.crcs.iter().map(|(symbol, crc)| (symbol.as_str(), *crc))
    }

    /// True when there are none, as when the headers have no Module.symvers.
    pub fn is_empty(&self) -> bool {
        self.crcs.is_empty()
    }

    /// Adds what another file exports; what is known already stays as it is.
    pub fn add(&mut self, other: Symbols) {
        for (symbol, crc) in other.crcs {
            self.crcs.entry(symbol).or_insert(crc);
        }
    }

    /// The same without the symbols that `other` exports too.
    #[must_use]
    pub fn without(mut self, other: &Symbols) -> Symbols {
        self.crcs.retain(|symbol, _| other.crc(symbol).is_none());
        self
    }
}

/// Reads lines `0xCRC<tab>symbol<tab>module<tab>export type[<tab>namespace]`; others are passed over.
pub fn parse_symvers(text: &str) -> Symbols {
    // A kernel has tens of thousands, on lines of some sixty bytes: a map that grows step by step would be rehashed several times.
    let mut crcs = HashMap::with_capacity(text.len() / 60);
    crcs.extend(text.split('\n').filter_map(|line| {
        let (crc, rest) = line.strip_prefix("0x")?.split_once('\t')?;
        let symbol = rest.split_once('\t').map_or(rest, |(symbol, _)| symbol);
        Some((symbol.to_owned(), u32::from_str_radix(crc, 16).ok()?))
    }));
    Symbols { crcs }
}
