//! Showing bytes of unknown origin to people.

use std::fmt::{self, Write as _};

/// Writes printable ASCII as it is and every other byte as `\xNN`.
pub(crate) fn escape(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b' '..=b'~' => f.write_char(char::from(byte))?,
            _ => write!(f, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}
