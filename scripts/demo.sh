#!/usr/bin/env bash
# The main job on real input: a signed repository made of real driver sources, served on loopback, and `dkms-fetch --auto`
# for recorded machines and this one, into a target root with two real kernels. Everything lies below target/demo.
set -euo pipefail
cd "$(dirname "$0")/.."
inputs=${DKMS_TEST_INPUTS:-$PWD/target/inputs}
demo=$PWD/target/demo
root=$demo/root repo=$demo/repo
export PATH=${CARGO_TARGET_DIR:-$PWD/target}/release:$PATH:/usr/sbin:/sbin
# Only root changes a machine, an image included.
as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo env "PATH=$PATH")
mapfile -t kernels < <(awk '{print $2}' "$inputs/kernels.txt")
both=(--kernel "${kernels[0]}" --kernel "${kernels[1]}")

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' dim=$'\033[2m' plain=$'\033[0m'; else bold='' dim='' plain=''; fi
title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain" >&2; }
# Runs a command and shows it as one would type it, without the directories that every line would repeat.
show() { local line="$*"; line=${line//$inputs/inputs}; printf '%s$ %s%s\n' "$dim" "${line//$demo\//}" "$plain" >&2; case $1 in dkms-fetch) "${as_root[@]}" "$@" ;; *) "$@" ;; esac; }
# dkms-fetch for the target root; partly done (6) and pending (7) are outcomes that the table shows, not faults of the demo.
fetch() { local code=0; show dkms-fetch --root "$root" "$@" || code=$?; case $code in 0 | 6 | 7) ;; *) exit "$code" ;; esac; }

title "1. A target root with two real kernels: ${kernels[*]}"
mkdir -p "$root/etc/dkms-fetch/repos.d" "$root/lib/modules" "$root/usr/src" "$root/usr/lib"
cp -L /etc/os-release "$root/etc/os-release"
for kernel in "${kernels[@]}"; do
  [ -d "$root/lib/modules/$kernel" ] || cp -al "$inputs/kernels/$kernel/." "$root/"
done

title "2. A signed repository: Debian's driver packages, and a driver of our own"
[ -f "$repo/repo.toml" ] || show dkms-repo init "$repo" --name demo
show dkms-repo -C "$repo" add "$inputs"/debs/{adv-17v35x,xtrx,digimend,langford,ddcci,tp-smapi,v4l2loopback,r8168}-dkms_*.deb \
  fixtures/sources/edu
show dkms-repo -C "$repo" scan --root "$root" "${both[@]}"
show dkms-repo -C "$repo" publish
show dkms-repo -C "$repo" verify

title "3. Served on loopback"
coproc SERVER { exec dkms-repo -C "$repo" serve --port 0; }
server=$SERVER_PID
trap 'kill "$server" 2>/dev/null || true' EXIT
read -r url <&"${SERVER[0]}"
printf '%s\n' "$url" >&2
cp "$repo/public/metadata/1.root.json" "$root/etc/dkms-fetch/repos.d/demo.root.json"
cat >"$root/etc/dkms-fetch/repos.d/demo.toml" <<CONF
name = "demo"
urls = ["$url"]
root = "demo.root.json"
CONF

title "4. dkms-fetch --auto, machine by machine, kernel by kernel"
for kernel in "${kernels[@]}"; do
  for machine in fixtures/machines/{workbench.umockdev,laptop-thinkpad.modaliases,laptop-fujitsu-p8010.modaliases,server-2-socket.modaliases}; do
    fetch --auto --kernel "$kernel" --devices "$machine"
  done
  printf '%s' "$dim" >&2; echo "(and this machine's own devices)${plain}" >&2
  fetch --auto --kernel "$kernel"
done

title "5. One byte changed anywhere in the repository is refused"
"${as_root[@]}" rm -rf "$demo/tampered" "$demo/tampered-root" && cp -a "$repo/public" "$demo/tampered"
mkdir -p "$demo/tampered-root" && cp -a "$root/etc" "$demo/tampered-root/"
sed -i "s|^urls = .*|urls = [\"file://$demo/tampered/\"]|" "$demo/tampered-root/etc/dkms-fetch/repos.d/demo.toml"
# Of each segment, for those of earlier runs are there too.
find "$demo/tampered/targets/index" -type f | while read -r segment; do
  printf '\xff' | dd of="$segment" bs=1 seek=100 conv=notrunc status=none
done
code=0; show dkms-fetch --root "$demo/tampered-root" sync || code=$?
echo "exit code $code" >&2
[ "$code" = 4 ] || { echo "demo: a changed byte was not refused" >&2; exit 1; }

title "6. What each machine got, and what is installed"
for kernel in "${kernels[@]}"; do
  fetch devices --kernel "$kernel" --devices fixtures/machines/workbench.umockdev
done
show dkms-fetch --root "$root" dkms status
find "$root/lib/modules" -path '*/updates/*' -name '*.ko*' -printf '%P\n' | sort
