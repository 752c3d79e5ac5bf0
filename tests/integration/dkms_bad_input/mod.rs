//! Bad input, unreadable files and full disks: each gives its exit code, an error that names the place, and a hint, and loses nothing.

mod conf;
mod disk;

use dkms_tests::dkms::{Hello, Machine, Outcome, Program, Snapshot};
use dkms_tests::inputs;

const HELLO: Hello = Hello::quick("hello", "1");

fn machine() -> Machine {
    Machine::with_kernels(Program::Ours)
}

/// A machine on which hello/1 is installed for the first kernel.
fn installed() -> Machine {
    let machine = machine();
    HELLO.put(&machine);
    dkms(&machine, "install hello/1 -k K1", 0, &[]);
    machine
}

fn words(line: &str) -> Vec<String> {
    let [k1, k2] = inputs::kernels();
    let words = line.split_whitespace();
    words.map(|word| word.replace("K1", &k1).replace("K2", &k2)).collect()
}

/// Runs `dkms` and checks its exit code and that stderr contains each of `expected`; a failure must give a hint.
fn dkms(machine: &Machine, line: &str, code: i32, expected: &[&str]) -> Outcome {
    let words = words(line);
    let outcome = machine.dkms(&words.iter().map(String::as_str).collect::<Vec<_>>());
    check(line, outcome, code, expected)
}

/// The same for a shell line on the machine.
fn shell(machine: &Machine, line: &str, code: i32, expected: &[&str]) -> Outcome {
    let [k1, k2] = inputs::kernels();
    let outcome = machine.run(&["sh", "-c", &line.replace("K1", &k1).replace("K2", &k2)]);
    check(line, outcome, code, expected)
}

fn check(line: &str, outcome: Outcome, code: i32, expected: &[&str]) -> Outcome {
    assert_eq!(outcome.code, code, "{line}\n{}{}", outcome.stdout, outcome.stderr);
    for text in expected {
        assert!(
            outcome.stderr.contains(text),
            "{line}: no {text:?} in\n{}",
            outcome.stderr
        );
    }
    if code != 0 {
        assert!(
            outcome.stderr.contains("error: ") && outcome.stderr.contains("hint: "),
            "{line}\n{}",
            outcome.stderr
        );
    }
    assert!(!outcome.stderr.contains("panicked"), "{line}\n{}", outcome.stderr);
    outcome
}

/// What must be as it was: all but the files that only we look at.
fn kept(machine: &Machine) -> Snapshot {
    let mut snapshot = machine.snapshot();
    snapshot
        .0
        .retain(|path, _| !path.contains("/.") && !path.ends_with("/build"));
    snapshot
}
