//! How long servers may keep a run waiting.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// The table `[network]` of `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// How long a connection may take.
    pub connect_s: Seconds,
    /// How long a server may send nothing, or less than 1 KiB a second.
    pub idle_s: Seconds,
    /// How long all metadata of a run may take.
    pub metadata_s: Seconds,
    /// How long a mirror is waited for before the next one is asked too.
    pub next_mirror_s: Seconds,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            connect_s: Seconds(Duration::from_secs(10)),
            idle_s: Seconds(Duration::from_secs(30)),
            metadata_s: Seconds(Duration::from_secs(90)),
            next_mirror_s: Seconds(Duration::from_secs(2)),
        }
    }
}

/// A time in seconds, which may have a fraction: 0.1 s to a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(Duration);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        if (0.1..=86_400.0).contains(&seconds) {
            Ok(Self(Duration::from_secs_f64(seconds)))
        } else {
            Err(format!("a time is 0.1 to 86400 s; {seconds} is not"))
        }
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds: f64 = text
            .parse()
            .map_err(|_| format!("{text:?} is not a number of seconds"))?;
        seconds.try_into()
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_bounded() {
        let check = |text: &str, expected: Option<u64>| {
            let found = text.parse::<Seconds>().ok().map(|time| time.0.as_millis());
            assert_eq!(found, expected.map(u128::from), "{text}");
        };
        check("90", Some(90_000));
        check("0.5", Some(500));
        check("86400", Some(86_400_000));
        for bad in ["0", "-1", "86401", "nan", "inf", "", "10s"] {
            check(bad, None);
        }
    }
}
