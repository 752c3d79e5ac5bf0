//! The parts of a system that a compiler needs: programs and libraries, and a few files of /etc.

/// The directories at the top of a system that hold programs and libraries; links into /usr on merged systems.
pub(super) const TOPS: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];

/// The files of /etc that programs of a toolchain read, and those by which confs and Makefiles tell distributions apart.
pub(super) const ETC: [&str; 19] = [
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "os-release",
    "lsb-release",
    "debian_version",
    "redhat-release",
    "fedora-release",
    "centos-release",
    "rocky-release",
    "SuSE-release",
    "system-release",
    "arch-release",
    "gentoo-release",
    "slackware-version",
    "localtime",
    "perl",
    "python3",
];

/// The devices that programs expect.
pub(super) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Directories below /usr that hold other packages' sources and modules: empty in the sandbox except for what a view adds.
pub(super) const HIDDEN: [&str; 2] = ["src", "lib/modules"];
