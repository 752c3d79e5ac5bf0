#!/usr/bin/env bash
# The main job on real input: a signed repository made of real driver sources, served on loopback, and `dkms-fetch --auto`
# for recorded machines and this one, into a target root with two real kernels. Everything lies below target/demo.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=$PWD/target/demo
inputs=${DKMS_TEST_INPUTS:-$PWD/target/inputs}
PATH=$PWD/${CARGO_TARGET_DIR:-target}/release:$PATH
root=$demo/root repo=$demo/repo
mapfile -t kernels < <(awk '{print $2}' "$inputs/kernels.txt")

say() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }
show() { printf '\033[2m$ %s\033[0m\n' "$*" >&2; "$@"; }

say "1. A target root with the kernels ${kernels[*]}"
mkdir -p "$root/lib/modules" "$root/usr" "$root/etc/dkms-fetch/repos.d"
for kernel in "${kernels[@]}"; do
  [ -d "$root/lib/modules/$kernel" ] && continue
  cp -al "$inputs/kernels/$kernel/." "$root/"
done

say "2. A signed repository out of Debian's driver packages and a driver of our own"
[ -f "$repo/repo.toml" ] || show dkms-repo init "$repo"
show dkms-repo --repo "$repo" add "$inputs"/debs/{adv-17v35x,xtrx,digimend,langford,ddcci,tp-smapi,v4l2loopback,r8168}-dkms_*.deb fixtures/sources/edu
