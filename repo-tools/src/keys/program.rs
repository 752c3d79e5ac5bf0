//! Keys that another program has: a token, a service, a machine of its own. It gets what is to be signed and gives the signature.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ed25519_dalek::Signature;
use serde::Deserialize;

use super::error::KeyError;
use super::public::PublicKey;
use crate::files::{self, FileError};

/// A person may have to touch a token, or to type its PIN.
const PATIENCE_S: u64 = 300;
/// A signature in hex has 128 bytes, and a line feed.
const MOST_BYTES: u64 = 4096;
/// How long the answer of a program that has ended is waited for. It is in the pipe already.
const LATE: Duration = Duration::from_secs(1);

/// `NAME.signer`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The program and its arguments.
    command: Vec<String>,
}

/// A program that signs with one key.
#[derive(Debug, Clone)]
pub(super) struct Program {
    name: String,
    path: PathBuf,
    command: Vec<String>,
    public: PublicKey,
}

impl Program {
    /// Reads `NAME.signer`, and the public key in `NAME.pub` beside it.
    pub(super) fn read(path: &Path, name: &str) -> Result<Self, KeyError> {
        let meta = std::fs::metadata(path).map_err(FileError::on("read", path))?;
        if meta.permissions().mode() & 0o022 != 0 {
            return Err(KeyError::Writable(path.to_owned()));
        }
        let malformed = |why: String| KeyError::Signer {
            path: path.to_owned(),
            why,
        };
        let text = String::from_utf8(files::read(path)?).map_err(|_| malformed("it is not UTF-8".to_owned()))?;
        let settings: Settings = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if settings.command.first().is_none_or(String::is_empty) {
            return Err(malformed("`command` has no program".to_owned()));
        }
        let public = path.with_extension("pub");
        if !public.exists() {
            return Err(malformed(format!("there is no public key in {}", public.display())));
        }
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            command: settings.command,
            public: PublicKey::read(&public.to_string_lossy())?,
        })
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Lets the program sign. Its answer counts only if it fits the public key.
    pub(super) fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let failed = |why: String| KeyError::Signer {
            path: self.path.clone(),
            why,
        };
        let answer = self
            .run(message)
            .map_err(|error| failed(format!("its program {}: {error}", self.command[0])))?;
        let signature = parse(&answer).ok_or_else(|| {
            failed(format!(
                "its program gave {} bytes; a signature has 64 bytes, or 128 hex digits",
                answer.len()
            ))
        })?;
        let key = self
            .public
            .verifying()
            .ok_or_else(|| failed("its public key cannot be used".to_owned()))?;
        key.verify_strict(message, &Signature::from_bytes(&signature))
            .map_err(|_| {
                failed(format!(
                    "what its program gave is not a signature by the key in {}.pub",
                    self.name
                ))
            })?;
        Ok(signature)
    }

    fn run(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .env("DKMS_REPO_KEY", &self.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let message = message.to_vec();
        // A program that answers before it has read all would block both. Neither thread is waited for: what the program leaves may keep
        // its pipes open.
        std::thread::spawn(move || input.map(|mut input| input.write_all(&message)));
        let (sender, chunks) = mpsc::channel();
        std::thread::spawn(move || output.map(|output| send_all(output, &sender)));
        let status = wait(&mut child)?;
        let answer = collect(&chunks);
        if status.success() {
            Ok(answer)
        } else {
            Err(io::Error::other(format!("it failed ({status})")))
        }
    }
}

/// Sends what can be read, in pieces.
fn send_all(output: ChildStdout, sender: &mpsc::Sender<Vec<u8>>) {
    let mut output = output.take(MOST_BYTES);
    let mut piece = [0; 512];
    while let Ok(len @ 1..) = output.read(&mut piece) {
        if sender.send(piece[..len].to_vec()).is_err() {
            return;
        }
    }
}

/// What a program that has ended wrote: all until the pipe is closed, or until nothing more comes.
fn collect(pieces: &mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    let mut answer = Vec::new();
    while let Ok(piece) = pieces.recv_timeout(LATE) {
        answer.extend(piece);
    }
    answer
}

fn wait(child: &mut Child) -> io::Result<std::process::ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > Duration::from_secs(PATIENCE_S) {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("it was not done after {PATIENCE_S} s")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// 64 bytes, or as many in hex.
fn parse(answer: &[u8]) -> Option<[u8; 64]> {
    if let Ok(raw) = answer.try_into() {
        return Some(raw);
    }
    let text = std::str::from_utf8(answer).ok()?.trim();
    hex::decode(text).ok()?.try_into().ok()
}
