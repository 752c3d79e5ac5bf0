//! The users that builds run as: each build that runs at the same time has one of its own.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The user that owns nothing, of a machine whose user namespace has no other one to give.
const NOBODY: u32 = 65534;

/// Numbers that distributions and systemd leave unused (systemd's "Users, Groups, UIDs and GIDs": 60578 to 61183).
const UNUSED: std::ops::Range<u32> = 60578..61184;

/// Those that this process uses now.
static IN_USE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A user id (and group id) lent to one build; given back when the value is dropped.
///
/// Another process may lend the same number to a build of its own. They share no files, processes or IPC: only the kernel's count of
/// processes is common to both.
#[derive(Debug)]
pub struct Account {
    id: Option<u32>,
}

impl Account {
    /// One that no other build of this process has; where we are not root it is our own user.
    pub fn lend() -> Account {
        if !rustix::process::geteuid().is_root() {
            return Account { id: None };
        }
        let mut used = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        // Begin at a place of our own, so that two processes seldom use the same number.
        let len = UNUSED.end - UNUSED.start;
        let first = std::process::id().wrapping_mul(37) % len;
        let free = (0..len)
            .map(|n| UNUSED.start + (first + n) % len)
            .find(|id| !used.contains(id) && is_mapped(*id));
        let id = free.unwrap_or(NOBODY);
        used.insert(id);
        Account { id: Some(id) }
    }

    /// Its number; None where commands run as we do.
    pub fn id(&self) -> Option<u32> {
        self.id
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            IN_USE.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
    }
}

/// Whether only builds run as the user `id`.
pub(super) fn is_private(id: u32) -> bool {
    UNUSED.contains(&id)
}

/// Whether this user namespace has the number (user_namespaces(7)); a container may have 65,536 of them or fewer.
fn is_mapped(id: u32) -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else {
        return true;
    };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (inside, _, count) = (numbers.next(), numbers.next(), numbers.next());
        matches!((inside, count), (Some(inside), Some(count)) if (inside..inside + count).contains(&u64::from(id)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_at_the_same_time_have_different_users() {
        let accounts: Vec<Account> = (0..20).map(|_| Account::lend()).collect();
        let ids: BTreeSet<u32> = accounts.iter().filter_map(Account::id).collect();
        if rustix::process::geteuid().is_root() && is_mapped(UNUSED.start) && is_mapped(UNUSED.end) {
            assert_eq!(ids.len(), 20);
            assert!(!ids.contains(&0));
            let one = *ids.first().expect("an id");
            drop(accounts);
            assert!(!IN_USE.lock().expect("lock").contains(&one));
        } else {
            assert!(ids.is_empty() || ids.contains(&NOBODY));
        }
    }
}
