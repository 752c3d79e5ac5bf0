//! A view of a kernel's modules in which modprobe finds a package that depmod has not seen yet.
//!
//! depmod over a whole kernel takes seconds, and runs once, at the end of a run. Until then modprobe gets a temporary directory with links
//! to the modules of the package and to all that they need, and depmod's files for these few. Where that might not be the same as
//! loading after depmod, the package has to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dkms_engine::command::Confined;
use dkms_engine::ko::ModuleInfo;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::root::Root;
use dkms_engine::tree::Tree;

/// Where modprobe has its settings. `install` and `softdep` lines can ask for modules that the view does not have.
const SETTINGS: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];

/// The files of a kernel that depmod reads besides the modules.
const LISTS: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// The temporary directory; it goes with this value.
#[derive(Debug)]
pub(super) struct ModuleView {
    dir: tempfile::TempDir,
}

impl ModuleView {
    /// A view with the installed modules of `package`. None where the package has to wait for depmod.
    ///
    /// # Errors
    /// When the view cannot be made.
    pub(super) fn of(tree: &Tree, package: &DkmsId, kernel: &KernelId) -> io::Result<Option<Self>> {
        let from = tree.modules_dir(&kernel.release);
        let Some(files) = files(tree, package, kernel, &from)? else {
            return Ok(None);
        };
        let names = files.iter().filter_map(|file| module_name(file));
        if has_settings(tree.root(), &names.collect()) {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let to = dir.path().join("lib/modules").join(&kernel.release);
        fs::create_dir_all(&to)?;
        // kmod can be built for either directory.
        fs::create_dir(dir.path().join("usr"))?;
        symlink("../lib", dir.path().join("usr/lib"))?;
        for list in LISTS.iter().filter(|list| from.join(list).exists()) {
            symlink(from.join(list), to.join(list))?;
        }
        for file in &files {
            let Ok(below) = file.strip_prefix(&from) else {
                return Ok(None);
            };
            if !file.exists() {
                return Ok(None);
            }
            let link = to.join(below);
            fs::create_dir_all(link.parent().unwrap_or(&to))?;
            symlink(file, link)?;
        }
        let output = Confined::new("depmod")
            .arg("-b")
            .arg(dir.path())
            .arg(&kernel.release)
            .uninterruptible()
            .time_limit(Duration::from_secs(60))
            .output(64 << 10)?;
        // MODULE_SOFTDEP of one of the modules.
        let asks_for_more = read(&to.join("modules.softdep"))
            .lines()
            .any(|line| line.starts_with("softdep "));
        Ok((output.ended.status.success() && !asks_for_more).then_some(Self { dir }))
    }

    /// What `modprobe -d` takes.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// The files of the package's modules and of all modules that they need. None where one is not found.
fn files(tree: &Tree, package: &DkmsId, kernel: &KernelId, from: &Path) -> io::Result<Option<BTreeSet<PathBuf>>> {
    let installed_files = |package: &DkmsId| -> Vec<PathBuf> {
        let modules = tree.recorded_modules(package, kernel);
        let files = modules.iter().filter_map(|module| tree.installed_file(module, kernel));
        files.collect()
    };
    let mut wanted = installed_files(package);
    if wanted.is_empty() {
        return Ok(None);
    }
    let others = tree.packages();
    let others = others.iter().filter(|other| tree.is_installed(other, kernel));
    let built: BTreeMap<String, PathBuf> = others
        .flat_map(installed_files)
        .filter_map(|file| Some((module_name(&file)?, file)))
        .collect();
    let known = read(&from.join("modules.dep"));
    let known: BTreeMap<String, (&str, &str)> = known
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(file, needs)| Some((module_name(Path::new(file))?, (file, needs))))
        .collect();
    let builtin = read(&from.join("modules.builtin"));
    let builtin: BTreeSet<String> = builtin
        .lines()
        .filter_map(|line| module_name(Path::new(line)))
        .collect();
    let mut found = BTreeSet::new();
    while let Some(file) = wanted.pop() {
        if !found.insert(file.clone()) {
            continue;
        }
        let Ok(info) = ModuleInfo::read(&file) else {
            return Ok(None);
        };
        for name in info.depends.iter().map(|name| name.replace('-', "_")) {
            if let Some(file) = built.get(&name) {
                wanted.push(file.clone());
            } else if let Some((file, needs)) = known.get(&name) {
                // The line names all that is needed, also indirectly.
                found.insert(from.join(file));
                found.extend(needs.split_whitespace().map(|need| from.join(need)));
            } else if !builtin.contains(&name) {
                return Ok(None);
            }
        }
    }
    Ok(Some(found))
}

/// Whether modprobe's settings say how one of the modules is loaded, or what is loaded with it.
fn has_settings(root: &Root, modules: &BTreeSet<String>) -> bool {
    let files = SETTINGS
        .iter()
        .flat_map(|dir| fs::read_dir(root.join(dir)).into_iter().flatten().flatten());
    files.map(|entry| read(&entry.path())).any(|text| {
        text.lines().any(|line| {
            let mut words = line.split_whitespace();
            matches!(words.next(), Some("install" | "softdep"))
                && words
                    .next()
                    .is_some_and(|module| modules.contains(&module.replace('-', "_")))
        })
    })
}

/// The text of a file, empty where it cannot be read.
fn read(path: &Path) -> String {
    fs::read(path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The kernel's name of the module in a file.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (name, suffix) = name.split_once(".ko")?;
    (suffix.is_empty() || suffix.starts_with('.')).then(|| name.replace('-', "_"))
}
