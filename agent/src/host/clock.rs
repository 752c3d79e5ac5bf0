//! The build date of this program. A clock that shows an earlier time is wrong.

use jiff::Timestamp;

/// The day of the build; `SOURCE_DATE_EPOCH` where the build was given one. A first boot whose clock stands in 1970 takes
/// it for now ([`dkms_index::trust::trusted_now`]).
pub fn built() -> Timestamp {
    let seconds = env!("DKMS_FETCH_BUILT").parse().unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_says_when_it_was() {
        let range = "2025-01-01T00:00:00Z".parse().unwrap()..=Timestamp::now().max(built());
        assert!(range.contains(&built()));
    }
}
