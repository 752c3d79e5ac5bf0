//! The file of what is on trial, which this program and the script `boot-trial` write.

use std::fs;
use std::io;

use dkms_engine::root::Root;

use crate::files;

/// The file.
pub(super) const FILE: &str = "/etc/modprobe.d/dkms-fetch-trial.conf";

pub(super) const HEADING: &str =
    "# dkms-fetch: what was installed and has not seen a boot that reached the target. That boot removes this file.";

/// How far the trial of a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The first boot loads it.
    New,
    /// It was loaded when it was installed.
    Loaded,
    /// It is left out of the initramfs until its trial has ended; it has another line while it is on trial.
    Late,
}

impl State {
    const ALL: [Self; 3] = [Self::New, Self::Loaded, Self::Late];

    fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Loaded => "loaded",
            Self::Late => "late",
        }
    }
}

/// What is said of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) state: State,
    pub(super) kernel: String,
    pub(super) package: String,
    pub(super) module: String,
}

impl Line {
    pub(super) fn is_of(&self, kernel: &str, package: &str) -> bool {
        self.kernel == kernel && self.package == package
    }
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trial {
    /// The target whose boot ends the trial.
    pub(super) target: String,
    /// The entry of the history to go back to.
    pub(super) entry: u32,
    /// How many boots have not reached the target.
    pub(super) boots: u32,
    /// How many boots have reached it and not loaded all that is on trial.
    pub(super) healthy: u32,
    pub(super) lines: Vec<Line>,
    /// The kernel for which the modules on trial are to be taken away.
    pub(super) undo: Option<String>,
}

impl Trial {
    pub(super) fn parse(text: &str) -> Self {
        let mut trial = Self::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
            match *line.split(' ').collect::<Vec<_>>() {
                ["target", target] => trial.target = target.to_owned(),
                ["entry", number] => trial.entry = number.parse().unwrap_or_default(),
                ["boots", number] => trial.boots = number.parse().unwrap_or_default(),
                ["healthy", number] => trial.healthy = number.parse().unwrap_or_default(),
                ["undo", kernel] => trial.undo = Some(kernel.to_owned()),
                [word, kernel, package, module] => {
                    let state = State::ALL.into_iter().find(|state| state.word() == word);
                    trial.lines.extend(state.map(|state| Line {
                        state,
                        kernel: kernel.to_owned(),
                        package: package.to_owned(),
                        module: module.to_owned(),
                    }));
                }
                _ => {}
            }
        }
        trial
    }

    fn text(&self) -> String {
        let Self {
            target,
            entry,
            boots,
            healthy,
            lines,
            undo,
        } = self;
        let mut text = format!("{HEADING}\n# target {target}\n# entry {entry}\n# boots {boots}\n");
        if *healthy > 0 {
            text += &format!("# healthy {healthy}\n");
        }
        for Line {
            state,
            kernel,
            package,
            module,
        } in lines
        {
            text += &format!("# {} {kernel} {package} {module}\n", state.word());
        }
        if let Some(undone) = undo {
            text += &format!("# undo {undone}\n");
            let modules = self.on_trial().filter(|line| line.kernel == *undone);
            modules.for_each(|line| text += &format!("blacklist {}\n", line.module));
        }
        text
    }

    /// The modules that are on trial.
    pub(super) fn on_trial(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.state != State::Late)
    }

    /// The modules that were left out of the initramfs of a kernel.
    pub(super) fn late<'a>(&'a self, kernel: &'a str) -> impl Iterator<Item = &'a Line> {
        let late = self.lines.iter().filter(|line| line.state == State::Late);
        late.filter(move |line| line.kernel == kernel)
    }

    /// Whether the module of a line is on trial.
    pub(super) fn has_on_trial(&self, line: &Line) -> bool {
        self.on_trial()
            .any(|one| one.is_of(&line.kernel, &line.package) && one.module == line.module)
    }

    /// Whether a line says that the trial of its module has ended, and that the initramfs still lacks it.
    pub(super) fn waits(&self, line: &Line) -> bool {
        line.state == State::Late && !self.has_on_trial(line)
    }

    pub(super) fn read(root: &Root) -> Option<Self> {
        fs::read_to_string(root.join(FILE)).ok().map(|text| Self::parse(&text))
    }

    /// Writes the file, or removes it where nothing is on trial.
    pub(super) fn write(&self, root: &Root) -> io::Result<()> {
        let path = root.join(FILE);
        if self.lines.is_empty() {
            files::remove(&path)
        } else {
            files::write_atomically(&path, self.text().as_bytes())
        }
    }
}
