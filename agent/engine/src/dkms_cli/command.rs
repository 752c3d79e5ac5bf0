//! The definition of the command line: help, man page and completions (`hooks`) all come from it.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

/// What `dkms --version` prints: the version of upstream whose behaviour we have, then our own name and version.
/// Scripts compare what follows `dkms-` as a version number.
pub const VERSION: &str = concat!("dkms-3.4.3+fetch", env!("CARGO_PKG_VERSION"));

/// Each verb with a line of help.
pub(crate) const VERBS: &[(&str, &str)] = &[
    (
        "add",
        "register a source tree: MODULE/VERSION, a directory, a dkms.conf or a tarball",
    ),
    (
        "build",
        "compile a module for each kernel given; adds it first if needed",
    ),
    (
        "unbuild",
        "uninstall a module and delete what was built, keeping its source",
    ),
    (
        "install",
        "put a module into each kernel given; adds and builds it first if needed",
    ),
    (
        "uninstall",
        "take a module out of each kernel given, keeping what was built",
    ),
    ("remove", "uninstall, unbuild and, with no kernel left, forget a module"),
    (
        "autoinstall",
        "install the newest version of every module that wants it",
    ),
    ("match", "install for one kernel what is installed for another"),
    ("mktarball", "pack source and built modules for another machine"),
    ("ldtarball", "unpack what mktarball packed"),
    ("status", "show what is added, built and installed"),
    ("generate_mok", "make the key pair that signs modules"),
    (
        "kernel_preinst",
        "before a kernel's files are replaced: unbuild its modules",
    ),
    ("kernel_postinst", "after a kernel's files are in place: autoinstall"),
    ("kernel_prerm", "before a kernel is removed: unbuild all its modules"),
];

/// The command line as clap sees it: flat, because a verb may stand before, between or after the options.
#[must_use]
pub fn command() -> Command {
    let verbs: Vec<String> = VERBS
        .iter()
        .map(|(verb, about)| format!("  {verb:<16}{about}"))
        .collect();
    Command::new("dkms")
        .about("Dynamic kernel module support: builds kernel modules from source and installs them")
        .version(VERSION)
        .disable_version_flag(true)
        .args_override_self(true)
        .max_term_width(100)
        .override_usage("dkms [ACTION] [MODULE/VERSION] [OPTIONS]")
        .after_help(format!("Actions:\n{}", verbs.join("\n")))
        .arg(words())
        .args(target_options())
        .args(mode_options())
        .args(trees())
        .args(output())
        .args(without_effect())
}

/// The positional words. Any word is accepted; the verbs are listed for completion.
fn words() -> Arg {
    Arg::new("words")
        .value_name("ACTION | MODULE/VERSION | FILE")
        .num_args(0..)
        .value_hint(ValueHint::AnyPath)
        .help("what to do and to which module")
}

fn text(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id).value_name(name).help(help)
}

fn path(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    text(id, name, help)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::AnyPath)
}

fn flag(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::SetTrue).help(help)
}

/// The options that say what a verb works on.
fn target_options() -> [Arg; 9] {
    [
        text("module", "MODULE[/VERSION]", "the module, or its package").short('m'),
        Arg::new("module-version")
            .short('v')
            .value_name("VERSION")
            .help("the version of the module"),
        text(
            "kernelver",
            "KERNEL[/ARCH]",
            "a kernel release; may be repeated; `all`: every kernel with headers",
        )
        .short('k')
        .action(ArgAction::Append),
        text(
            "arch",
            "ARCH",
            "the machine as by `uname -m`; once for all kernels or once for each",
        )
        .short('a')
        .action(ArgAction::Append),
        flag("all", "every kernel the module is built for"),
        text("templatekernel", "KERNEL", "match: the kernel to take as the model"),
        path(
            "archive",
            "FILE",
            "the tarball to read or write; its suffix picks the compressor",
        ),
        flag("source-only", "mktarball: only the source"),
        flag("binaries-only", "mktarball: only the built modules"),
    ]
}

/// The options that say how a verb works.
fn mode_options() -> [Arg; 10] {
    [
        flag(
            "force",
            "do it again, and in spite of an equal or newer version in the kernel",
        ),
        flag(
            "force-version-override",
            "install in spite of a newer version in the kernel",
        ),
        path("conf", "FILE", "use this dkms.conf").short('c'),
        path("config", "FILE", "the kernel's .config to look at"),
        path("kernelsourcedir", "DIR", "the kernel headers to build against"),
        text("directive", "NAME=VALUE", "set a dkms.conf directive; may be repeated")
            .action(ArgAction::Append)
            .allow_hyphen_values(true),
        flag(
            "rpm_safe_upgrade",
            "let a `remove` of the same transaction keep what `add` has just added",
        ),
        flag("no-depmod", "do not run depmod"),
        flag(
            "modprobe-on-install",
            "load the modules that this machine's devices ask for after installing",
        ),
        Arg::new("jobs")
            .short('j')
            .value_name("N")
            .value_parser(value_parser!(usize))
            .help("run N compilers at a time; 0 or absent: one for each processor"),
    ]
}

fn trees() -> [Arg; 5] {
    [
        path("dkmstree", "DIR", "where the state is kept [default: /var/lib/dkms]"),
        path("sourcetree", "DIR", "where sources lie [default: /usr/src]"),
        path(
            "installtree",
            "DIR",
            "where the kernels' modules lie [default: /lib/modules]",
        ),
        path(
            "root",
            "DIR",
            "work on the system under DIR, such as an image being built; never consults `uname`",
        ),
        flag(
            "symlink-modules",
            "install links to the built modules instead of copies",
        ),
    ]
}

fn output() -> [Arg; 4] {
    [
        flag("json", "status: one JSON document, with failed builds"),
        flag("verbose", "show each step"),
        flag("quiet", "print errors only").short('q'),
        flag("version", "print the version").short('V'),
    ]
}

/// Options of older versions that scripts still pass.
fn without_effect() -> [Arg; 4] {
    ["no-initrd", "no-clean-kernel", "no-prepare-kernel", "debug"]
        .map(|id| flag(id, "accepted, without effect").hide(true))
}
