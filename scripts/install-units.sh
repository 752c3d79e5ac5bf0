#!/usr/bin/env bash
# Installs the units, the udev rule and what belongs to them. Called by install.sh; nothing is enabled or started.
#
#   scripts/install-units.sh ROOT PREFIX
set -euo pipefail
cd "$(dirname "$0")/../agent/units"
root=$1 prefix=$2
lib=$root$prefix/lib

# put TARGET MODE SOURCE: with the paths of this installation, and the shared directives of services.
put() {
  install -d "$(dirname "$1")"
  sed -e "s|@bin@|$prefix/bin|g; s|@libexec@|$prefix/libexec/dkms-fetch|g" -e '/^@hardening@$/{r hardening.conf
d}' -e '/^@common@$/{r common.conf
d}' "$3" >"$1.part"
  chmod "$2" "$1.part"
  mv "$1.part" "$1"
}

for unit in *.service.in *.timer.in; do put "$lib/systemd/system/${unit%.in}" 644 "$unit"; done
for script in run notify pending first-boot hotplug recover boot-trial new-kernel; do put "$root$prefix/libexec/dkms-fetch/$script" 755 "$script.in"; done
for dir in postinst.d header_postinst.d; do put "$root/etc/kernel/$dir/zz-dkms-fetch" 755 zz-dkms-fetch.in; done
put "$root/usr/lib/kernel/install.d/95-dkms-fetch.install" 755 95-dkms-fetch.install.in
put "$root/usr/share/initramfs-tools/hooks/dkms-fetch" 755 initramfs-tools.in
put "$root/usr/lib/dracut/modules.d/90dkms-fetch/module-setup.sh" 755 dracut-module.in
put "$root/usr/lib/initcpio/install/dkms-fetch" 644 mkinitcpio.in
# Nothing but apt reads it.
put "$root/etc/apt/apt.conf.d/70dkms-fetch" 644 70dkms-fetch.in
put "$lib/systemd/system-preset/60-dkms-fetch.preset" 644 60-dkms-fetch.preset
put "$lib/systemd/catalog/dkms-fetch.catalog" 644 dkms-fetch.catalog
put "$lib/udev/rules.d/85-dkms-fetch.rules" 644 85-dkms-fetch.rules
put "$lib/tmpfiles.d/dkms-fetch.conf" 644 dkms-fetch.tmpfiles.conf
# Settings are the administrator's.
install -d "$root/etc/dkms-fetch/repos.d"
[ -e "$root/etc/dkms-fetch/config.toml" ] || {
  # The examples, switched off.
  sed 's/^[^#]/# &/' ../../docs/examples/config.toml >"$root/etc/dkms-fetch/config.toml"
  chmod 644 "$root/etc/dkms-fetch/config.toml"
}
