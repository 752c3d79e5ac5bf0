//! The system calls that no build needs and that attacks on the kernel or on other processes use.
//!
//! A filter that denies, not one that allows: compilers, interpreters and their libraries differ too much between distributions, and what
//! must be out of reach is known by name. Denied calls fail with EPERM, so that programs that only try go on. The numbers are those of
//! the machine we run on (seccomp(2)).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

/// Mounts and namespaces; other processes; the kernel's keys, programs and modules; the clock; every socket.
const DENIED: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_socket,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
];

/// The flags of clone(2) that make namespaces.
const CLONE_NEW: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// The allowed arguments of personality(2): PER_LINUX, and the query of the current value.
const PERSONALITIES: [u64; 2] = [0, 0xffff_ffff];

/// The filter, made once; None on a machine for which it cannot be made (seccompiler knows x86_64, aarch64 and riscv64).
pub(super) fn filter() -> Option<&'static BpfProgram> {
    static FILTER: OnceLock<Option<BpfProgram>> = OnceLock::new();
    FILTER.get_or_init(|| make().ok()).as_ref()
}

/// The same as bytes in the machine's order: `struct sock_filter[]`, as bubblewrap reads it.
pub(super) fn filter_bytes() -> Option<Vec<u8>> {
    let filter = filter()?;
    let bytes = |op: &sock_filter| -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (op.code.to_ne_bytes(), op.k.to_ne_bytes());
        [c0, c1, op.jt, op.jf, k0, k1, k2, k3]
    };
    Some(filter.iter().flat_map(bytes).collect())
}

fn make() -> Result<BpfProgram, seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|&call| (call, Vec::new())).collect();
    // Any of the flags: one rule for each bit.
    let mut clone = Vec::new();
    for bit in (0..32)
        .map(|n| 1_u64 << n)
        .filter(|bit| u64::from(CLONE_NEW.unsigned_abs()) & bit != 0)
    {
        clone.push(rule(0, SeccompCmpOp::MaskedEq(bit), bit)?);
    }
    rules.insert(libc::SYS_clone, clone);
    let unknown = PERSONALITIES.map(|value| condition(0, SeccompCmpOp::Ne, value));
    let unknown = unknown.into_iter().collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(unknown)?]);
    // TIOCSTI and TIOCLINUX can put input into the terminal of the caller (ioctl_tty(2)).
    let tty = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| rule(1, SeccompCmpOp::Eq, request));
    rules.insert(libc::SYS_ioctl, tty.into_iter().collect::<Result<_, _>>()?);
    let mut program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)?.try_into()?;
    // Its flags are in memory, which a filter cannot read. Programs that get ENOSYS use clone(2).
    let first = rules_begin(&program);
    program.splice(first..first, refuse(libc::SYS_clone3, libc::ENOSYS));
    // The numbers of x32 begin there; a kernel without x32 has none of them.
    #[cfg(target_arch = "x86_64")]
    program.splice(
        first..first,
        [jump_if(BPF_JGE, 0x4000_0000, 0, 1), ret_errno(libc::ENOSYS)],
    );
    Ok(program)
}

fn condition(arg: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(arg, SeccompCmpArgLen::Dword, op, value)
}

fn rule(arg: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![condition(arg, op, value)?])
}

/// BPF_LD | BPF_W | BPF_ABS (linux/filter.h): what loads the number of the call.
const BPF_LOAD: u16 = 0x20;
/// BPF_JMP | BPF_JEQ | BPF_K.
const BPF_JEQ: u16 = 0x15;
/// BPF_JMP | BPF_JGE | BPF_K.
#[cfg(target_arch = "x86_64")]
const BPF_JGE: u16 = 0x35;
/// BPF_RET | BPF_K.
const BPF_RET: u16 = 0x06;
/// SECCOMP_RET_ERRNO (linux/seccomp.h).
const RET_ERRNO: u32 = 0x0005_0000;

/// The place behind the load of the number of the call, which follows the check of the architecture.
fn rules_begin(program: &BpfProgram) -> usize {
    let loads_number = |op: &sock_filter| op.code == BPF_LOAD && op.k == 0;
    program.iter().position(loads_number).map_or(program.len(), |at| at + 1)
}

fn jump_if(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn ret_errno(errno: i32) -> sock_filter {
    jump_if(BPF_RET, RET_ERRNO | errno.unsigned_abs(), 0, 0)
}

fn refuse(call: libc::c_long, errno: i32) -> [sock_filter; 2] {
    [
        jump_if(BPF_JEQ, u32::try_from(call).unwrap_or(u32::MAX), 0, 1),
        ret_errno(errno),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_begins_with_the_architecture_and_then_our_own_rules() {
        let filter = filter().expect("this architecture is known");
        let at = rules_begin(filter);
        assert!(at > 1 && at < 8, "{at}");
        assert_eq!(filter_bytes().map(|bytes| bytes.len()), Some(filter.len() * 8));
        let refused = refuse(libc::SYS_clone3, libc::ENOSYS);
        assert!(filter.windows(2).any(|pair| pair == refused));
    }
}
