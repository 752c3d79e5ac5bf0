//! Staged rollouts: which machines take part.

use sha2::{Digest, Sha256};

use crate::document::record::Rollout;

impl Rollout {
    /// Whether the machine takes part: by one of its rings, or because its place falls below [`Rollout::permille`].
    ///
    /// `machine_id` is any stable secret of the machine, such as the content of /etc/machine-id; it never leaves it.
    pub fn takes_in(&self, machine_id: &str, rings: &[String]) -> bool {
        self.rings.iter().any(|ring| rings.contains(ring)) || place(&self.salt, machine_id) < self.permille
    }
}

/// The machine's place in a rollout, 0 to 999: the first eight bytes of SHA-256 over salt, a zero byte and machine id, as a
/// big-endian number, modulo 1000. Equal on every run, and another one in every rollout. Raising the permille only adds
/// machines.
fn place(salt: &str, machine_id: &str) -> u16 {
    let digest = Sha256::new()
        .chain_update(salt)
        .chain_update([0])
        .chain_update(machine_id)
        .finalize();
    let first = digest.iter().take(8).fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
    (first % 1000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(permille: u16) -> Rollout {
        Rollout {
            permille,
            salt: "r8168-8.054".into(),
            rings: vec!["canary".into()],
        }
    }

    #[test]
    fn the_share_is_as_announced_and_only_grows() {
        let share = |permille| (0..2000).filter(move |n| rollout(permille).takes_in(&format!("machine-{n}"), &[]));
        assert_eq!(share(0).count(), 0);
        assert_eq!(share(1000).count(), 2000);
        let quarter: Vec<i32> = share(250).collect();
        assert!((400..600).contains(&quarter.len()), "{} of 2000", quarter.len());
        let half: Vec<i32> = share(500).collect();
        assert!(quarter.iter().all(|n| half.contains(n)));
    }

    #[test]
    fn another_salt_chooses_other_machines() {
        let other = Rollout {
            salt: "other".into(),
            ..rollout(500)
        };
        let differing = (0..1000).filter(|n| {
            let id = format!("machine-{n}");
            rollout(500).takes_in(&id, &[]) != other.takes_in(&id, &[])
        });
        assert!(differing.count() > 300);
    }

    #[test]
    fn rings_always_take_part() {
        let check = |ring: &str, expected| assert_eq!(rollout(0).takes_in("m", &[ring.to_owned()]), expected, "{ring}");
        check("canary", true);
        check("stable", false);
    }
}
