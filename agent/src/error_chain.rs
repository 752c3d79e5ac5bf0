//! An error with its causes: as one line of text, and as a search for a full disk.

use std::error::Error;

use crate::files::is_full;

/// An error and all its causes, outermost first.
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| error.source())
}

/// An error with its causes on one line. A cause whose text is part of the line already is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// Whether an error, or a cause of it, is a full disk, as the operating system or SQLite reports it.
pub(crate) fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let sqlite = |error: &rusqlite::Error| error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
    causes(error).any(|error| error.downcast_ref().is_some_and(is_full) || error.downcast_ref().is_some_and(sqlite))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: &'static str,
        source: io::Error,
    }

    fn outer(text: &'static str, source: io::Error) -> Outer {
        Outer { text, source }
    }

    #[test]
    fn each_cause_is_printed_once() {
        let check = |text, expected: &str| assert_eq!(chain(&outer(text, io::Error::other("no route"))), expected);
        check("fetch x", "fetch x: no route");
        check("fetch x: no route", "fetch x: no route");
    }

    #[test]
    fn a_full_disk_is_found_below_other_errors() {
        let check = |kind: io::ErrorKind, expected| {
            assert_eq!(is_disk_full(&outer("write", kind.into())), expected, "{kind:?}");
        };
        check(io::ErrorKind::StorageFull, true);
        check(io::ErrorKind::PermissionDenied, false);
    }
}
