//! Oracles that are C libraries, each behind a small program that the tests compile: no unsafe code of ours.

mod measure;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub use measure::{Cost, Meter};
use tempfile::TempDir;

/// A compiled C program; gone when dropped.
pub struct Program {
    dir: TempDir,
}

impl Program {
    /// Compiles `source` and links it with `libraries`. The error is the compiler's.
    ///
    /// # Panics
    /// When there is no compiler or no room for temporary files.
    pub fn compile(source: &str, libraries: &[&str]) -> Result<Self, String> {
        let dir = TempDir::new().expect("a temporary directory");
        let file = dir.path().join("program.c");
        std::fs::write(&file, source).expect("a temporary file");
        let output = Command::new("gcc")
            .args(["-O2", "-o"])
            .args([dir.path().join("program"), file])
            .args(libraries.iter().map(|library| format!("-l{library}")))
            .output()
            .expect("gcc runs; hint: make setup");
        match output.status.success() {
            true => Ok(Self { dir }),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("program")
    }
}

/// libc's `fnmatch` with flags 0, in the C locale.
pub struct Fnmatch {
    child: Child,
    questions: ChildStdin,
    answers: ChildStdout,
    _program: Program,
}

impl Fnmatch {
    /// Compiles and starts it.
    ///
    /// # Panics
    /// When there is no compiler.
    pub fn start() -> Self {
        let program = Program::compile(include_str!("fnmatch.c"), &[]).expect("fnmatch.c compiles");
        let mut child = Command::new(program.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("fnmatch starts");
        let questions = child.stdin.take().expect("piped");
        let answers = child.stdout.take().expect("piped");
        Self {
            child,
            questions,
            answers,
            _program: program,
        }
    }

    /// Whether `text` matches `pattern`. Neither holds a NUL.
    ///
    /// # Panics
    /// When the program is gone.
    pub fn matches(&mut self, pattern: &[u8], text: &[u8]) -> bool {
        let question = [pattern, b"\0", text, b"\0"].concat();
        self.questions.write_all(&question).expect("fnmatch reads");
        let mut answer = [0];
        self.answers.read_exact(&mut answer).expect("fnmatch answers");
        answer == *b"1"
    }
}

impl Drop for Fnmatch {
    fn drop(&mut self) {
        // Either may fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The mean time of libkmod's look-up of `modaliases` in the modules of `directory` (`…/lib/modules/<release>`), in
/// nanoseconds, and the number of modules found. The error says what is missing.
pub fn time_kmod(directory: &std::path::Path, modaliases: &str, rounds: u32) -> Result<(f64, u64), String> {
    let program = Program::compile(include_str!("kmod.c"), &["kmod"])
        .map_err(|e| format!("libkmod-dev is missing (apt-get install libkmod-dev): {e}"))?;
    let mut child = Command::new(program.path())
        .arg(directory)
        .arg(rounds.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let input = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(modaliases.as_bytes()));
    input.transpose().map_err(|e| e.to_string())?;
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (ns, found) = text
        .trim()
        .split_once(' ')
        .ok_or("libkmod could not read the modules")?;
    Ok((
        ns.parse().map_err(|_| "no time")?,
        found.parse().map_err(|_| "no count")?,
    ))
}
