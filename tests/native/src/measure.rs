//! What a program costs: its wall time, and the CPU time of it and its children.

use std::path::Path;
use std::time::Duration;

use super::Program;

/// The cost of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// User and system time, children included.
    pub cpu: Duration,
    /// The most memory that one of its processes held, in KiB.
    pub peak_kib: u64,
}

impl Cost {
    /// The least wall time and the least CPU time of several runs: what the work takes when nothing else disturbs it. The most memory.
    #[must_use]
    pub fn least(runs: impl IntoIterator<Item = Cost>) -> Option<Cost> {
        runs.into_iter().reduce(|a, b| Cost {
            wall: a.wall.min(b.wall),
            cpu: a.cpu.min(b.cpu),
            peak_kib: a.peak_kib.max(b.peak_kib),
        })
    }
}

/// Runs commands and notes what they cost.
pub struct Meter {
    program: Program,
}

impl Meter {
    /// Compiles the program that measures.
    ///
    /// # Panics
    /// When there is no compiler.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it runs a compiler")]
    pub fn new() -> Self {
        let program = Program::compile(include_str!("measure.c"), &[]).unwrap_or_else(|e| panic!("measure.c: {e}"));
        Self { program }
    }

    /// The words that run `words` and append their cost to the file `result`, to be run where `words` would be.
    #[must_use]
    pub fn wrap(&self, result: &Path, words: &[&str]) -> Vec<String> {
        let program = self.program.path().display().to_string();
        let own = [program, result.display().to_string()].into_iter();
        own.chain(words.iter().map(|&word| word.to_owned())).collect()
    }

    /// The last cost in the file `result`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn read(result: &Path) -> Cost {
        let text = std::fs::read_to_string(result).unwrap_or_else(|e| panic!("{}: {e}", result.display()));
        let line = text
            .lines()
            .last()
            .unwrap_or_else(|| panic!("{} is empty", result.display()));
        let numbers: Vec<u64> = line
            .split(' ')
            .map(|n| n.parse().unwrap_or_else(|e| panic!("{line}: {e}")))
            .collect();
        let [wall, cpu, peak_kib] = numbers[..] else {
            panic!("{line}: not three numbers");
        };
        Cost {
            wall: Duration::from_micros(wall),
            cpu: Duration::from_micros(cpu),
            peak_kib,
        }
    }
}
