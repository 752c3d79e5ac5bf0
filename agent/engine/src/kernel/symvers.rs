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
        Ok(parse_symvers(&String::from_utf8_lossy(&bytes)))
    }

    /// The CRC of `symbol`; None if it is not exported.
    pub fn crc(&self, symbol: &str) -> Option<u32> {
        self.crcs.get(symbol).copied()
    }

    /// True when there are none, as when the headers have no Module.symvers.
    pub fn is_empty(&self) -> bool {
        self.crcs.is_empty()
    }

    /// Adds what another file exports.
    pub fn extend(&mut self, other: Symbols) {
        self.crcs.extend(other.crcs);
    }
}

/// Reads lines `0xCRC<tab>symbol<tab>module<tab>export type[<tab>namespace]`; others are passed over.
pub fn parse_symvers(text: &str) -> Symbols {
    let crcs = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let crc = u32::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
            Some((fields.next()?.to_owned(), crc))
        })
        .collect();
    Symbols { crcs }
}
