//! The values that the evaluation of a dkms.conf prints, not interpreted yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::ConfProblem;

/// The values of one evaluation, not interpreted yet.
#[derive(Debug, Default)]
pub(super) struct RawConf {
    /// Values by variable and index.
    pub(super) values: BTreeMap<String, BTreeMap<usize, String>>,
    /// For variables with regular expressions: whether each one matched. None if it is no regular expression.
    pub(super) matches: BTreeMap<String, BTreeMap<usize, Option<bool>>>,
    /// Problems found by the evaluation.
    pub(super) problems: Vec<ConfProblem>,
}

/// Why there are no values.
pub(super) enum End {
    /// The file calls exit.
    Exits(PathBuf),
    /// A signal ended the evaluation of the file.
    Killed { signal: String, file: PathBuf },
    /// The end mark is missing.
    Missing,
}

impl RawConf {
    /// Reads what the script prints: names and values, each ended by a zero byte. `real_names` replaces the names of copies by those of
    /// the originals.
    pub(super) fn parse(stdout: &[u8], real_names: impl Fn(&str) -> String) -> Result<RawConf, End> {
        let text = String::from_utf8_lossy(stdout);
        let mut raw = RawConf::default();
        let mut fields = text.split('\0');
        while let (Some(key), Some(value)) = (fields.next(), fields.next()) {
            let value = real_names(value);
            match key.chars().next() {
                Some('!') if key == "!end" => return Ok(raw),
                Some('!') if key == "!exits" => return Err(End::Exits(value.into())),
                Some('!') if key == "!killed" => {
                    let (signal, file) = value.split_once(' ').unwrap_or(("a signal", &value));
                    return Err(End::Killed {
                        signal: signal.to_owned(),
                        file: file.into(),
                    });
                }
                Some('!') if key == "!long" => raw.problems.push(ConfProblem::TooLong { directive: value }),
                Some('!') => raw.problems.push(ConfProblem::Quotes { directive: value }),
                Some('=') => {
                    if let Some((name, index)) = indexed(&key[1..]) {
                        let matched = match value.as_str() {
                            "0" => Some(true),
                            "1" => Some(false),
                            _ => None,
                        };
                        raw.matches.entry(name).or_default().insert(index, matched);
                    }
                }
                _ => {
                    if let Some((name, index)) = indexed(key) {
                        raw.values.entry(name).or_default().insert(index, value);
                    }
                }
            }
        }
        Err(End::Missing)
    }
}

/// `NAME[3]` taken apart.
fn indexed(key: &str) -> Option<(String, usize)> {
    let (name, index) = key.strip_suffix(']')?.split_once('[')?;
    Some((name.to_owned(), index.parse().ok()?))
}
