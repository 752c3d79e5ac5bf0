//! The users that builds run as. Builds that run at the same time have different users.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The user where this user namespace has no unused one.
const NOBODY: u32 = 65534;

/// Numbers that distributions and systemd leave unused (systemd's "Users, Groups, UIDs and GIDs": 60578 to 61183).
const UNUSED: std::ops::Range<u32> = 60578..61184;

/// The numbers that this process uses now.
static IN_USE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// The user (and group) of one build or evaluation. A number that no other one of this process has is free again when the last clone of
/// the value is dropped.
///
/// Another process may use the same number for a build of its own. They share no files, processes or IPC: only the kernel's count of
/// processes is common to both.
#[derive(Debug, Clone)]
pub struct Account {
    reserved: Option<Arc<Reserved>>,
}

/// A number in [`IN_USE`].
#[derive(Debug)]
struct Reserved(u32);

impl Account {
    /// A user that no other build of this process has; our own user where we are not root.
    pub fn reserve() -> Account {
        if !rustix::process::geteuid().is_root() {
            return Account::ours();
        }
        let mut used = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        // The search begins at a number that depends on the process, so that two processes seldom use the same one.
        let len = UNUSED.end - UNUSED.start;
        let first = std::process::id().wrapping_mul(37) % len;
        let free = (0..len)
            .map(|n| UNUSED.start + (first + n) % len)
            .find(|id| !used.contains(id) && is_mapped(*id));
        let id = free.unwrap_or(NOBODY);
        used.insert(id);
        Account {
            reserved: Some(Arc::new(Reserved(id))),
        }
    }

    /// The user that we run as.
    pub fn ours() -> Account {
        Account { reserved: None }
    }

    /// Its number; None for the user that we run as.
    pub fn id(&self) -> Option<u32> {
        self.reserved.as_ref().map(|reserved| reserved.0)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        IN_USE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Whether only builds run as the user `id`.
pub(super) fn is_private(id: u32) -> bool {
    UNUSED.contains(&id)
}

/// Whether this user namespace maps the number (user_namespaces(7)); that of a container may map 65,536 of them or fewer.
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
    fn a_number_is_free_again_after_the_last_clone() {
        let account = Account::reserve();
        let Some(id) = account.id() else {
            assert!(!rustix::process::geteuid().is_root());
            return;
        };
        let is_used = || IN_USE.lock().expect("lock").contains(&id);
        let clone = account.clone();
        drop(account);
        assert!(is_used());
        drop(clone);
        assert!(id == NOBODY || !is_used());
    }

    #[test]
    fn builds_at_the_same_time_have_different_users() {
        let accounts: Vec<Account> = (0..20).map(|_| Account::reserve()).collect();
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
