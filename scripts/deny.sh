#!/usr/bin/env bash
# Checks licenses, sources and duplicates of all dependencies with cargo-deny, built into target/tools if it is not there.
# `scripts/deny.sh offline` leaves the advisories out. The advisory database is a git repository; where it can't be reached, that one check is left out, and this says so.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/target/tools/bin:$PATH"
command -v cargo-deny >/dev/null || cargo install --locked --quiet --root target/tools cargo-deny
cargo deny --all-features check licenses bans sources
[ "${1:-}" != offline ] || exit 0
cargo deny fetch db 2>/dev/null && exec cargo deny --all-features check advisories
echo "deny: the advisory database can't be reached from here: advisories were NOT checked" >&2
