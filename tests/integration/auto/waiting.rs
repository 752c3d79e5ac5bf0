//! A run that has to wait for another program.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use dkms_tests::story::{Run, Story, patiently, program};

/// How long it is watched that it waits.
const WATCHED: Duration = Duration::from_secs(2);

/// A run of `--auto --install-toolchain` whose package manager waits.
pub(super) struct Waiting(Child);

impl Waiting {
    /// Starts it, and returns when a program with these words in its command line has been waiting for a while.
    pub(super) fn start(story: &Story, words: &[&str]) -> Self {
        let child = program(&story.auto_arguments(&["--install-toolchain"]))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let is_it = |pid: u32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.iter().all(|word| line.split('\0').any(|one| one.ends_with(word)))
        };
        let found = |pid: u32| descendants(pid).into_iter().find(|&pid| is_it(pid));
        let manager = patiently("the package manager", || found(child.id()));
        std::thread::sleep(WATCHED);
        if !is_it(manager) {
            panic!("it does not wait: {:?}", child.wait_with_output());
        }
        Self(child)
    }

    pub(super) fn end(self) -> Run {
        self.0.wait_with_output().expect("a child").into()
    }
}

fn descendants(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    let below = children.iter().flat_map(|&pid| descendants(pid)).collect::<Vec<_>>();
    [children, below].concat()
}
