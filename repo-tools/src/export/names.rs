//! Names and versions as distributions allow them.

/// Text in one line.
pub(super) fn one_line(text: &str) -> String {
    text.split(char::is_control)
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `text` with a capital letter at its beginning, as rpm's world writes summaries; a word with an inner capital or digit stays as it is.
pub(super) fn capitalized(text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    if !word.bytes().all(|b| b.is_ascii_lowercase()) {
        return text.to_owned();
    }
    let (first, rest) = text.split_at(text.len().min(1));
    format!("{}{rest}", first.to_ascii_uppercase())
}

/// Whether `text` can be the revision of a package.
pub fn is_revision(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.~".contains(&b))
}

/// The name of a DKMS package in Debian: `langford` → `langford-dkms`. Debian has small letters only, and no `_`.
pub(super) fn debian(name: &str) -> String {
    let small = name.to_ascii_lowercase();
    let name: String = small
        .chars()
        .map(|c| if matches!(c, '_' | '~') { '-' } else { c })
        .collect();
    with_ending(name.trim_start_matches(['-', '+', '.']))
}

/// The name of a DKMS package in rpm's world.
pub(super) fn rpm(name: &str) -> String {
    with_ending(&name.replace('~', "-"))
}

/// The name of a package with built modules in rpm's world, without what such packages have around it.
pub(super) fn rpm_of_modules(name: &str) -> String {
    let name = name.replace('~', "-");
    name.strip_suffix("-dkms")
        .filter(|rest| !rest.is_empty())
        .map_or(name.clone(), str::to_owned)
}

/// The architecture of rpm where `uname -m` says `machine`.
pub(super) fn rpm_arch(machine: &str) -> &str {
    match machine {
        "armv7l" => "armv7hl",
        other => other,
    }
}

fn with_ending(name: &str) -> String {
    if name.ends_with("-dkms") {
        name.to_owned()
    } else {
        format!("{name}-dkms")
    }
}

/// `version` with this revision, as dpkg takes it.
pub(super) fn debian_version(version: &str, revision: &str) -> String {
    format!("{}-{revision}", plain(version, "+-~"))
}

/// `version` as rpm takes it, where the revision is a field of its own: it has no `-`.
pub(super) fn rpm_version(version: &str) -> String {
    plain(version, "+_~")
}

/// Every character that is not allowed becomes a dot, and a digit comes first.
fn plain(version: &str, allowed: &str) -> String {
    let version = match version.strip_prefix('v') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => version,
    };
    let plain: String = version
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' || allowed.contains(c) {
                c
            } else {
                '.'
            }
        })
        .collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) {
        plain
    } else {
        format!("0.{plain}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_fit_each_distribution() {
        assert_eq!(debian("Tp_Smapi"), "tp-smapi-dkms");
        assert_eq!(debian("zfs-dkms"), "zfs-dkms");
        assert_eq!(rpm("Tp_Smapi"), "Tp_Smapi-dkms");
        assert_eq!(debian_version("0.4.5-1~bpo12+1", "2"), "0.4.5-1~bpo12+1-2");
        assert_eq!(debian_version("v1.0_x", "1"), "1.0.x-1");
        assert_eq!(debian_version("git20240101", "1"), "0.git20240101-1");
        assert_eq!(rpm_version("0.4.5-1~bpo12+1"), "0.4.5.1~bpo12+1");
        assert_eq!(one_line("a\n b"), "a b");
        assert_eq!(capitalized("kernel driver x"), "Kernel driver x");
        assert_eq!(capitalized("eBPF x"), "eBPF x");
        assert_eq!(capitalized(""), "");
        assert_eq!(rpm_of_modules("zfs-dkms"), "zfs");
        assert_eq!(rpm_of_modules("qemu-edu"), "qemu-edu");
        assert!(is_revision("1~mine+2") && !is_revision("") && !is_revision("1-2") && !is_revision("1\n"));
    }
}
