//! Reads passphrases of encrypted keys, and asks for them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pkcs8::der::zeroize::Zeroizing;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

use super::error::KeyError;
use super::passphrase::{Passphrase, VARIABLE};
use crate::files::FileError;

/// Nobody types more.
const MOST_BYTES: u64 = 4096;
/// How often a person is asked for one passphrase.
const TRIES: usize = 3;
const CTRL_C: u8 = 3;

/// Passphrases, each read once in a run.
#[derive(Default)]
pub struct Secrets {
    source: Passphrase,
    known: Mutex<Vec<Zeroizing<String>>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

impl Secrets {
    /// Reads passphrases from there.
    pub fn from(source: Passphrase) -> Self {
        Self {
            source,
            known: Mutex::default(),
        }
    }

    /// Opens what is encrypted in the file at `path`: `open` tells whether a passphrase fits.
    ///
    /// # Errors
    /// When there is none, or none fits.
    pub(super) fn open<T>(&self, path: &Path, open: impl Fn(&str) -> Option<T>) -> Result<T, KeyError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = known.iter().find_map(|one| open(one)) {
            return Ok(opened);
        }
        let wrong = || KeyError::Passphrase(path.to_owned());
        let is_asked = self.is_asked();
        // What is read from elsewhere is the same each time.
        if !is_asked && !known.is_empty() {
            return Err(wrong());
        }
        for _ in 0..if is_asked { TRIES } else { 1 } {
            let passphrase = self.read(&format!("passphrase of {}: ", path.display()), path)?;
            let opened = open(&passphrase);
            if opened.is_some() || !is_asked {
                known.push(passphrase);
            }
            if let Some(opened) = opened {
                return Ok(opened);
            }
            if is_asked {
                anstream::eprintln!("this is not the passphrase of {}", path.display());
            }
        }
        Err(wrong())
    }

    /// A new passphrase; typed twice where it is asked for.
    ///
    /// # Errors
    /// When there is none, it is empty, or the two differ.
    pub(super) fn choose(&self, path: &Path) -> Result<Zeroizing<String>, KeyError> {
        let passphrase = self.read(&format!("new passphrase of {}: ", path.display()), path)?;
        if passphrase.is_empty() {
            return Err(KeyError::EmptyPassphrase);
        }
        if self.is_asked() && self.read("the same again: ", path)? != passphrase {
            return Err(KeyError::TwoPassphrases);
        }
        Ok(passphrase)
    }

    fn is_asked(&self) -> bool {
        self.source == Passphrase::Ask && std::env::var_os(VARIABLE).is_none()
    }

    /// `path` is the key that it is for.
    fn read(&self, prompt: &str, path: &Path) -> Result<Zeroizing<String>, KeyError> {
        match &self.source {
            Passphrase::File(file) => first_line(file),
            Passphrase::Descriptor(number) => first_line(Path::new(&format!("/proc/self/fd/{number}"))),
            Passphrase::Ask => match std::env::var(VARIABLE) {
                Ok(passphrase) => Ok(Zeroizing::new(passphrase)),
                Err(std::env::VarError::NotPresent) => ask(prompt, path),
                Err(std::env::VarError::NotUnicode(_)) => Err(KeyError::NotText(VARIABLE.to_owned())),
            },
        }
    }
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let file = File::open(path).map_err(FileError::on("read the passphrase in", path))?;
    let mut bytes = Zeroizing::new(Vec::new());
    BufReader::new(file.take(MOST_BYTES))
        .read_until(b'\n', &mut bytes)
        .map_err(FileError::on("read the passphrase in", path))?;
    line(&bytes).ok_or_else(|| KeyError::NotText(path.display().to_string()))
}

/// Without its end.
fn line(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Asks on the terminal, which shows nothing of the answer.
fn ask(prompt: &str, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let tty = Path::new("/dev/tty");
    let mut terminal = fs::File::options()
        .read(true)
        .write(true)
        .open(tty)
        .map_err(|_| KeyError::NoPassphrase(path.to_owned()))?;
    let failed = |error: io::Error| KeyError::from(FileError::on("ask on", tty)(error));
    let before = tcgetattr(&terminal).map_err(io::Error::from).map_err(failed)?;
    let mut silent = before.clone();
    // ^C has to come as a letter, and end the line: a signal would end the program and leave the terminal as it is now.
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    silent.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
    tcsetattr(&terminal, OptionalActions::Flush, &silent)
        .map_err(io::Error::from)
        .map_err(failed)?;
    let answer = terminal.write_all(prompt.as_bytes()).and_then(|()| {
        let mut bytes = Zeroizing::new(vec![0; 4096]);
        let length = terminal.read(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    });
    let restored = tcsetattr(&terminal, OptionalActions::Flush, &before).map_err(io::Error::from);
    let _ = terminal.write_all(b"\n");
    let answer = answer.map_err(failed)?;
    restored.map_err(failed)?;
    if answer.is_empty() || answer.contains(&CTRL_C) {
        return Err(KeyError::NoPassphrase(path.to_owned()));
    }
    line(&answer).ok_or_else(|| KeyError::NotText("the terminal".to_owned()))
}
