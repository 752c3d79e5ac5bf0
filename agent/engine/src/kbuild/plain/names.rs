//! Names in a Makefile that mean nothing to kbuild, and those that mean something to it.

/// Variables by which Makefiles find the kernel when they call make themselves, and name what they install. kbuild reads none of them.
const IGNORED: [&str; 58] = [
    "BUILD_DIR",
    "DEPMOD",
    "DESTDIR",
    "DRIVER",
    "DRIVER_NAME",
    "DRIVER_VERSION",
    "DRV_NAME",
    "INSTALL_DIR",
    "KBASE",
    "KDIR",
    "KERNDIR",
    "KERNELDIR",
    "KERNELPATH",
    "KERNELSRC",
    "KERNELVER",
    "KERNEL_BUILD",
    "KERNEL_BUILD_DIR",
    "KERNEL_DIR",
    "KERNEL_HEADERS",
    "KERNEL_PATH",
    "KERNEL_SOURCE",
    "KERNEL_SOURCES",
    "KERNEL_SOURCE_DIR",
    "KERNEL_SOURCE_VERSION",
    "KERNEL_SRC",
    "KERNEL_TREE",
    "KERNEL_UNAME",
    "KERNEL_VER",
    "KERNEL_VERSION",
    "KERNVER",
    "KERN_DIR",
    "KERN_SRC",
    "KERN_VER",
    "KPATH",
    "KREL",
    "KSRC",
    "KVER",
    "KVERS",
    "KVERSION",
    "LINUX_DIR",
    "LINUX_SRC",
    "MODDESTDIR",
    "MODDIR",
    "MODNAME",
    "MODPATH",
    "MODULES_DIR",
    "MODULE_DIR",
    "MODULE_NAME",
    "MODULE_PATH",
    "MOD_DIR",
    "MOD_NAME",
    "PACKAGE_NAME",
    "PACKAGE_VERSION",
    "PREFIX",
    "PWD",
    "RELEASE",
    "SRC_DIR",
    "UNAME",
];

/// Words that kbuild gives a meaning before `-y`, `-objs` or `-m`: no names of modules.
const OF_KBUILD: [&str; 24] = [
    "FORCE",
    "PHONY",
    "always",
    "asflags",
    "ccflags",
    "cflags",
    "cppflags",
    "dtb",
    "extra",
    "generic",
    "header-test",
    "hostprogs",
    "ldflags",
    "lib",
    "mandatory",
    "modules",
    "multi",
    "no-clean-files",
    "obj",
    "real-obj",
    "rustflags",
    "subdir",
    "targets",
    "userprogs",
];

pub(super) fn is_ignored_variable(name: &str) -> bool {
    IGNORED.contains(&name)
}

/// Whether a module may have this name: kbuild must not take its lists of objects for something else.
pub(super) fn is_module(name: &str) -> bool {
    let endings = ["-objs", "-y", "-m", "-n", "flags"];
    !OF_KBUILD.contains(&name) && !endings.iter().any(|ending| name.ends_with(ending))
}

/// Words with which make begins something else than a rule.
const DIRECTIVES: [&str; 11] = [
    "define", "endef", "export", "include", "load", "override", "private", "sinclude", "undefine", "unexport", "vpath",
];

/// Whether a rule for this target is none of kbuild's business. Its own targets are paths, but for a few that begin with `_`.
pub(super) fn is_ignored_target(name: &str) -> bool {
    const FILES: [&str; 12] = [
        ".o", ".ko", ".c", ".h", ".S", ".s", ".i", ".a", ".mod", ".order", ".symvers", ".lds",
    ];
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name == ".PHONY"
        || name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(is_word)
            && !matches!(
                name,
                "FORCE" | "PHONY" | "Kbuild" | "Makefile" | "GNUmakefile" | "makefile"
            )
            && !DIRECTIVES.contains(&name)
            && !FILES.iter().any(|suffix| name.ends_with(suffix))
}

/// Whether make can expand this value without an effect: other variables, and a few commands that only tell something.
pub(super) fn is_plain_value(value: &str) -> bool {
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        let close = match rest.chars().next() {
            Some('(') => ')',
            Some('{') => '}',
            _ => return false,
        };
        let Some(end) = rest.find(close) else { return false };
        let inside = &rest[1..end];
        if !is_variable(inside) && !is_harmless_command(inside) {
            return false;
        }
        rest = &rest[end + 1..];
    }
    true
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_harmless_command(call: &str) -> bool {
    let mut words = call.split([' ', '\t']).filter(|word| !word.is_empty());
    words.next() == Some("shell")
        && match (words.next(), words.next(), words.next()) {
            (Some("pwd"), None, _) => true,
            (Some("uname"), Some(option), None) => matches!(option, "-r" | "-m"),
            _ => false,
        }
}
