# Sourced by the scripts beside it that install packages in a Debian of their own: steps that must succeed, and the Debians.
# The script sets `work`, the directory for everything that it makes, before it calls any of these.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
programs=$(realpath "${PROGRAMS:-${CARGO_TARGET_DIR:-target}/release}")
inputs=$(realpath "${DKMS_TEST_INPUTS:-target/inputs}")

say() { printf '%s\n' "$*" >&2; }
die() { say "e2e: $1"; say "hint: $2"; exit 1; }
title() { printf '\n== %s\n' "$*" >&2; }

# as_root SCRIPT ARGUMENT…: goes on as root.
as_root() {
  [ "$(id -u)" != 0 ] || return 0
  command -v sudo >/dev/null || die "a Debian can be made by root only, and there is no sudo" "as root: make e2e"
  say "e2e: asking sudo for: $*"
  exec sudo --preserve-env=CARGO_TARGET_DIR,PROGRAMS,DKMS_TEST_INPUTS,E2E_DIR,DKMS_E2E_ACCEL,DKMS_E2E_KEEP,UBUNTU_DRIVERS,http_proxy,https_proxy "$@"
}

# need_inputs PROGRAM…: what `make e2e` has made before it.
need_inputs() {
  local program
  for program in "$@"; do [ -x "$programs/$program" ] || die "$programs/$program is not there" "make build"; done
  [ -f "$inputs/apt/sources.list" ] || die "no list of apt sources in $inputs/apt" "scripts/setup.sh e2e"
}

# need_by_apt PROGRAM PACKAGE…: installs the packages unless the program is there.
need_by_apt() {
  command -v "$1" >/dev/null && return 0
  shift
  say "e2e: installing by apt: $*"
  apt-get install -y -q --no-install-recommends "$@" >&2 || die "could not be installed: $*" "apt-get update"
}

failed=0
# expect WHAT COMMAND…: must succeed.
expect() {
  local what=$1; shift
  if "$@" >"$work/expect.log" 2>&1; then say "   ok: $what"; else
    say "   FAILED: $what"; tail -n 40 "$work/expect.log" | sed 's/^/      /' >&2; failed=1
  fi
  { echo "== $what"; cat "$work/expect.log"; } >>"$work/all.log"
}
# rpmlint_finds_nothing SETTINGS RPM…: neither errors nor warnings.
rpmlint_finds_nothing() {
  rpmlint -c "$@" >"$work/rpmlint" || true
  cat "$work/rpmlint"
  grep -q ' 0 errors, 0 warnings' "$work/rpmlint"
}
nothing_in() { [ ! -s "$1" ] || { cat "$1"; false; }; }

# inside ROOT LINE: runs a line of shell in it, in namespaces of its own: mounts and processes end with the line.
inside() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive unshare --mount --pid --fork --kill-child bash -c '
      set -e
      mount --bind "$1" "$1" && cd "$1"
      mount -t proc proc proc && mount --rbind /dev dev
      if [ -d var/cache/apt ]; then mount --bind "$2" var/cache/apt/archives; fi
      exec chroot . bash -ec "$3"' inside "$1" "$work/archives-${1##*/}" "$2" </dev/null
}

# base SUITE PACKAGES [NAME]: a Debian with these packages in $work/NAME, by default $work/SUITE, in which no service is started.
base() {
  local suite=$1 include=$2 name=${3:-$1} root tar=$work/$1.tar
  root=$work/$name
  if [ ! -f "$tar" ] || [ "$(cat "$tar.packages" 2>/dev/null)" != "$include" ]; then
    say "e2e: making a small $suite"
    sed "s/bookworm/$suite/g" "$inputs/apt/sources.list" | mmdebstrap --quiet --variant=minbase --format=tar --include="$include" "$suite" \
      "$tar.part" - >&2 || die "mmdebstrap failed" "is the network up?"
    mv "$tar.part" "$tar" && echo "$include" >"$tar.packages"
  fi
  mkdir -p "$work/archives-$name/partial"
  rm -rf "${root:?}" && mkdir "$root"
  tar -C "$root" --exclude='./dev/*' -xpf "$tar"
  mknod -m 666 "$root/dev/null" c 1 3
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod 755 "$root/usr/sbin/policy-rc.d"
  printf 'APT::Sandbox::User "root";\nAPT::Install-Recommends "false";\n' >"$root/etc/apt/apt.conf.d/90e2e"
  inside "$root" 'apt-get update -q >&2'
}

# finish WHAT: ends the script.
finish() {
  [ $failed = 0 ] || die "not as it should be" "the output of every step is in $work/all.log"
  say "e2e: $*"
}
