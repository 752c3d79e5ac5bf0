//! The variables of one evaluation.

use std::collections::BTreeMap;

use super::super::context::ConfContext;
use super::MAX_LEN;

/// The directives of dkms.conf, in the order in which `evaluate.sh` expands them.
pub(super) const DIRECTIVES: [&str; 33] = [
    "PACKAGE_NAME",
    "PACKAGE_VERSION",
    "BUILT_MODULE_NAME",
    "BUILT_MODULE_LOCATION",
    "DEST_MODULE_NAME",
    "DEST_MODULE_LOCATION",
    "STRIP",
    "MAKE",
    "MAKE_MATCH",
    "CLEAN",
    "PATCH",
    "PATCH_MATCH",
    "AUTOINSTALL",
    "NO_WEAK_MODULES",
    "BUILD_DEPENDS",
    "BUILD_DEPENDS_REBUILD",
    "BUILD_EXCLUSIVE_KERNEL",
    "BUILD_EXCLUSIVE_KERNEL_MIN",
    "BUILD_EXCLUSIVE_KERNEL_MAX",
    "BUILD_EXCLUSIVE_ARCH",
    "BUILD_EXCLUSIVE_CONFIG",
    "PRE_BUILD",
    "POST_BUILD",
    "POST_ADD",
    "PRE_INSTALL",
    "POST_INSTALL",
    "POST_REMOVE",
    "OBSOLETE_BY",
    "REMAKE_INITRD",
    "MODULES_CONF",
    "MODULES_CONF_OBSOLETES",
    "MODULES_CONF_ALIAS_TYPE",
    "MODULES_CONF_OBSOLETE_ONLY",
];

/// The variables that bash itself gives a meaning: bash(1), "Shell Variables". Families of them are in [`FAMILIES`].
const OF_BASH: [&str; 52] = [
    "ARGV0",
    "CDPATH",
    "CHILD_MAX",
    "COLUMNS",
    "COMPREPLY",
    "COPROC",
    "DIRSTACK",
    "EMACS",
    "ENV",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "EXECIGNORE",
    "FCEDIT",
    "FIGNORE",
    "FUNCNAME",
    "FUNCNEST",
    "GLOBIGNORE",
    "GLOBSORT",
    "GROUPS",
    "HOME",
    "HOSTFILE",
    "HOSTNAME",
    "HOSTTYPE",
    "IFS",
    "IGNOREEOF",
    "INPUTRC",
    "INSIDE_EMACS",
    "LINENO",
    "LINES",
    "MACHTYPE",
    "MAILCHECK",
    "MAPFILE",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "OSTYPE",
    "PATH",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PPID",
    "PWD",
    "RANDOM",
    "REPLY",
    "SECONDS",
    "SRANDOM",
    "TIMEFORMAT",
    "TMOUT",
    "TMPDIR",
    "UID",
    "auto_resume",
];
const FAMILIES: [&str; 15] = [
    "_",
    "BASH",
    "COMP_",
    "GIT_",
    "HIST",
    "LANG",
    "LC_",
    "MAIL",
    "PROMPT_",
    "READLINE_",
    "SHELL",
    "SHLVL",
    "TERM",
    "TEXTDOMAIN",
    "hist",
];

/// True for a name without a special meaning to bash: a conf may use it for a variable of its own.
pub(super) fn is_own(name: &str) -> bool {
    let of_bash = OF_BASH.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family)) || is_prompt(name);
    !of_bash
}

/// PS0, PS1 and so on.
fn is_prompt(name: &str) -> bool {
    name.strip_prefix("PS").is_some_and(|rest| rest.len() == 1)
}

/// Variables by name; each is an array, of which a plain variable is the element 0.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, BTreeMap<usize, String>>,
    /// The bytes of all values that were ever set.
    len_bytes: u64,
}

impl Variables {
    /// What dkms defines before it reads a conf.
    pub(super) fn of(ctx: &ConfContext) -> Option<Variables> {
        let mut variables = Variables::default();
        let jobs = ctx.parallel_jobs.to_string();
        for (name, value) in [
            ("module", ctx.module.as_str()),
            ("module_version", &ctx.version),
            ("kernelver", &ctx.kernel_release),
            ("arch", &ctx.arch),
            ("kernel_source_dir", ctx.kernel_source_dir.to_str()?),
            ("kernel_config", ctx.kernel_config.to_str()?),
            ("dkms_tree", ctx.dkms_tree.to_str()?),
            ("source_tree", ctx.source_tree.to_str()?),
            ("install_tree", ctx.install_tree.to_str()?),
            ("tmp_location", ctx.tmp_location.to_str()?),
            ("parallel_jobs", &jobs),
            ("running_distribution", ctx.distribution.name()),
            (
                "addon_modules_dir",
                ctx.addon_modules_dir.as_deref().unwrap_or_default(),
            ),
        ] {
            variables.set(name, 0, value.to_owned())?;
        }
        Some(variables)
    }

    /// `${NAME[INDEX]}`; None where bash would have to say what the variable is. An element that is not set is empty.
    pub(super) fn get(&self, name: &str, index: usize) -> Option<&str> {
        let values = self.values.get(name)?;
        Some(values.get(&index).map_or("", String::as_str))
    }

    /// The elements of a variable by their indexes.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = (usize, String)> + use<> {
        self.values.get(name).cloned().unwrap_or_default().into_iter()
    }

    /// Sets one element; None where the values become too long.
    pub(super) fn set(&mut self, name: &str, index: usize, value: String) -> Option<()> {
        self.len_bytes += value.len() as u64;
        let values = self.values.entry(name.to_owned()).or_default();
        values.insert(index, value);
        (self.len_bytes <= MAX_LEN).then_some(())
    }

    /// Sets the elements of a variable, after those that it has if `is_added`.
    pub(super) fn set_all(&mut self, name: &str, elements: Vec<String>, is_added: bool) -> Option<()> {
        let values = self.values.entry(name.to_owned()).or_default();
        if !is_added {
            values.clear();
        }
        let first = values.keys().next_back().map_or(0, |last| last + 1);
        for (at, element) in elements.into_iter().enumerate() {
            self.set(name, first + at, element)?;
        }
        Some(())
    }
}
