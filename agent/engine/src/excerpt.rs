//! The place in a file that an error is about, to be shown below the error.

use std::error::Error;

use crate::conf::ConfError;
use crate::install::InstallError;
use crate::kbuild::BuildError;

/// The lines of a `dkms.conf` with a caret, where `error` or one of its causes is a syntax error; without a line end after the last line.
pub fn of(error: &(dyn Error + 'static)) -> Option<String> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        // `source()` of a transparent variant skips the error in it, so that has to be taken out by `downcast_ref`.
        let conf = match (error.downcast_ref(), error.downcast_ref()) {
            (Some(BuildError::Conf(conf)), _) | (_, Some(InstallError::Conf(conf))) => Some(conf),
            _ => error.downcast_ref::<ConfError>(),
        };
        conf.and_then(ConfError::snippet)
    })
}
