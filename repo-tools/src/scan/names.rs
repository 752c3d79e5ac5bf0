//! Reasons as they are published: without the paths of the machine that built.

use std::path::Path;

use dkms_engine::kernel::KernelTarget;
use dkms_engine::tree::Tree;

/// The name of a build's directory in a tree, without what tells builds apart.
const BUILD: &str = "/var/lib/dkms/.work/build-";

/// Names of this machine with those that they have on any.
#[derive(Debug)]
pub(super) struct StableNames(Vec<(String, String)>);

impl StableNames {
    /// Those of builds in `tree` for `kernel`.
    pub(super) fn of(tree: &Tree, kernel: &KernelTarget) -> Self {
        let text = |path: &Path| path.display().to_string();
        let headers = format!("/lib/modules/{}/build", kernel.release);
        let mut names = vec![
            (text(&kernel.headers), headers.clone()),
            (headers_inside(kernel), headers.clone()),
            (text(&kernel.modules_dir.join("build")), headers),
            (text(tree.root().path()), String::new()),
            (text(kernel.root.path()), String::new()),
            (std::env::var("HOME").unwrap_or_default(), "~".to_owned()),
        ];
        names.retain(|(own, _)| own.len() > 1 && own.starts_with('/'));
        // Of two that begin alike, the longer one says more.
        names.sort_by_key(|(own, _)| std::cmp::Reverse(own.len()));
        Self(names)
    }

    /// `text` with the names of any machine.
    pub(super) fn apply(&self, text: &str) -> String {
        let text = self
            .0
            .iter()
            .fold(text.to_owned(), |text, (own, stable)| replace_path(&text, own, stable));
        without_build_directory(&text)
    }
}

/// What the headers are called in the system of another kernel; nothing elsewhere.
fn headers_inside(kernel: &KernelTarget) -> String {
    let inside = kernel
        .chroot()
        .and_then(|system| kernel.headers.strip_prefix(system).ok());
    inside.map_or_else(String::new, |path| format!("/{}", path.display()))
}

/// Replaces `from` where it is a whole path or the beginning of one.
fn replace_path(text: &str, from: &str, to: &str) -> String {
    let is_name = |c: char| c.is_alphanumeric() || "._+-".contains(c);
    let (mut done, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let is_path = !before.ends_with(|c: char| is_name(c) || c == '/') && !after.starts_with(is_name);
        done.push_str(before);
        done.push_str(if is_path { to } else { from });
        rest = after;
    }
    done + rest
}

/// `/var/lib/dkms/.work/build-X/dkms/M/V/build/a.c` as `/var/lib/dkms/M/V/build/a.c`.
fn without_build_directory(text: &str) -> String {
    let (mut done, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(BUILD) {
        let after = &rest[at + BUILD.len()..];
        let after = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        done.push_str(&rest[..at]);
        done.push_str("/var/lib/dkms");
        rest = after.strip_prefix("/dkms").unwrap_or(after);
    }
    done + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_of_the_builder_is_left() {
        let names = StableNames(vec![
            (
                "/home/joe/inputs/usr/src/linux-headers-6.1".into(),
                "/lib/modules/6.1/build".into(),
            ),
            ("/tmp/dkms-repo-x".into(), String::new()),
            ("/home/joe".into(), "~".into()),
        ]);
        let check = |text: &str, expected: &str| assert_eq!(names.apply(text), expected, "{text}");
        check(
            "make: *** /tmp/dkms-repo-x/var/lib/dkms/.work/build-aB3/dkms/m/1/build/a.c: no",
            "make: *** /var/lib/dkms/m/1/build/a.c: no",
        );
        check(
            "PRE_BUILD (/tmp/dkms-repo-x/usr/src/m-1/configure) failed",
            "PRE_BUILD (/usr/src/m-1/configure) failed",
        );
        check(
            "/home/joe/inputs/usr/src/linux-headers-6.1/Makefile:7: /home/joe/.config",
            "/lib/modules/6.1/build/Makefile:7: ~/.config",
        );
        check("/home/joey /mnt/home/joe /home/joe", "/home/joey /mnt/home/joe ~");
        check("expected ';' before '}' token", "expected ';' before '}' token");
    }
}
