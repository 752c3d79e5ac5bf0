#!/usr/bin/env bash
# Installs what `make build` made: the programs, the name `dkms`, manual pages, completions, and what kernels and packages call.
# Called by `make install`. $DESTDIR goes before every path; $PREFIX is for all that has no fixed place.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=${PROGRAMS:-${CARGO_TARGET_DIR:-target}/release}
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
bin=$root$prefix/bin sbin=$root$prefix/sbin share=$root$prefix/share

die() { printf 'install: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }
for name in dkms-fetch dkms-repo; do
  [ -x "$programs/$name" ] || die "$programs/$name is not there" "make build"
done
# Two programs that both are dkms would overwrite each other's hooks.
if [ -z "$root" ] && [ -e /usr/sbin/dkms ] && [ ! -L /usr/sbin/dkms ]; then
  die "another dkms is installed (/usr/sbin/dkms)" "make dist, then: sudo apt-get install ./target/packages/dkms-fetch_*.deb ./target/packages/dkms-is-dkms-fetch_*.deb"
fi

install -d "$bin" "$sbin" "$share/man/man1" "$share/man/man5" "$share/man/man8" "$share/doc/dkms-fetch/examples/repos.d"
install -m 755 "$programs/dkms-fetch" "$programs/dkms-repo" "$bin/"
ln -sfn ../bin/dkms-fetch "$sbin/dkms"
"$programs/dkms-fetch" dkms hooks install "${root:-/}" "$prefix"
"$programs/dkms-fetch" man >"$share/man/man8/dkms-fetch.8"
"$programs/dkms-repo" man >"$share/man/man1/dkms-repo.1"
install -m 644 docs/man/*.5 "$share/man/man5/"
install -m 644 docs/examples/*.toml "$share/doc/dkms-fetch/examples/"
install -m 644 docs/examples/repos.d/*.toml "$share/doc/dkms-fetch/examples/repos.d/"
cp -r docs/examples/{cron,openrc,ansible,kickstart,preseed,cloud-init,autoinstall,mmdebstrap,fai,maas,signers} "$share/doc/dkms-fetch/examples/"
# What `dkms-repo import recipes NAME` finds.
install -d "$share/dkms-repo/recipes"
install -m 644 repo-tools/recipes/* "$share/dkms-repo/recipes/"
install -d "$share/bash-completion/completions" "$share/fish/vendor_completions.d"
# Beside that of dkms, wherever this distribution's zsh looks.
zsh=$(dirname "$(find "$share/zsh" -name _dkms)")
for name in dkms-fetch dkms-repo; do
  "$programs/$name" completions bash >"$share/bash-completion/completions/$name"
  "$programs/$name" completions fish >"$share/fish/vendor_completions.d/$name.fish"
  "$programs/$name" completions zsh >"$zsh/_$name"
done
scripts/install-units.sh "$root" "$prefix"
