#!/usr/bin/env bash
# Runs TUF's public conformance suite on the agent's own synchronisation. Its argument is the directory of the suite; what comes after it goes to
# pytest. The suite is not part of the tests: it has to be downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

suite=${1-}
get='git clone https://github.com/theupdateframework/tuf-conformance'
[ -n "$suite" ] || die 'no directory of the suite was given' "$get, then scripts/conformance.sh tuf-conformance"
[ -f "$suite/tuf_conformance/conftest.py" ] || die "$suite is not the suite" "$get"
command -v faketime >/dev/null || die 'faketime is missing, by which the suite sets the clock' 'apt-get install faketime'

target=$(realpath "${CARGO_TARGET_DIR:-target}")
python=$target/tools/conformance
if [ ! -x "$python/bin/pytest" ]; then
  python3 -m venv "$python"
  "$python/bin/python" -m pip install --quiet "$suite" || die 'the libraries of the suite could not be installed' "see pip's message above"
fi
cargo build --locked --quiet --workspace --example tuf-conformance-client
cd "$suite"
exec "$python/bin/python" -m pytest tuf_conformance --entrypoint "$target/debug/examples/tuf-conformance-client" "${@:2}"
