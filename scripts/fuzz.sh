#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/: inputs are made from the seeds in fixtures/fuzz, and each has to keep the limits of
# tests/fuzz/src/limits.rs. An input that does not is kept in target/fuzz/findings, and the script fails.
#
#   scripts/fuzz.sh [--seconds N | --runs N] [TARGET…]
#
# N seconds are those of all targets together (default 600); N runs are those of each. All targets if none is named.
# The targets are compiled by the toolchain in use, without a sanitizer (docs/decisions/fuzzing.md says why).
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'fuzz: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }

seconds=600 runs=
case ${1:-} in
  --seconds) seconds=${2:?}; shift 2 ;;
  --runs) runs=${2:?}; shift 2 ;;
esac
mapfile -t known < <(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
targets=("$@")
[ $# -gt 0 ] || targets=("${known[@]}")
for target in "${targets[@]}"; do
  [ -f "fuzz/fuzz_targets/$target.rs" ] || die "there is no target '$target'" "one of: ${known[*]}"
done

# The versions of the workspace, with the crates that only the targets need.
[ fuzz/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock

# What cargo-fuzz asks rustc for. With --target it is not asked of build scripts and macros, which have no libFuzzer.
host=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR=$PWD/target/fuzz
RUSTFLAGS=$flags cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" "${targets[@]/#/--bin=}"

for target in "${targets[@]}"; do
  seeds=fixtures/fuzz/$target corpus=target/fuzz/corpus/$target findings=target/fuzz/findings/$target
  [ -d "$seeds" ] || die "there are no seeds in $seeds" "put at least one input there"
  mkdir -p "$corpus" "$findings"
  log=target/fuzz/$target.log
  # The limit on memory covers C libraries and the program itself, that on time what hangs; both are finer in tests/fuzz/src/limits.rs.
  options=(-max_len=1048575 -timeout=20 -rss_limit_mb=512 -print_final_stats=1 "-artifact_prefix=$findings/")
  if [ -n "$runs" ]; then
    # The same inputs in each run.
    rm -rf "$corpus" && mkdir -p "$corpus"
    options+=("-runs=$runs" -seed=1)
  else
    share=$((seconds / ${#targets[@]}))
    options+=("-max_total_time=$((share > 0 ? share : 1))")
  fi
  "$CARGO_TARGET_DIR/$host/release/$target" "${options[@]}" "$corpus" "$seeds" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    die "the target $target found an input" "it is in $findings; run it alone: $CARGO_TARGET_DIR/$host/release/$target FILE"
  }
  printf 'fuzz: %-14s %s inputs tried\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
done
