#!/usr/bin/env bash
# Makes docs/run.svg, the README's picture: the last screen of a real `dkms-fetch --auto` into a new image, from the repository
# that `make demo` made. Needs asciinema (apt) and svg-term-cli (npm), and root for a mount that only this script sees.
set -euo pipefail
cd "$(dirname "$0")/.."
inputs=${DKMS_TEST_INPUTS:-$PWD/target/inputs} repo=$PWD/target/demo/repo/public
programs=${CARGO_TARGET_DIR:-$PWD/target}/release
work=$(mktemp -d); chmod 755 "$work"; trap 'rm -rf "$work"' EXIT
read -r _ kernel <"$inputs/kernels.txt"
for tool in asciinema svg-term; do command -v "$tool" >/dev/null || { echo "picture: no $tool; hint: apt-get install asciinema; npm install -g svg-term-cli" >&2; exit 1; }; done
[ -d "$repo" ] || { echo "picture: no $repo; hint: make demo" >&2; exit 1; }

mkdir -p "$work"/image/{etc/dkms-fetch/repos.d,usr/lib,usr/src,lib/modules}
cp -L /etc/os-release "$work/image/etc/os-release"
cp -r "$inputs/kernels/$kernel/." "$work/image/"
cp "$repo/metadata/1.root.json" "$work/image/etc/dkms-fetch/repos.d/demo.root.json"
cp -r "$repo" "$work/repo"
printf 'name = "demo"\nurls = ["file:///mnt/repo/"]\nroot = "demo.root.json"\n' >"$work/image/etc/dkms-fetch/repos.d/demo.toml"
cp fixtures/machines/workbench.umockdev "$work/"
cat >"$work/session" <<RUN
cd /mnt
printf '\$ dkms-fetch --auto --root image --kernel $kernel --devices workbench.umockdev\n'
$programs/dkms-fetch --auto --root image --kernel $kernel --devices workbench.umockdev
RUN
unshare --mount sh -euc 'mount --bind "$1" /mnt; exec env LC_ALL=C.UTF-8 asciinema rec -q --overwrite --cols 100 --rows 38 -c "sh /mnt/session" /mnt/run.cast' sh "$work"
svg-term --in "$work/run.cast" --out docs/run.svg --window --width 100 --height 38 --at 999999999
