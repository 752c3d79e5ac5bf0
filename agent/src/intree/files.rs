//! The files of `/lib/modules/<kernel>` that say which of the kernel's own modules claim which device.

use std::collections::HashSet;

/// The `alias` lines of `modules.alias`: pattern and module.
///
/// A pattern may itself hold anything but a line break; the module is the last word.
pub(super) fn aliases(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
}

/// The aliases of modules that are built in, from `modules.builtin.modinfo`: NUL-terminated `module.key=value`.
pub(super) fn builtin_aliases(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('\0').filter_map(|entry| {
        let (module, field) = entry.split_once('.')?;
        Some((field.strip_prefix("alias=")?, module))
    })
}

/// The names of the modules that came with the kernel, from `modules.order`: paths such as `kernel/fs/ext4/ext4.ko`.
pub(super) fn shipped(text: &str) -> HashSet<String> {
    text.lines()
        .map(|path| {
            let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
            module_name(file.split_once(".ko").map_or(file, |(stem, _)| stem))
        })
        .collect()
}

/// A module's own name: the kernel writes `-` as `_`.
pub(super) fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_lines_are_split_at_the_last_space() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            assert_eq!(aliases(text).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check(
            "# Aliases extracted from modules themselves.\nalias pci:v1* r8169\n",
            &[("pci:v1*", "r8169")],
        );
        check(
            "alias dmi:*:pnU90/U100 A:* msi_laptop\n",
            &[("dmi:*:pnU90/U100 A:*", "msi_laptop")],
        );
        check("alias broken\n\nblacklist x\n", &[]);
    }

    #[test]
    fn builtin_modinfo_gives_aliases_only() {
        let text = "zbud.alias=zpool-zbud\0zbud.license=GPL\0rtc_cmos.alias=platform:rtc_cmos\0nonsense\0";
        assert_eq!(
            builtin_aliases(text).collect::<Vec<_>>(),
            [("zpool-zbud", "zbud"), ("platform:rtc_cmos", "rtc_cmos")]
        );
    }

    #[test]
    fn shipped_modules_go_by_their_own_name() {
        let set = shipped("kernel/drivers/hid/hid-generic.ko\nkernel/net/x_tables.ko.xz\n");
        assert_eq!(set, HashSet::from(["hid_generic".to_owned(), "x_tables".to_owned()]));
    }
}
