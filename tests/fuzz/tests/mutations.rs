//! Tries inputs that are made from the seeds, for a minute in all. An input that does not keep the limits, or panics, fails the test and
//! is kept.
//!
//! `cargo test --test mutations -- [TARGET…]`; `DKMS_FUZZ_SECONDS` is the time of all targets together. The inputs are the same ones in each
//! run, as far as the time lasts. `mutations try TARGET FILE` tries one file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use dkms_fuzz_targets::{INPUT_MAX_BYTES, Mutator, TARGETS, Target};

const SECONDS: u64 = 60;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with("--"))
        .collect();
    match words.as_slice() {
        ["try", name, file] => try_file(name, Path::new(file)),
        ["run", name, seconds] => run(name, seconds.parse().expect("a number of seconds")),
        names => run_all(names),
    }
}

fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("there is no target '{name}'")).1
}

/// Each target in a process of its own: too much memory ends the process.
fn run_all(names: &[&str]) -> ExitCode {
    let chosen: Vec<&str> = TARGETS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| names.is_empty() || names.contains(name))
        .collect();
    if chosen.is_empty() {
        // A filter that is meant for other tests.
        println!("no target is named {names:?}");
        return ExitCode::SUCCESS;
    }
    let seconds = std::env::var("DKMS_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("DKMS_FUZZ_SECONDS is a number"));
    let share = (seconds as f64 / chosen.len() as f64).to_string();
    let this = std::env::current_exe().expect("this program");
    let mut failed = false;
    for name in chosen {
        let status = Command::new(&this)
            .args(["run", name, &share])
            .status()
            .expect("it starts");
        if !status.success() {
            failed = true;
            eprintln!("{name}: {status}; the input is {}", kept(name).display());
            eprintln!("hint: {} try {name} {}", this.display(), kept(name).display());
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Where the input that is being tried is written before.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutations-{name}"))
}

fn run(name: &str, seconds: f64) -> ExitCode {
    let seeds = seeds(name);
    let target = target(name);
    let file = kept(name);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut mutator = Mutator::new(&seeds, 1, INPUT_MAX_BYTES);
    let mut tried = 0_u64;
    let mut attempt = |input: &[u8]| {
        fs::write(&file, input).expect("the input is kept");
        target(input);
        tried += 1;
    };
    seeds.iter().for_each(|seed| attempt(seed));
    while Instant::now() < end {
        attempt(&mutator.input());
    }
    println!("{name}: {tried} inputs tried");
    fs::remove_file(&file).expect("an input that was kept");
    ExitCode::SUCCESS
}

/// The files in `fixtures/fuzz/NAME`, in the order of their names.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/fuzz")
        .join(name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "there are no seeds in {}", dir.display());
    files.iter().map(|file| fs::read(file).expect("a seed")).collect()
}

fn try_file(name: &str, file: &Path) -> ExitCode {
    target(name)(&fs::read(file).expect("the file is read"));
    println!("{name}: {} keeps the limits", file.display());
    ExitCode::SUCCESS
}
