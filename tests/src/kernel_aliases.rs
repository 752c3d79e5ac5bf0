//! The alias patterns of a real kernel.

use dkms_index::pattern::Pattern;

use crate::inputs;

/// `modules.alias` of the kernel `release`: pattern and module, in the order of the file.
///
/// # Panics
/// When the file is not there, or a line of it is no pattern: every one of a real kernel must be.
pub fn read(release: &str) -> Vec<(Pattern, String)> {
    let path = inputs::kernel_root(release).join(format!("lib/modules/{release}/modules.alias"));
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}\nhint: make setup", path.display()));
    text.split(|&b| b == b'\n')
        .filter_map(|line| line.strip_prefix(b"alias "))
        .map(|line| {
            let space = line.iter().rposition(|&b| b == b' ').expect("pattern and module");
            let pattern = Pattern::parse(&line[..space]);
            let module = String::from_utf8_lossy(&line[space + 1..]).into_owned();
            (
                pattern.unwrap_or_else(|e| panic!("{}: {e}", line.escape_ascii())),
                module,
            )
        })
        .collect()
}
