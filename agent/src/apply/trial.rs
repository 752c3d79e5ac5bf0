//! The trial of what was installed: until a boot has reached the target that counts as healthy, boots are counted.
//!
//! One file has it all, `/etc/modprobe.d/dkms-fetch-trial.conf`, and where there is nothing on trial it is not there. modprobe reads only its
//! `blacklist` lines. The script `boot-trial` works on it: at the beginning of a boot, before udev loads modules and before `/var` need be
//! there, it counts, and once too many boots have ended early it adds `# undo KERNEL` and a `blacklist` line for each module of that kernel.
//! `recover` then goes back to the entry of the history that the file names, for the packages that it lists. When the target is reached the
//! script takes out what was loaded.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use dkms_engine::root::Root;

use crate::config::HealthyTarget;
use crate::files;

/// The file.
const FILE: &str = "/etc/modprobe.d/dkms-fetch-trial.conf";

/// Both units have to be enabled: else nobody counts, and nobody ends the trial.
const UNITS: [(&str, &str); 2] = [
    ("sysinit.target.wants", "dkms-fetch-boot-trial.service"),
    ("multi-user.target.wants", "dkms-fetch-healthy.service"),
];

/// Where units that are enabled have their links.
const ENABLED: &str = "/etc/systemd/system";

const HEADING: &str =
    "# dkms-fetch: what was installed and has not seen a boot that reached the target. That boot removes this file.";

/// A module on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// `loaded` where it was loaded when it was installed; `new` where the first boot loads it.
    state: &'static str,
    kernel: String,
    package: String,
    module: String,
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Trial {
    target: String,
    entry: u32,
    boots: u32,
    lines: Vec<Line>,
    undo: Option<String>,
}

/// What has to be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// The entry of the history to go back to.
    pub entry: u32,
    /// For which kernel.
    pub kernel: String,
    /// The target that boots did not reach.
    pub target: String,
    /// The names of the packages in the DKMS tree.
    pub packages: Vec<String>,
}

impl Trial {
    fn parse(text: &str) -> Self {
        let mut trial = Self::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
            match *line.split(' ').collect::<Vec<_>>() {
                ["target", target] => trial.target = target.to_owned(),
                ["entry", number] => trial.entry = number.parse().unwrap_or_default(),
                ["boots", number] => trial.boots = number.parse().unwrap_or_default(),
                ["undo", kernel] => trial.undo = Some(kernel.to_owned()),
                [state @ ("loaded" | "new"), kernel, package, module] => trial.lines.push(Line {
                    state: if state == "new" { "new" } else { "loaded" },
                    kernel: kernel.to_owned(),
                    package: package.to_owned(),
                    module: module.to_owned(),
                }),
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
            lines,
            undo,
        } = self;
        let mut text = format!("{HEADING}\n# target {target}\n# entry {entry}\n# boots {boots}\n");
        for Line {
            state,
            kernel,
            package,
            module,
        } in lines
        {
            text += &format!("# {state} {kernel} {package} {module}\n");
        }
        if let Some(undone) = undo {
            text += &format!("# undo {undone}\n");
            let modules = lines.iter().filter(|line| line.kernel == *undone);
            modules.for_each(|line| text += &format!("blacklist {}\n", line.module));
        }
        text
    }

    fn read(root: &Root) -> Option<Self> {
        fs::read_to_string(root.join(FILE)).ok().map(|text| Self::parse(&text))
    }

    /// Writes the file, or removes it where nothing is on trial.
    fn write(&self, root: &Root) -> io::Result<()> {
        let path = root.join(FILE);
        if self.lines.is_empty() {
            files::remove(&path)
        } else {
            files::write_atomically(&path, self.text().as_bytes())
        }
    }
}

/// Puts the modules of a package on trial; `entry` is the entry of the history before it was installed. Nothing where the units are not
/// enabled.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn begin(
    root: &Root,
    target: &HealthyTarget,
    entry: u32,
    kernel: &str,
    package: &str,
    modules: &[String],
) -> io::Result<()> {
    let enabled = root.join(ENABLED);
    let is_enabled = |(dir, unit): &(&str, &str)| fs::symlink_metadata(enabled.join(dir).join(unit)).is_ok();
    if !UNITS.iter().all(is_enabled) {
        return Ok(());
    }
    let mut trial = Trial::read(root).unwrap_or_else(|| Trial {
        entry,
        ..Trial::default()
    });
    trial.target = target.name().to_owned();
    trial
        .lines
        .retain(|line| !(line.kernel == kernel && line.package == package));
    trial.lines.extend(modules.iter().map(|module| Line {
        state: "new",
        kernel: kernel.to_owned(),
        package: package.to_owned(),
        module: module.clone(),
    }));
    trial.write(root)
}

/// Notes that the modules of a package were loaded and the machine still runs.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn loaded(root: &Root, kernel: &str, package: &str) -> io::Result<()> {
    change(root, |trial| {
        let of_package = |line: &&mut Line| line.kernel == kernel && line.package == package;
        trial
            .lines
            .iter_mut()
            .filter(of_package)
            .for_each(|line| line.state = "loaded");
    })
}

/// Ends the trial of a package, which is not installed any more.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn end(root: &Root, kernel: &str, package: &str) -> io::Result<()> {
    change(root, |trial| {
        trial
            .lines
            .retain(|line| !(line.kernel == kernel && line.package == package));
    })
}

fn change(root: &Root, change: impl FnOnce(&mut Trial)) -> io::Result<()> {
    let Some(before) = Trial::read(root) else { return Ok(()) };
    let mut trial = before.clone();
    change(&mut trial);
    if trial == before { Ok(()) } else { trial.write(root) }
}

/// What the boots that ended early ask for.
pub fn undo(root: &Root) -> Option<Undo> {
    let trial = Trial::read(root)?;
    let kernel = trial.undo?;
    let packages = trial.lines.into_iter().filter(|line| line.kernel == kernel);
    let packages: BTreeSet<String> = packages.map(|line| line.package).collect();
    Some(Undo {
        entry: trial.entry,
        target: trial.target,
        packages: packages.into_iter().collect(),
        kernel,
    })
}

/// Ends what [`undo`] asked for: the modules may be loaded again.
///
/// # Errors
/// When the file cannot be written.
pub fn end_undo(root: &Root) -> io::Result<()> {
    change(root, |trial| {
        if let Some(kernel) = trial.undo.take() {
            trial.lines.retain(|line| line.kernel != kernel);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(is_enabled: bool) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (wants, unit) in UNITS.iter().filter(|_| is_enabled) {
            let path = dir.path().join("etc/systemd/system").join(wants).join(unit);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink("/nowhere", path).unwrap();
        }
        let root = Root::at(dir.path());
        (dir, root)
    }

    fn begin_edu(root: &Root, entry: u32, package: &str) {
        let modules = [format!("{package}_a"), format!("{package}_b")];
        begin(root, &HealthyTarget::default(), entry, "6.1.0", package, &modules).unwrap();
    }

    #[test]
    fn nothing_is_on_trial_where_no_unit_would_end_it() {
        let (_dir, root) = machine(false);
        begin_edu(&root, 3, "edu");
        assert!(!root.join(FILE).exists());
    }

    #[test]
    fn the_file_is_there_as_long_as_something_is_on_trial() {
        let (_dir, root) = machine(true);
        begin_edu(&root, 3, "edu");
        begin_edu(&root, 5, "other");
        loaded(&root, "6.1.0", "edu").unwrap();
        let text = fs::read_to_string(root.join(FILE)).unwrap();
        let expected = format!(
            "{HEADING}\n# target multi-user.target\n# entry 3\n# boots 0\n# loaded 6.1.0 edu edu_a\n# loaded 6.1.0 edu edu_b\n\
             # new 6.1.0 other other_a\n# new 6.1.0 other other_b\n"
        );
        assert_eq!(text, expected);
        assert_eq!(undo(&root), None);
        end(&root, "6.1.0", "edu").unwrap();
        end(&root, "6.12.0", "other").unwrap();
        assert!(root.join(FILE).exists());
        end(&root, "6.1.0", "other").unwrap();
        assert!(!root.join(FILE).exists());
    }

    #[test]
    fn another_kernel_stays_on_trial() {
        let (_dir, root) = machine(true);
        begin_edu(&root, 3, "edu");
        begin(
            &root,
            &HealthyTarget::default(),
            4,
            "6.12.0",
            "edu",
            &["edu_a".to_owned()],
        )
        .unwrap();
        let text = fs::read_to_string(root.join(FILE)).unwrap();
        fs::write(
            root.join(FILE),
            text + "# undo 6.1.0\nblacklist edu_a\nblacklist edu_b\n",
        )
        .unwrap();
        let found = undo(&root).unwrap();
        assert_eq!((found.entry, &*found.kernel), (3, "6.1.0"));
        assert_eq!(found.packages, ["edu"]);
        end_undo(&root).unwrap();
        let text = fs::read_to_string(root.join(FILE)).unwrap();
        assert!(text.ends_with("# boots 0\n# new 6.12.0 edu edu_a\n"), "{text}");
    }
}
