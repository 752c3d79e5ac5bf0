# Sourced by the scripts beside it: what all packages have in common.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

packages=(dkms-fetch dkms-repo dkms-is-dkms-fetch)
programs=${PROGRAMS:-${CARGO_TARGET_DIR:-target}/dist}
out=${OUT:-${CARGO_TARGET_DIR:-target}/packages}
# The revision of the packaging of this version.
revision=${REVISION:-1}
# The maintainer of the packages, set by those who distribute them.
maintainer=${MAINTAINER:-the makers of dkms-fetch <dkms-fetch@localhost>}
# All times in the packages are that of the source, so that the same source gives the same bytes.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}

die() { printf 'dist: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "there is no $1" "scripts/setup.sh dist"; }
