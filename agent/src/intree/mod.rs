//! Which devices a kernel drives by itself: the aliases of its own modules, loadable and built in.
//!
//! Packages that were installed beside the kernel show up in `modules.alias` too. They are told apart by
//! `modules.order`, the list of what the kernel's own build installed, and by the place where depmod found a module of such a name.

mod files;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use dkms_engine::root::Root;
use dkms_index::modalias::Modalias;
use dkms_index::pattern::{FieldValue, Pattern, PatternProblem};

use files::{aliases, builtin_aliases, builtin_names, found_elsewhere, module_name, shipped, shipped_names};

/// What the files of a kernel say, as it was read.
#[derive(Debug)]
pub struct InTree {
    alias: Vec<u8>,
    builtin: Vec<u8>,
    /// `None` where the kernel has no `modules.order`: then every module below `kernel/` counts as its own.
    order: Option<Vec<u8>>,
    /// `modules.dep`: where depmod found each module.
    dep: Vec<u8>,
}

/// The modules that claim one modalias or device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The kernel's own.
    pub own: Vec<KernelClaim>,
    /// Those that were installed beside the kernel's or in their place, by a DKMS package for instance.
    pub installed: Vec<KernelClaim>,
}

/// One of the kernel's own modules that claims a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelClaim {
    /// The module.
    pub module: String,
    /// The alias pattern that matches.
    pub pattern: String,
}

impl InTree {
    /// Reads the kernel `release` below `root`; `None` when only its headers are there, so that its modules are not known.
    ///
    /// # Errors
    /// When a file is there and cannot be read, or the kernel has modules and depmod has not yet listed what they drive: every device
    /// would seem to lack a driver.
    pub fn read(root: &Root, release: &str) -> Result<Option<Self>, InTreeError> {
        let content = |name: &str| {
            let path = root.join(format!("/lib/modules/{release}/{name}"));
            match fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(InTreeError::Unreadable { path, source }),
            }
        };
        let builtin = content("modules.builtin.modinfo")?;
        let alias = content("modules.alias")?;
        // Installing a package makes a modules.alias even where there are only headers.
        let order = content("modules.order")?;
        if builtin.is_none() && order.is_none() {
            return Ok(None);
        }
        if alias.is_none() && order.as_ref().is_some_and(|order| !order.is_empty()) {
            return Err(InTreeError::Unlisted {
                root: root.clone(),
                release: release.to_owned(),
            });
        }
        Ok(Some(Self {
            alias: alias.unwrap_or_default(),
            builtin: builtin.unwrap_or_default(),
            order,
            dep: content("modules.dep")?.unwrap_or_default(),
        }))
    }

    /// For each modalias the modules that claim it, in the kernel's order.
    ///
    /// One walk over all patterns. A pattern is tried on the run of sorted modaliases that begin with its literal prefix. For most of
    /// a kernel's 26,000 patterns there is none; `Heads` rules out most of those without a search.
    pub fn claims(&self, modaliases: &[&Modalias]) -> Vec<Claims> {
        let folded: Vec<Modalias> = modaliases.iter().map(|m| fold_modalias(m)).collect();
        let mut sorted: Vec<(&[u8], usize)> = folded.iter().map(Modalias::as_bytes).zip(0..).collect();
        sorted.sort_unstable();
        let heads = Heads::of(&sorted);
        let mut found = vec![Vec::new(); modaliases.len()];
        for (pattern, module) in aliases(&self.alias).chain(builtin_aliases(&self.builtin)) {
            if !heads.may_have(pattern) {
                continue;
            }
            let prefix = fold(literal_prefix(pattern));
            let from = sorted.partition_point(|(modalias, _)| *modalias < &*prefix);
            let run = sorted[from..]
                .iter()
                .take_while(|(modalias, _)| modalias.starts_with(&prefix));
            if run.clone().next().is_none() {
                continue;
            }
            let Some(matcher) = kernel_pattern(pattern) else {
                continue;
            };
            for &(_, i) in run.filter(|&&(_, i)| matcher.matches(&folded[i])) {
                found[i].push(KernelClaim {
                    module: module_name(module).into_owned(),
                    pattern: String::from_utf8_lossy(pattern).into_owned(),
                });
            }
        }
        let own = self.own_of(&found);
        let divide = |claims: Vec<KernelClaim>| {
            let (own, installed) = claims.into_iter().partition(|claim| own.contains(&claim.module));
            Claims { own, installed }
        };
        found.into_iter().map(divide).collect()
    }

    /// The names of the kernel's own modules, loadable and built in. `-` is written as `_`.
    pub fn own_modules(&self) -> BTreeSet<String> {
        let loadable = shipped_names(self.order.as_deref().unwrap_or_default());
        let mut names = self.built_in_modules();
        names.extend(loadable.map(Cow::into_owned));
        names
    }

    /// The names of the modules that are built in. `-` is written as `_`.
    pub fn built_in_modules(&self) -> BTreeSet<String> {
        builtin_names(&self.builtin).map(Cow::into_owned).collect()
    }

    /// Those of the claiming modules that are the kernel's own: its build installed one of the name, and depmod found no other one in its
    /// place.
    fn own_of(&self, found: &[Vec<KernelClaim>]) -> HashSet<String> {
        let claiming: HashSet<String> = found.iter().flatten().map(|claim| claim.module.clone()).collect();
        let replaced = found_elsewhere(&self.dep, &claiming);
        let mut own = match &self.order {
            Some(order) => shipped(order, &claiming),
            None => claiming,
        };
        own.retain(|module| !replaced.contains(module));
        own
    }
}

impl KernelClaim {
    /// Whether the pattern names neither a vendor nor a class: such a driver (`hid_generic`) is a fallback.
    pub fn is_fallback(&self) -> bool {
        let fields = Pattern::parse(&self.pattern).ok().and_then(|pattern| pattern.fields());
        fields.is_some_and(|fields| {
            ["v", "d", "p", "bc", "sc", "dc", "ic", "isc", "c", "g"]
                .iter()
                .all(|name| !matches!(fields.get(name), Some(FieldValue::Fixed(_) | FieldValue::Partly)))
        })
    }
}

/// A pattern as kmod reads it: `-` is `_` outside brackets, and unmatched brackets drop it.
fn kernel_pattern(pattern: &[u8]) -> Option<Pattern> {
    if !pattern.iter().any(|b| b"[]".contains(b)) {
        return Pattern::parse(fold(pattern)).ok();
    }
    let mut depth = 0_u32;
    let mut folded = pattern.to_vec();
    for byte in &mut folded {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            b'-' if depth == 0 => *byte = b'_',
            _ => {}
        }
    }
    let pattern = Pattern::parse(folded).ok()?;
    (!pattern.problems().contains(&PatternProblem::UnpairedBracket)).then_some(pattern)
}

/// The bytes before the first special character.
fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'));
    &pattern[..end.unwrap_or(pattern.len())]
}

/// How modaliases begin: a set of hashes of their [`HEAD_BYTES`] first bytes, one bit each, with false positives.
struct Heads([u64; 16]);

/// Enough for the vendor on pci, and for the vendor and the product on usb: two thirds of all patterns are of these.
const HEAD_BYTES: usize = 14;

impl Heads {
    fn of(modaliases: &[(&[u8], usize)]) -> Self {
        let mut heads = Self([0; 16]);
        for head in modaliases.iter().filter_map(|(modalias, _)| modalias.first_chunk()) {
            let (word, mask) = Self::bit_of(head);
            heads.0[word] |= mask;
        }
        heads
    }

    /// Whether some modalias may begin as `pattern` does: always, unless it begins with that many literal bytes.
    fn may_have(&self, pattern: &[u8]) -> bool {
        let Some(head) = pattern.first_chunk::<HEAD_BYTES>() else {
            return true;
        };
        let is_special = |b: &u8| matches!(b, b'*' | b'?' | b'[' | b'\\' | b'-');
        // Without a branch for each byte.
        if head.iter().fold(false, |any, b| any | is_special(b)) {
            return true;
        }
        let (word, mask) = Self::bit_of(head);
        self.0[word] & mask != 0
    }

    fn bit_of(head: &[u8; HEAD_BYTES]) -> (usize, u64) {
        let word = |at: usize| {
            head[at..at + 8]
                .iter()
                .rev()
                .fold(0, |word, &b| word << 8 | u64::from(b))
        };
        let hash = (word(0).rotate_left(23) ^ word(HEAD_BYTES - 8)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash >> 60) as usize, 1 << (hash >> 54 & 63))
    }
}

fn fold(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.contains(&b'-') {
        Cow::Owned(bytes.iter().map(|&b| if b == b'-' { b'_' } else { b }).collect())
    } else {
        Cow::Borrowed(bytes)
    }
}

fn fold_modalias(modalias: &Modalias) -> Modalias {
    Modalias::parse(fold(modalias.as_bytes())).unwrap_or_else(|_| modalias.clone())
}

/// Why a kernel's own modules could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum InTreeError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// There are modules, and no `modules.alias`.
    #[error("kernel {release} has modules, but no {}", aliases_of(root, release).display())]
    Unlisted {
        /// Where the kernel is.
        root: Root,
        /// Its release.
        release: String,
    },
}

impl InTreeError {
    /// Suggested fix.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => format!("ls -l {}", path.display()),
            Self::Unlisted { root, release } if root.is_host() => format!("depmod {release}"),
            Self::Unlisted { root, release } => format!("depmod -b {} {release}", root.path().display()),
        }
    }
}

fn aliases_of(root: &Root, release: &str) -> PathBuf {
    root.join(format!("/lib/modules/{release}/modules.alias"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(alias: &str, builtin: &str, order: Option<&str>, modalias: &str) -> Vec<String> {
        let tree = InTree {
            alias: alias.into(),
            builtin: builtin.into(),
            order: order.map(Into::into),
            dep: b"updates/dkms/replaced.ko: kernel/drivers/net/mii.ko\n".into(),
        };
        let modalias = Modalias::parse(modalias).unwrap();
        let other = Modalias::parse("pci:v0000FFFFd0000FFFF").unwrap();
        let mut found = tree.claims(&[&other, &modalias, &modalias]);
        assert_eq!(found[1], found[2], "twins have equal claims");
        assert!(found[0].own.is_empty(), "{:?}", found[0]);
        found.remove(1).own.into_iter().map(|claim| claim.module).collect()
    }

    #[test]
    fn only_the_kernels_own_modules_count() {
        let check = |alias: &str, builtin: &str, order: Option<&str>, modalias: &str, expected: &[&str]| {
            assert_eq!(claims(alias, builtin, order, modalias), expected, "{modalias}");
        };
        let alias =
            "alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\nalias pci:v000010ECd00008168sv*sd*bc*sc*i* r8168\n";
        let device = "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00";
        check(alias, "", None, device, &["r8169", "r8168"]);
        // One that is in the place of the kernel's does not count either.
        let replaced = "alias pci:v000010ECd00008168sv*sd*bc*sc*i* replaced\n";
        check(replaced, "", None, device, &[]);
        check(replaced, "", Some("kernel/drivers/net/replaced.ko\n"), device, &[]);
        // What was installed beside the kernel is in modules.alias too, and does not count.
        check(
            alias,
            "",
            Some("kernel/drivers/net/ethernet/realtek/r8169.ko.xz\n"),
            device,
            &["r8169"],
        );
        check(
            "",
            "rtc_cmos.alias=platform:rtc_cmos\0",
            None,
            "platform:rtc_cmos",
            &["rtc_cmos"],
        );
        // kmod's rules: - is _, and a pattern with unmatched brackets is dropped.
        check(
            "alias platform:a-b* x-y\n",
            "",
            Some("kernel/x-y.ko\n"),
            "platform:a_b-c",
            &["x_y"],
        );
        check(
            "alias platform:a[b x\nalias platform:a[0-9] y\n",
            "",
            None,
            "platform:a[b",
            &[],
        );
        check("alias * any\n", "", Some("kernel/other.ko\n"), "platform:x", &[]);
    }

    #[test]
    fn fallback_drivers_are_recognised() {
        let check = |pattern: &str, expected: bool| {
            let claim = KernelClaim {
                module: "m".into(),
                pattern: pattern.into(),
            };
            assert_eq!(claim.is_fallback(), expected, "{pattern}");
        };
        check("hid:b*g*v*p*", true);
        check("hid:b0003g*v0000256Cp0000006E", false);
        check("pci:v*d*sv*sd*bc01sc06i01*", false);
        check("usb:v*p*d*dc*dsc*dp*ic03isc*ip*in*", false);
        check("acpi*:PNP0C0A:*", false);
    }
}
