//! The trial of what was installed: until a boot has reached the target that counts as healthy, boots are counted.
//!
//! One file has it all, `/etc/modprobe.d/dkms-fetch-trial.conf`, and where there is nothing on trial it is not there. modprobe reads only its
//! `blacklist` lines. The script `boot-trial` works on it: at the beginning of a boot, before udev loads modules and before `/var` need be
//! there, it counts, and once too many boots have ended early it adds `# undo KERNEL` and a `blacklist` line for each module of that kernel.
//! `recover` then goes back to the entry of the history that the file names, for the packages that it lists. When the target is reached the
//! script takes out what was loaded.
//!
//! An initramfs is over before anything can be counted. So packages on trial that the start of the machine does not need are left out of it,
//! and have a line `# late` for each module. These stay until the initramfs was made again after the trial.

mod file;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use dkms_engine::ko::in_kernel;
use dkms_engine::root::Root;

use crate::config::HealthyTarget;
use crate::host::start;
use file::{Line, State, Trial};

/// Both units have to be enabled: else nobody counts, and nobody ends the trial.
const UNITS: [(&str, &str); 2] = [
    ("sysinit.target.wants", "dkms-fetch-boot-trial.service"),
    ("multi-user.target.wants", "dkms-fetch-healthy.service"),
];

/// Where units that are enabled have their links.
const ENABLED: &str = "/etc/systemd/system";

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

/// A package that was installed for a kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) kernel: &'a str,
    /// Its name in the DKMS tree.
    pub(super) package: &'a str,
    pub(super) modules: &'a [String],
    /// Whether it is left out of the initramfs as long as it is on trial.
    pub(super) is_late: bool,
}

/// Puts the modules of a package on trial; `entry` is the entry of the history before it was installed. Nothing where the units are not
/// enabled.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn begin(root: &Root, target: &HealthyTarget, entry: u32, subject: &Subject<'_>) -> io::Result<()> {
    let enabled = root.join(ENABLED);
    let is_enabled = |(dir, unit): &(&str, &str)| fs::symlink_metadata(enabled.join(dir).join(unit)).is_ok();
    if !UNITS.iter().all(is_enabled) {
        return Ok(());
    }
    let mut trial = Trial::read(root).unwrap_or_default();
    trial.lines.retain(|line| is_there(root, line));
    if trial.on_trial().next().is_none() {
        (trial.entry, trial.boots) = (entry, 0);
    }
    trial.healthy = 0;
    trial.target = target.name().to_owned();
    let Subject {
        kernel,
        package,
        modules,
        is_late,
    } = *subject;
    trial.lines.retain(|line| !line.is_of(kernel, package));
    let states = [Some(State::New), is_late.then_some(State::Late)];
    for state in states.into_iter().flatten() {
        trial.lines.extend(modules.iter().map(|module| Line {
            state,
            kernel: kernel.to_owned(),
            package: package.to_owned(),
            module: module.clone(),
        }));
    }
    trial.write(root)
}

/// Notes that the modules of a package were loaded and the machine still runs.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn loaded(root: &Root, kernel: &str, package: &str) -> io::Result<()> {
    change(root, |_, trial| {
        let new = trial.lines.iter_mut().filter(|line| line.state == State::New);
        let of_package = new.filter(|line| line.is_of(kernel, package));
        of_package.for_each(|line| line.state = State::Loaded);
    })
}

/// Ends the trial of a package, which is not installed any more.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn end(root: &Root, kernel: &str, package: &str) -> io::Result<()> {
    change(root, |_, trial| trial.lines.retain(|line| !line.is_of(kernel, package)))
}

/// Changes what the file says; `change` has it as it was, too.
fn change(root: &Root, change: impl FnOnce(&Trial, &mut Trial)) -> io::Result<()> {
    let Some(before) = Trial::read(root) else { return Ok(()) };
    let mut trial = before.clone();
    change(&before, &mut trial);
    if trial == before { Ok(()) } else { trial.write(root) }
}

/// What the boots that ended early ask for.
pub fn undo(root: &Root) -> Option<Undo> {
    let trial = Trial::read(root)?;
    let kernel = trial.undo.clone()?;
    let packages = trial.on_trial().filter(|line| line.kernel == kernel);
    let packages: BTreeSet<String> = packages.map(|line| line.package.clone()).collect();
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
    change(root, |before, trial| {
        if let Some(kernel) = trial.undo.take() {
            // What only waits for an initramfs was not undone.
            trial.lines.retain(|line| line.kernel != kernel || before.waits(line));
        }
    })
}

/// The modules on trial for a kernel, in the kernel's spelling.
pub fn on_trial(root: &Root, kernel: &str) -> BTreeSet<String> {
    let trial = Trial::read(root).unwrap_or_default();
    let lines = trial.on_trial().filter(|line| line.kernel == kernel);
    lines.map(|line| in_kernel(&line.module)).collect()
}

/// The modules that are left out of the initramfs of a kernel, in the kernel's spelling. A package that the machine may need to start by now is
/// not left out: its disks may be in use since it was installed.
pub fn left_out(root: &Root, kernel: &str) -> BTreeSet<String> {
    let trial = Trial::read(root).unwrap_or_default();
    let late: Vec<&Line> = trial.late(kernel).filter(|line| trial.has_on_trial(line)).collect();
    let needed: BTreeSet<&str> = late
        .iter()
        .filter(|line| start::may_need(root, &line.module))
        .map(|line| line.package.as_str())
        .collect();
    let left_out = late.iter().filter(|line| !needed.contains(line.package.as_str()));
    left_out.map(|line| in_kernel(&line.module)).collect()
}

/// The modules whose trial has ended, and which the initramfs of a kernel still lacks for it, in the kernel's spelling.
pub fn no_longer_left_out(root: &Root, kernel: &str) -> BTreeSet<String> {
    let trial = Trial::read(root).unwrap_or_default();
    let lines = trial
        .lines
        .iter()
        .filter(|line| line.kernel == kernel && trial.waits(line));
    lines.map(|line| in_kernel(&line.module)).collect()
}

/// Notes that the initramfs of a kernel was made with those modules.
///
/// # Errors
/// When the file cannot be written.
pub fn end_left_out(root: &Root, kernel: &str) -> io::Result<()> {
    change(root, |before, trial| {
        trial.lines.retain(|line| line.kernel != kernel || !before.waits(line));
    })
}

/// Whether the kernel of a line is there. Nobody boots one that was removed, which would end the trial.
fn is_there(root: &Root, line: &Line) -> bool {
    root.join(Path::new("/lib/modules").join(&line.kernel)).is_dir()
}

#[cfg(test)]
mod tests {
    use super::file::{FILE, HEADING};
    use super::*;

    fn machine(is_enabled: bool) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (wants, unit) in UNITS.iter().filter(|_| is_enabled) {
            let path = dir.path().join("etc/systemd/system").join(wants).join(unit);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink("/nowhere", path).unwrap();
        }
        for kernel in ["6.1.0", "6.12.0"] {
            fs::create_dir_all(dir.path().join("lib/modules").join(kernel)).unwrap();
        }
        let root = Root::at(dir.path());
        (dir, root)
    }

    fn put(root: &Root, entry: u32, kernel: &str, package: &str, modules: &[String], is_late: bool) {
        let subject = Subject {
            kernel,
            package,
            modules,
            is_late,
        };
        begin(root, &HealthyTarget::default(), entry, &subject).unwrap();
    }

    fn begin_edu(root: &Root, entry: u32, package: &str) {
        let modules = [format!("{package}_a"), format!("{package}_b")];
        put(root, entry, "6.1.0", package, &modules, false);
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
        put(&root, 4, "6.12.0", "edu", &["edu_a".to_owned()], false);
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

    #[test]
    fn what_is_left_out_of_an_initramfs_stays_noted_until_it_was_made_again() {
        let (_dir, root) = machine(true);
        let names = |modules: &[&str]| modules.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        put(&root, 3, "6.1.0", "raid", &["raid-a".to_owned()], true);
        put(&root, 4, "6.1.0", "edu", &["edu".to_owned()], false);
        put(&root, 5, "6.12.0", "raid", &["raid-a".to_owned()], true);
        assert_eq!(on_trial(&root, "6.1.0"), names(&["edu", "raid_a"]));
        assert_eq!(left_out(&root, "6.1.0"), names(&["raid_a"]));
        assert_eq!(no_longer_left_out(&root, "6.1.0"), names(&[]));
        end_left_out(&root, "6.1.0").unwrap();
        assert_eq!(left_out(&root, "6.1.0"), names(&["raid_a"]), "it is on trial");
        // A healthy boot.
        let text = fs::read_to_string(root.join(FILE)).unwrap();
        fs::write(root.join(FILE), text.replace("# new 6.1.0 raid raid-a\n", "")).unwrap();
        assert_eq!(on_trial(&root, "6.1.0"), names(&["edu"]));
        assert_eq!(left_out(&root, "6.1.0"), names(&[]));
        assert_eq!(no_longer_left_out(&root, "6.1.0"), names(&["raid_a"]));
        end_left_out(&root, "6.1.0").unwrap();
        assert_eq!(no_longer_left_out(&root, "6.1.0"), names(&[]));
        assert_eq!(left_out(&root, "6.12.0"), names(&["raid_a"]));
        end(&root, "6.1.0", "edu").unwrap();
        end(&root, "6.12.0", "raid").unwrap();
        assert!(!root.join(FILE).exists());
    }

    /// What only waits for an initramfs is not undone, and starts no count.
    #[test]
    fn what_only_waits_for_an_initramfs_is_not_on_trial() {
        let (_dir, root) = machine(true);
        fs::create_dir_all(root.join("/etc/modprobe.d")).unwrap();
        fs::write(root.join(FILE), "# entry 3\n# boots 2\n# late 6.1.0 raid raid\n").unwrap();
        put(&root, 7, "6.1.0", "edu", &["edu".to_owned()], false);
        let text = fs::read_to_string(root.join(FILE)).unwrap();
        assert!(
            text.contains("# entry 7\n# boots 0\n# late 6.1.0 raid raid\n# new 6.1.0 edu edu\n"),
            "{text}"
        );
        fs::write(root.join(FILE), text + "# undo 6.1.0\nblacklist edu\n").unwrap();
        assert_eq!(undo(&root).unwrap().packages, ["edu"]);
        loaded(&root, "6.1.0", "edu").unwrap();
        let text = fs::read_to_string(root.join(FILE)).unwrap();
        assert!(text.ends_with("# undo 6.1.0\nblacklist edu\n"), "{text}");
        end_undo(&root).unwrap();
        assert_eq!(no_longer_left_out(&root, "6.1.0").len(), 1, "it still has to be put in");
        end_left_out(&root, "6.1.0").unwrap();
        assert!(!root.join(FILE).exists());
    }

    #[test]
    fn a_package_that_is_needed_by_now_is_not_left_out() {
        let (dir, root) = machine(true);
        let modules = ["raid-a".to_owned(), "raid_b".to_owned()];
        put(&root, 3, "6.1.0", "raid", &modules, true);
        put(&root, 4, "6.1.0", "edu", &["edu".to_owned()], true);
        assert_eq!(left_out(&root, "6.1.0").len(), 3);
        // Nothing says what a module without devices and users is for.
        fs::create_dir_all(dir.path().join("sys/module/raid_a")).unwrap();
        assert_eq!(left_out(&root, "6.1.0"), BTreeSet::from(["edu".to_owned()]));
    }

    #[test]
    fn lines_of_a_kernel_that_is_gone_go() {
        let (dir, root) = machine(true);
        put(&root, 3, "6.12.0", "raid", &["raid".to_owned()], true);
        fs::remove_dir(dir.path().join("lib/modules/6.12.0")).unwrap();
        begin_edu(&root, 4, "edu");
        let text = fs::read_to_string(root.join(FILE)).unwrap();
        assert!(!text.contains("6.12.0") && text.contains("# entry 4\n"), "{text}");
    }
}
