//! Digests and stamps of headers and of a compiler: computed once for all packages of a run.

use std::path::{Path, PathBuf};

use super::KernelTarget;
use crate::command::find_program;
use crate::fsutil::{files_digest, stamp};
use crate::root::Root;

impl KernelTarget {
    /// A digest over the contents of configuration, exported symbols, version and build variables.
    pub(crate) fn headers_digest(&self) -> &str {
        self.headers_digest
            .get_or_init(|| files_digest(self.marked_files().iter().map(PathBuf::as_path)))
    }

    /// A stamp of what `stat` says of the same files.
    pub(crate) fn headers_stamp(&self) -> &str {
        self.headers_stamp
            .get_or_init(|| stamp(self.marked_files().iter().map(PathBuf::as_path)))
    }

    /// A stamp of the program behind `cc`; empty if there is none. It is remembered for the first name that is asked for, which is that
    /// of nearly every build.
    pub(crate) fn compiler_stamp(&self, cc: &str) -> String {
        let (name, stamp) = self
            .compiler_stamp
            .get_or_init(|| (cc.to_owned(), self.stamp_of_compiler(cc)));
        if name == cc {
            stamp.clone()
        } else {
            self.stamp_of_compiler(cc)
        }
    }

    fn stamp_of_compiler(&self, cc: &str) -> String {
        let root = self.chroot().map_or_else(Root::host, Root::at);
        let Some(path) = find_program(&root, cc) else {
            return String::new();
        };
        let path = path.canonicalize().unwrap_or(path);
        stamp([path.as_path()])
    }

    fn marked_files(&self) -> Vec<PathBuf> {
        let names = [
            "include/config/auto.conf",
            "include/generated/autoconf.h",
            "include/generated/utsrelease.h",
            "include/generated/compile.h",
            "Module.symvers",
            ".kernelvariables",
            "Makefile",
        ];
        let in_headers = names.map(|name| self.headers.join(Path::new(name)));
        in_headers.into_iter().chain([self.config_file.clone()]).collect()
    }
}
