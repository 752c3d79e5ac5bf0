#!/usr/bin/env bash
# Sets up what `make build`, `make test` and `make demo` need, and says plainly what that is.
#
#   scripts/setup.sh build   programs and libraries to compile with       (installed by apt; sudo only for that)
#   scripts/setup.sh lint    also checks that rustfmt and clippy are there
#   scripts/setup.sh fuzz    also the C++ compiler that libFuzzer is made with   (installed by apt)
#   scripts/setup.sh dist    also what packages are made with                 (installed by apt)
#   scripts/setup.sh demo    also udev, whose database knows names of devices, and real kernels' headers and real drivers
#                            (udev installed by apt; kernels and drivers downloaded by apt into target/inputs, not installed)
#   scripts/setup.sh test    also the peers we test against               (the same, and a Python environment there)
#   scripts/setup.sh bench   also the programs that make other repositories   (installed by apt)
#   scripts/setup.sh e2e     an emulator besides, for the proof on a running kernel (installed by apt)
#   scripts/setup.sh full    also more driver packages and a token, for the long suites
#
# A second run finds everything in place and does nothing.
set -euo pipefail
# A failure inside $(…) ends the script, too.
shopt -s inherit_errexit
# depmod is in /usr/sbin, which is not on the path of Debian's users.
export PATH=$PATH:/usr/sbin:/sbin
cd "$(dirname "$0")/.."

stage=${1:-build}
inputs=${DKMS_TEST_INPUTS:-$PWD/target/inputs}

# Compiling our programs, and kernel modules.
build_packages=(bubblewrap ca-certificates gcc make libc6-dev pahole pkg-config libudev-dev bash kmod patch openssl xz-utils)
# Making .debs and .rpms, and their programs smaller.
dist_packages=(dpkg-dev rpm binutils)
# libFuzzer comes as C++ source.
fuzz_packages=(g++)
# Its hardware database gives devices their names. Where there is no systemd, as in a container, nothing of it is started.
demo_packages=(udev)
# What the tests run besides: recorded devices, the peers' libraries and what they call (ps), Python for python-tuf, the programs
# that make and read packages of distributions, and systemd for systemd-analyze.
test_packages=(systemd umockdev groff-base libkmod-dev python3 python3-venv openssl patch zstd procps
  dpkg-dev rpm rpm2cpio cpio createrepo-c dnf zypper libsolv-tools zip git gnupg gpgv apt-utils xorriso softhsm2 opensc dbus-daemon file)
# What makes repositories of .deb and .rpm, to measure ours beside.
bench_packages=(reprepro apt-utils createrepo-c gnupg gzip)
# A machine to boot in: the emulator, and what its disk is made with.
e2e_packages=(mmdebstrap debian-archive-keyring e2fsprogs kmod binutils apt-utils)

demo_drivers=(adv-17v35x-dkms xtrx-dkms digimend-dkms langford-dkms ddcci-dkms tp-smapi-dkms v4l2loopback-dkms r8168-dkms)
full_drivers=(acpi-call-dkms bbswitch-dkms dpdk-kmods-dkms lime-forensics-dkms west-chamber-dkms rtpengine-kernel-dkms
  evdi-dkms jool-dkms r8125-dkms broadcom-sta-dkms dm-writeboost-dkms gost-crypto-dkms vpoll-dkms nat-rtsp-dkms
  rapiddisk-dkms apfs-dkms openvpn-dco-dkms lttng-modules-dkms xtables-addons-dkms iptables-netflow-dkms dahdi-dkms openafs-modules-dkms)

say() { printf '%s\n' "$*" >&2; }
die() { say "setup: $1"; say "hint: $2"; exit 1; }

need_tools() {
  command -v apt-get >/dev/null || die "this machine has no apt-get: the set-up knows Debian's packages only" \
    "run it in a Debian 12 or 13 container, or install by hand: ${build_packages[*]} libelf1"
}

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

# A Rust toolchain that is new enough, or that of apt, where its lists have one (Debian 13: backports).
need_rust() {
  local wanted have offered release
  wanted=$(rust_version)
  have=$(cargo --version 2>/dev/null | awk '{print $2}') || true
  [ -n "$have" ] && dpkg --compare-versions "$have" ge "$wanted" && return 0
  offers() { apt-cache madison cargo | awk -F' *[|] *' '$3 ~ /Packages/ {split($3, at, " "); split(at[2], suite, "/"); print $2, suite[1]}' | sort -rV; }
  [ -n "$(offers)" ] || update_lists
  read -r offered release < <(offers) || true
  if [ -z "$offered" ] || ! dpkg --compare-versions "$offered" ge "$wanted"; then
    die "there is no Rust toolchain of version $wanted or newer (cargo on PATH: ${have:-none}; by apt: ${offered:-none})" \
      "install Rust with rustup, then open a new shell; on Debian 13 apt has it too, once trixie-backports is in apt's sources"
  fi
  say "setup: installing by apt from $release: cargo rustc rust-clippy rustfmt"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove -t "$release" \
    cargo rustc rust-clippy rustfmt >&2 || die "apt-get could not install a Rust toolchain" "look at apt's message above; is the network up?"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then say "setup: asking sudo for: $*"; sudo "$@"
  else die "installing packages needs root, and there is no sudo" "as root: $*"; fi
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install_packages() {
  local missing=() name
  for name in "$@"; do is_installed "$name" || missing+=("$name"); done
  [ ${#missing[@]} = 0 ] && return 0
  say "setup: installing by apt: ${missing[*]}"
  update_lists
  # This machine's own sources, not those of private_apt.
  as_root env -u APT_CONFIG DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove "${missing[@]}" >&2 &&
    return 0
  # No package of this machine is removed for ours: that is for its owner to decide.
  if LC_ALL=C env -u APT_CONFIG apt-get install -s --no-install-recommends "${missing[@]}" 2>/dev/null | grep '^Remv ' >&2; then
    die "apt would have to remove the packages above for: ${missing[*]}" \
      "if you can do without them: apt-get install --no-install-recommends ${missing[*]}; else run this in a Debian 12 or 13 container"
  fi
  die "apt-get could not install: ${missing[*]}" "look at apt's message above; is the network up?"
}

# The libraries our programs are made of, of the versions in Cargo.lock.
fetch_crates() {
  cargo fetch --locked --quiet 2>/dev/null --offline && return 0
  say "setup: downloading the libraries that Cargo.lock names"
  cargo fetch --locked --quiet >&2 || die "cargo could not download the libraries" "see cargo's message above; once the network is up: cargo fetch --locked"
}

updated=
update_lists() {
  [ -n "$updated" ] && return 0
  say "setup: bringing apt's lists up to date"
  # Without Error-Mode apt-get only warns about mirrors that it cannot reach, and fails later for another reason.
  as_root env -u APT_CONFIG apt-get update -q -o APT::Update::Error-Mode=any >&2 ||
    die "apt's lists could not be brought up to date" "see apt's message above; once the network is up: apt-get update"
  updated=yes
}

# apt_config DIR: the configuration of an apt whose sources, lists and packages lie in DIR; makes the directories in it.
apt_config() {
  mkdir -p "$1"/{lists,cache}/partial "$1"/{cache/archives/partial,parts}
  cat <<CONF
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "$1/parts";
Dir::State::lists "$1/lists";
Dir::Cache "$1/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Retries "3";
CONF
}

# A private apt, with the same mirrors and keys as the system's but with backports, contrib and non-free, whose lists
# and packages lie below target/: nothing of it is installed and nothing of the system changes.
private_apt() {
  export APT_CONFIG=$inputs/apt/apt.conf
  [ -f "$APT_CONFIG" ] && [ -f "$inputs/apt/updated" ] && return 0
  local main security
  # The archive has all releases in one place, and each Debian knows the keys of the one before it.
  case $codename in bookworm | trixie) ;; *) die "the real kernels and drivers come from Debian 12; this is '${codename:-unknown}', whose apt may not know it" \
    "run it in a Debian 12 or 13 container" ;; esac
  site_of() { env -u APT_CONFIG apt-get indextargets --format '$(SITE) $(CODENAME) $(CREATED_BY)' | awk -v suite="$1" '$2 == suite && $3 == "Packages" {print $1; exit}'; }
  main=$(site_of "$codename")
  [ -n "$main" ] || { update_lists; main=$(site_of "$codename"); }
  [ -n "$main" ] || die "apt has no source for $codename" "add Debian's main archive to /etc/apt/sources.list.d and run: apt-get update"
  security=$(site_of "$codename-security")
  mkdir -p "$inputs/apt"
  {
    echo "deb $main bookworm main contrib non-free"
    echo "deb $main bookworm-backports main contrib non-free"
    [ -z "$security" ] || echo "deb $security bookworm-security main contrib non-free"
  } >"$inputs/apt/sources.list"
  apt_config "$inputs/apt" >"$APT_CONFIG"
  say "setup: reading the lists of Debian 12 with backports into target/inputs/apt"
  apt-get update -q -o APT::Update::Error-Mode=any >&2 ||
    die "the package lists could not be read" "see apt's message above; try again once the network is up"
  touch "$inputs/apt/updated"
}

# download DIR PACKAGE[=VERSION]…: into DIR, unless they are there.
download() {
  local dir=$1; shift
  mkdir -p "$dir"
  (cd "$dir" && apt-get download -q "$@" >&2) || die "could not download: $*" "rm -r $inputs/apt, then try again"
}

newest() { apt-cache search --names-only "$1" | awk '{print $1}' | sort -V | tail -n 1; }

# A root with one kernel as its packages have it: its modules and its headers, with links that stay inside.
unpack_kernel() {
  local headers=$1 arch=$2 release root image kbuild common
  release=${headers#linux-headers-}
  root=$inputs/kernels/$release
  [ -f "$root/.complete" ] && { echo "$release"; return 0; }
  say "setup: unpacking kernel $release (modules and headers) into target/inputs/kernels"
  common=linux-headers-${release%-"$arch"}-common
  kbuild=$(apt-cache depends --important "$headers" | grep -o 'linux-kbuild-[^ >]*' | head -n 1)
  image=linux-image-$release-unsigned
  apt-cache show "$image" >/dev/null 2>&1 || image=linux-image-$release
  local debs=$inputs/kernel-debs/$release
  download "$debs" "$headers" "$common" "$kbuild" "$image"
  rm -rf "$root" && mkdir -p "$root.part"
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$root.part"; done
  rm -rf "$root.part/boot" "$root.part/usr/share" "$root.part"/usr/lib/linux-image-* "$debs"
  [ -d "$root.part/lib" ] || ln -s usr/lib "$root.part/lib"
  # The links and the one-line Makefile of Debian's headers name absolute paths; here they are relative.
  ln -sfn "../../../usr/src/$headers" "$root.part/lib/modules/$release/build"
  ln -sfn "../../../usr/src/$common" "$root.part/lib/modules/$release/source"
  echo "include \$(dir \$(lastword \$(MAKEFILE_LIST)))../$common/Makefile" >"$root.part/usr/src/$headers/Makefile"
  mv "$root.part" "$root"
  depmod -b "$root" "$release"
  touch "$root/.complete"
  echo "$release"
}

fetch_kernels() {
  local arch headers release series; arch=$(dpkg --print-architecture)
  [ -f "$inputs/kernels.txt" ] && return 0
  private_apt
  : >"$inputs/kernels.txt.part"
  for series in 6.1 6.12; do
    headers=$(newest "^linux-headers-${series//./\\.}\\.[0-9]+[-+][^-]*-$arch\$")
    [ -n "$headers" ] || headers=$(newest "^linux-headers-${series//./\\.}\\.[0-9]+-$arch\$")
    [ -n "$headers" ] || die "no headers of a $series kernel in the package lists" "rm -r $inputs/apt, then try again"
    release=$(unpack_kernel "$headers" "$arch")
    echo "$series $release" >>"$inputs/kernels.txt.part"
  done
  mv "$inputs/kernels.txt.part" "$inputs/kernels.txt"
}

# fetch_drivers STAMP PACKAGE…: every version (stable and backports) of each *-dkms package.
fetch_drivers() {
  local stamp=$inputs/debs/.$1 name version wanted=(); shift
  [ -f "$stamp" ] && return 0
  private_apt
  for name in "$@"; do
    while read -r version; do [ -n "$version" ] && wanted+=("$name=$version"); done \
      < <(apt-cache madison "$name" 2>/dev/null | awk -F'|' '$3 ~ /Packages/ {gsub(/ /, "", $2); print $2}' | sort -u)
  done
  say "setup: downloading ${#wanted[@]} driver packages into target/inputs/debs"
  download "$inputs/debs" "${wanted[@]}"
  touch "$stamp"
}

# Debian's dkms, to compare with: unpacked, not installed, since its hooks would act on this machine's kernels.
fetch_peers() {
  local name
  if [ ! -x "$inputs/peers/dkms/usr/sbin/dkms" ]; then
    private_apt
    say "setup: unpacking Debian's dkms into target/inputs/peers"
    download "$inputs/peers/debs" dkms
    rm -rf "$inputs/peers/dkms" && dpkg-deb -x "$inputs"/peers/debs/dkms_*.deb "$inputs/peers/dkms.part"
    mv "$inputs/peers/dkms.part" "$inputs/peers/dkms"
  fi
  # nginx, to serve files and to take some: unpacked, so that no service is started.
  if [ ! -x "$inputs/peers/nginx/usr/sbin/nginx" ]; then
    private_apt
    say "setup: unpacking nginx into target/inputs/peers"
    download "$inputs/peers/nginx-debs" nginx
    rm -rf "$inputs/peers/nginx" && dpkg-deb -x "$inputs"/peers/nginx-debs/nginx_*.deb "$inputs/peers/nginx.part"
    rm -rf "$inputs/peers/nginx-debs" && mv "$inputs/peers/nginx.part" "$inputs/peers/nginx"
  fi
  for name in cloud-init fai-client initramfs-tools-core; do
    [ ! -d "$inputs/peers/$name" ] || continue
    private_apt
    say "setup: unpacking Debian's $name into target/inputs/peers"
    download "$inputs/peers/$name.debs" "$name"
    rm -rf "$inputs/peers/$name.part" && dpkg-deb -x "$inputs/peers/$name.debs"/*.deb "$inputs/peers/$name.part"
    mv "$inputs/peers/$name.part" "$inputs/peers/$name"
  done
  # OpenRC, whose scripts start an example: with its libraries, in one directory.
  if [ ! -d "$inputs/peers/openrc" ]; then
    private_apt
    say "setup: unpacking Debian's OpenRC into target/inputs/peers"
    rm -rf "$inputs/peers/openrc.part" "$inputs/peers/openrc.debs"
    download "$inputs/peers/openrc.debs" openrc librc1 libeinfo1
    for name in "$inputs/peers/openrc.debs"/*.deb; do dpkg-deb -x "$name" "$inputs/peers/openrc.part"; done
    mv "$inputs/peers/openrc.part" "$inputs/peers/openrc"
  fi
  if ! "$inputs/venv/bin/python" -c 'import tuf, prometheus_client, pykickstart, ansible, moto, flask_cors, wsgidav, cheroot, jsonschema, configobj, oauthlib, jsonpatch, jeepney' 2>/dev/null; then
    say "setup: installing python-tuf, prometheus_client, pykickstart, ansible-core, moto, wsgidav, jeepney and what cloud-init needs by pip into target/inputs/venv"
    rm -rf "$inputs/venv"
    python3 -m venv "$inputs/venv" && "$inputs/venv/bin/pip" install -q 'tuf>=7,<8' 'securesystemslib[crypto]>=1,<2' 'prometheus_client>=0.20,<1' 'pykickstart>=3,<4' 'ansible-core>=2.15,<3' 'moto[s3]>=5.2,<6' 'flask>=3,<4' 'flask-cors>=4,<7' 'wsgidav>=4,<5' 'cheroot>=10,<12' 'jsonschema>=4,<5' 'configobj>=5,<6' 'oauthlib>=3,<4' 'jsonpatch>=1,<2' 'jeepney>=0.8,<1' >&2 ||
      die "pip could not install python-tuf and the others" "is the network up? try again"
  fi
}

# The dkms of Debian 13, upstream's 3.2: a second one to compare with. It has lists of its own, so that no kernel and no driver comes from
# there.
fetch_newer_dkms() {
  local dir=$inputs/peers/dkms-3.2 own=$inputs/apt-trixie
  [ -x "$dir/usr/sbin/dkms" ] && return 0
  private_apt
  say "setup: unpacking the dkms of Debian 13 into target/inputs/peers"
  mkdir -p "$own"
  sed -n '1s/ bookworm / trixie /p' "$inputs/apt/sources.list" >"$own/sources.list"
  apt_config "$own" >"$own/apt.conf"
  (
    export APT_CONFIG=$own/apt.conf
    apt-get update -q -o APT::Update::Error-Mode=any >&2 ||
      die "the package lists of Debian 13 could not be read" "see apt's message above; try again once the network is up"
    download "$dir.debs" dkms
  )
  rm -rf "$dir.part" && dpkg-deb -x "$dir.debs"/dkms_*.deb "$dir.part"
  mv "$dir.part" "$dir"
}

# A PKCS #11 token in software, with its server and the OpenSSL provider for it: unpacked like the peers.
fetch_token() {
  local dir=$inputs/peers/token deb
  [ -f "$dir/.complete" ] && return 0
  private_apt
  say "setup: unpacking a PKCS #11 token into target/inputs/peers"
  rm -rf "$dir"
  download "$dir/debs" softhsm2 libsofthsm2 p11-kit p11-kit-modules pkcs11-provider
  for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir"; done
  touch "$dir/.complete"
}

# QEMU's packages are of one version: where tools of it are installed from backports, the emulator comes from there too.
install_emulator() {
  is_installed qemu-system-x86 && return 0
  case $(dpkg-query -W -f '${Version}' qemu-utils 2>/dev/null) in
    *bpo12*) private_apt ;;
    *) install_packages qemu-system-x86; return ;;
  esac
  say "setup: installing by apt, from backports: qemu-system-x86"
  as_root env APT_CONFIG="$APT_CONFIG" DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove \
    -t bookworm-backports qemu-system-x86 >&2 || die "apt-get could not install qemu-system-x86" "look at apt's message above"
}

need_tools
# The library that the programs in kernel headers are linked with, by its name here; and the compiler of the kernels of Debian 12, which is not that of Debian 13.
case $codename in
  bookworm) build_packages+=(libelf1) ;;
  *) build_packages+=(libelf1t64 gcc-12) ;;
esac
case $stage in build | lint | fuzz | dist | demo | e2e | test | bench | full) ;; *) die "unknown stage '$stage'" "scripts/setup.sh build|lint|fuzz|dist|demo|e2e|test|bench|full" ;; esac
install_packages "${build_packages[@]}"
need_rust
fetch_crates
[ "$stage" = build ] && exit 0
if [ "$stage" = lint ]; then
  cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
    die "this Rust toolchain has no rustfmt or no clippy" "rustup component add rustfmt clippy"
  exit 0
fi
if [ "$stage" = fuzz ]; then
  install_packages "${fuzz_packages[@]}"
  # The versions of the workspace, with the crates that only the targets need.
  [ fuzz/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock
  cargo fetch --quiet --manifest-path fuzz/Cargo.toml --offline 2>/dev/null || cargo fetch --quiet --manifest-path fuzz/Cargo.toml >&2 ||
    die "cargo could not download the libraries of the fuzz targets" "see cargo's message above; is the network up?"
  exit 0
fi
if [ "$stage" = dist ]; then
  install_packages "${dist_packages[@]}"
  exit 0
fi
mkdir -p "$inputs/debs"
fetch_kernels
if [ "$stage" = e2e ]; then
  install_packages "${e2e_packages[@]}" "${dist_packages[@]}"
  install_emulator
  exit 0
fi
install_packages "${demo_packages[@]}"
fetch_drivers demo "${demo_drivers[@]}"
[ "$stage" = demo ] && exit 0
install_packages "${test_packages[@]}"
fetch_peers
[ "$stage" = test ] && exit 0
if [ "$stage" = bench ]; then
  install_packages "${bench_packages[@]}"
  exit 0
fi
fetch_newer_dkms
fetch_token
fetch_drivers full "${full_drivers[@]}"
