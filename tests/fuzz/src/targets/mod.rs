//! One function for each kind of input.

mod archives;
mod conf_output;
mod conf_plain;
mod config;
mod control_files;
mod devices;
mod dsc;
mod index;
mod modules;
mod patterns;
mod source_tables;
mod trust;

pub use archives::run as archives;
pub use conf_output::run as conf_output;
pub use conf_plain::run as conf_plain;
pub use config::run as config;
pub use control_files::run as control_files;
pub use devices::run as devices;
pub use dsc::run as dsc;
pub use index::run as index;
pub use modules::run as modules;
pub use patterns::run as patterns;
pub use source_tables::run as source_tables;
pub use trust::run as trust;

/// What tries one input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its directory of seeds.
pub const TARGETS: [(&str, Target); 12] = [
    ("archives", archives),
    ("conf_output", conf_output),
    ("conf_plain", conf_plain),
    ("config", config),
    ("control_files", control_files),
    ("devices", devices),
    ("dsc", dsc),
    ("index", index),
    ("modules", modules),
    ("patterns", patterns),
    ("source_tables", source_tables),
    ("trust", trust),
];
