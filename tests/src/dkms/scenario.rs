//! A list of calls that both programs get, each on a machine of its own.

use std::collections::BTreeSet;

use super::{Difference, Documented, Machine, Outcome, Program, compare};
use crate::inputs;

/// A story: what the machine is like, and what is called on it.
///
/// In the steps and in what is reported, `K1` and `K2` stand for the two kernels of the inputs and `A` for the
/// architecture. A step that begins with `sh:` is a shell line run in the machine's directory, the same for both.
pub struct Scenario<'a> {
    /// Its name in docs/dkms-compat.md.
    pub name: &'a str,
    /// Puts sources and files in place; both kernels are there already.
    pub set_up: &'a (dyn Fn(&Machine) + Sync),
    /// The words of each call of `dkms`.
    pub steps: &'a [&'a str],
}

/// A story that both programs have been through.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The exit codes of each step, Debian's first.
    pub codes: Vec<(String, [i32; 2])>,
    /// What was different, in the order of the steps.
    pub differences: Vec<Difference>,
}

impl Scenario<'_> {
    /// Runs the story on both, step by step.
    #[must_use]
    pub fn play_on_both(&self, known: &Documented) -> Comparison {
        self.play_beside(Program::Debian, known)
    }

    /// Runs the story on `peer` and on ours, step by step. What `peer` did is in the place of what Debian's did.
    #[must_use]
    pub fn play_beside(&self, peer: Program, known: &Documented) -> Comparison {
        let (debian, ours) = (self.machine(peer), self.machine(Program::Ours));
        let (mut codes, mut found, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for step in self.steps {
            let outcomes = std::thread::scope(|scope| {
                let theirs = scope.spawn(|| run(&debian, step));
                let mine = run(&ours, step);
                [theirs.join().unwrap_or_else(|_| panic!("{}: {step}", self.name)), mine]
            });
            codes.push(((*step).to_owned(), [outcomes[0].code, outcomes[1].code]));
            for difference in compare(self.name, step, [(&debian, &outcomes[0]), (&ours, &outcomes[1])], known) {
                if let Some(path) = difference.of_content() {
                    self.keep(&debian, "peer", path);
                    self.keep(&ours, "ours", path);
                }
                let difference = placeholders(difference);
                // What lies on disk differently stays so; it is told once.
                if !difference.is_on_disk() || seen.insert((difference.debian.clone(), difference.ours.clone())) {
                    if difference.debian.starts_with("exit") {
                        eprintln!(
                            "{} {step}\n  debian: {}\n  ours: {}",
                            self.name, outcomes[0].stderr, outcomes[1].stderr
                        );
                    }
                    found.push(difference);
                }
            }
        }
        Comparison {
            codes,
            differences: found,
        }
    }

    /// Keeps a file that differs in the build directory, below `different`, to be examined.
    fn keep(&self, machine: &Machine, whose: &str, path: &str) {
        let into = inputs::workspace().join("target/different").join(self.name).join(whose);
        let from = machine.path(path);
        let kept = std::fs::create_dir_all(&into).and_then(|()| {
            let name = from.file_name().unwrap_or_default();
            std::fs::copy(&from, into.join(name))
        });
        match kept {
            Ok(_) => eprintln!("{path} is kept in {}", into.display()),
            Err(error) => eprintln!("{path} cannot be kept in {}: {error}", into.display()),
        }
    }

    fn machine(&self, program: Program) -> Machine {
        let machine = Machine::new(program);
        inputs::kernels().iter().for_each(|release| machine.add_kernel(release));
        (self.set_up)(&machine);
        machine
    }
}

fn run(machine: &Machine, step: &str) -> Outcome {
    let step = inputs::kernels()
        .iter()
        .zip(["K1", "K2"])
        .fold(step.to_owned(), |step, (release, name)| step.replace(name, release));
    match step.strip_prefix("sh:") {
        Some(line) => machine.run(&["sh", "-c", line]),
        None => machine.dkms(&step.split_whitespace().collect::<Vec<_>>()),
    }
}

fn placeholders(difference: Difference) -> Difference {
    let replace = |text: String| {
        let kernels = inputs::kernels();
        let names = kernels
            .iter()
            .map(String::as_str)
            .zip(["K1", "K2"])
            .chain([(std::env::consts::ARCH, "A")]);
        names.fold(text, |text, (value, name)| text.replace(value, name))
    };
    Difference {
        debian: replace(difference.debian),
        ours: replace(difference.ours),
        ..difference
    }
}
