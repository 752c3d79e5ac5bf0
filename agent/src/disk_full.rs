//! Whether an error comes from a full disk.

use std::error::Error;

use crate::files::is_full;

/// Whether an error, or a cause of it, is a full disk, as the operating system or SQLite reports it.
pub(crate) fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let sqlite = |error: &rusqlite::Error| error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
    std::iter::successors(Some(error), |&error: &&(dyn Error + 'static)| error.source())
        .any(|error| error.downcast_ref().is_some_and(is_full) || error.downcast_ref().is_some_and(sqlite))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("the file cannot be written")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_full_disk_is_found_below_other_errors() {
        let check = |kind: io::ErrorKind, expected| {
            assert_eq!(is_disk_full(&Outer(kind.into())), expected, "{kind:?}");
        };
        check(io::ErrorKind::StorageFull, true);
        check(io::ErrorKind::PermissionDenied, false);
    }
}
