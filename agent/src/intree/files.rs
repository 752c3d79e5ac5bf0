//! The files of `/lib/modules/<kernel>` that say which of the kernel's own modules claim which device.

use std::borrow::Cow;
use std::collections::HashSet;

/// The `alias` lines of `modules.alias`: pattern and module.
///
/// A pattern may itself hold anything but a line break; the module is the last field of the line.
pub(super) fn aliases(content: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(content).filter_map(|line| {
        let line = line.strip_prefix(b"alias ")?;
        let space = line.iter().rposition(|&b| b == b' ')?;
        Some((&line[..space], &line[space + 1..]))
    })
}

/// The aliases of modules that are built in, from `modules.builtin.modinfo`: NUL-terminated `module.key=value`.
pub(super) fn builtin_aliases(content: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    content.split(|&b| b == 0).filter_map(|entry| {
        let dot = entry.iter().position(|&b| b == b'.')?;
        Some((entry[dot + 1..].strip_prefix(b"alias=")?, &entry[..dot]))
    })
}

/// The names of the modules that are built in, some of them many times.
pub(super) fn builtin_names(content: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    content.split(|&b| b == 0).filter_map(|entry| {
        let dot = entry.iter().position(|&b| b == b'.')?;
        Some(module_name(&entry[..dot]))
    })
}

/// Which of the modules `asked` came with the kernel, from `modules.order`: paths such as `kernel/fs/ext4/ext4.ko`.
pub(super) fn shipped(order: &[u8], asked: &HashSet<String>) -> HashSet<String> {
    shipped_names(order)
        .filter_map(|name| asked.get(&*name).cloned())
        .collect()
}

/// Which of the modules `asked` depmod found elsewhere than below `kernel/`: there another one is in the place of the kernel's.
pub(super) fn found_elsewhere(dep: &[u8], asked: &HashSet<String>) -> HashSet<String> {
    let others = lines(dep).filter(|line| !line.starts_with(b"kernel/"));
    let paths = others.filter_map(|line| line.split(|&b| b == b':').next());
    names_of(paths).filter_map(|name| asked.get(&*name).cloned()).collect()
}

/// The names of all modules that came with the kernel.
pub(super) fn shipped_names(order: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    names_of(lines(order))
}

/// The names of the modules in these files.
fn names_of<'a>(paths: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = Cow<'a, str>> {
    paths.filter(|path| !path.is_empty()).filter_map(|path| {
        let file = path.rsplit(|&b| b == b'/').next()?;
        let end = file.windows(3).position(|w| w == b".ko").unwrap_or(file.len());
        Some(module_name(&file[..end]))
    })
}

/// A module's own name: the kernel writes `-` as `_`.
pub(super) fn module_name(name: &[u8]) -> Cow<'_, str> {
    let name = String::from_utf8_lossy(name);
    if name.contains('-') {
        Cow::Owned(name.replace('-', "_"))
    } else {
        name
    }
}

/// The lines without their ends; an empty one behind the last end.
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr::memchr_iter(b'\n', content).chain([content.len()]);
    ends.scan(0, |start, end| Some(&content[std::mem::replace(start, end + 1)..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        pairs.map(|(pattern, module)| (text(pattern), text(module))).collect()
    }

    fn expect(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(pattern, module): &(&str, &str)| ((*pattern).to_owned(), (*module).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn alias_lines_are_split_at_the_last_space() {
        let check = |content: &str, expected: &[(&str, &str)]| {
            assert_eq!(text(aliases(content.as_bytes())), expect(expected), "{content:?}");
        };
        check(
            "# Aliases extracted from modules themselves.\nalias pci:v1* r8169\n",
            &[("pci:v1*", "r8169")],
        );
        check(
            "alias dmi:*:pnU90/U100 A:* msi_laptop\nalias platform:x no_line_end",
            &[("dmi:*:pnU90/U100 A:*", "msi_laptop"), ("platform:x", "no_line_end")],
        );
        check("alias broken\n\nblacklist x\n", &[]);
    }

    #[test]
    fn builtin_modinfo_gives_aliases_only() {
        let content = b"zbud.alias=zpool-zbud\0zbud.license=GPL\0rtc_cmos.alias=platform:rtc_cmos\0nonsense\0";
        assert_eq!(
            text(builtin_aliases(content)),
            expect(&[("zpool-zbud", "zbud"), ("platform:rtc_cmos", "rtc_cmos")])
        );
    }

    #[test]
    fn shipped_modules_go_by_their_own_name() {
        let asked = ["hid_generic", "x_tables", "r8168"].map(str::to_owned).into();
        let set = shipped(
            b"kernel/drivers/hid/hid-generic.ko\nkernel/net/x_tables.ko.xz\nkernel/fs/ext4/ext4.ko\n",
            &asked,
        );
        assert_eq!(set, HashSet::from(["hid_generic".to_owned(), "x_tables".to_owned()]));
    }

    #[test]
    fn a_module_in_the_place_of_the_kernels_is_not_the_kernels() {
        let asked = ["x8139too", "ext4"].map(str::to_owned).into();
        let dep = b"kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko\nupdates/dkms/x8139too.ko.xz: kernel/drivers/net/mii.ko\nextra/y.ko:\n";
        assert_eq!(found_elsewhere(dep, &asked), HashSet::from(["x8139too".to_owned()]));
    }
}
