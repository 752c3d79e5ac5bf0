# What a package may try, one line an attempt: `PHASE NAME reached` or `PHASE NAME refused`.
# Arguments: the phase, a readable secret outside, the port of a listener on the loopback, a process outside.
phase=$1 secret=$2 port=$3 process=$4
attempt() {
  local name=$1
  shift
  if ("$@") >/dev/null 2>&1 </dev/null; then echo "ATTEMPT $phase $name reached"; else echo "ATTEMPT $phase $name refused"; fi
}
write() { echo attempt >"$1"; }
connect() { exec 3<>"/dev/tcp/127.0.0.1/$port"; }
environment_of_init() { tr '\0' '\n' </proc/1/environ | grep -vxFf <(env) | grep .; }
environment_of_caller() { env | grep -E '^(SECRET_OF|CARGO_MANIFEST)'; }
process_of_the_test() { grep -q ^integration "/proc/$process/comm"; }
other_files() { ls -A "$1" | grep .; }
attempt write-etc write /etc/attempt
attempt write-usr write /usr/bin/attempt
attempt write-usr-src write /usr/src/attempt
attempt write-modules write /lib/modules/attempt
attempt write-tree write /var/lib/dkms/attempt
attempt write-top write /attempt
attempt write-shm write /dev/shm/attempt
attempt write-sysctl write /proc/sys/kernel/domainname
attempt read-root-home other_files /root
attempt read-home other_files /home
attempt read-var other_files /var/log
attempt read-shadow cat /etc/shadow
attempt read-secret cat "$secret"
attempt read-keys cat /var/lib/dkms/mok.key
attempt environment-of-init environment_of_init
attempt environment-of-caller environment_of_caller
attempt see-processes process_of_the_test
attempt signal-others kill -0 "$process"
attempt connect-loopback connect
attempt unix-socket perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or exit 1'
attempt raw-socket perl -MSocket -e 'socket(S, AF_INET, SOCK_RAW, 1) or exit 1'
attempt resolve-names getent ahosts localhost
attempt mount mount -t tmpfs none /tmp
attempt new-user-namespace unshare --user --map-root-user true
attempt enter-namespace nsenter --target 1 --mount true
attempt hard-link ln "$secret" attempt-link
attempt trace-a-process perl -e 'exit(syscall(101, 16, getppid(), 0, 0) == 0 ? 0 : 1)'
attempt kernel-keys perl -e 'exit(syscall(250, 0, -3, 1) >= 0 ? 0 : 1)'
attempt bpf perl -e '$a = "\0" x 128; exit(syscall(321, 0, $a, 128) >= 0 ? 0 : 1)'
attempt make-a-device mknod /tmp/device c 1 3
attempt raise-limits bash -c 'ulimit -Hn 1000000'
attempt become-root setpriv --reuid 0 true
attempt load-a-module perl -e 'exit(syscall(313, 0, "", 0) == 0 || $! != 1 ? 0 : 1)'
exit 0
