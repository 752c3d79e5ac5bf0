# Sourced by the scripts beside it that boot a guest: its kernel for trial builds, and what it said beside what is expected. They have `say`.

# kernel_root ROOT RELEASE INPUTS: a root of its own for trial builds with that kernel, of hard links where possible.
kernel_root() {
  local root=$1 release=$2 inputs=$3
  [ ! -d "$root/lib/modules/$release" ] || return 0
  rm -rf "$root" "$root.part" && mkdir -p "$root.part"
  cp -al "$inputs/kernels/$release/." "$root.part/" 2>/dev/null || cp -a "$inputs/kernels/$release/." "$root.part/"
  mv "$root.part" "$root"
}

# facts_hold FACTS EXPECTED: every line KEY=PATTERN of what is expected is a fact; patterns are the shell's.
facts_hold() {
  local key pattern found count=0 bad=0
  while IFS='=' read -r key pattern; do
    [[ $key = '#'* || -z $key ]] && continue
    count=$((count + 1))
    found=$(awk -v key="$key=" 'index($0, key) == 1 {print; exit}' "$1")
    if [ -z "$found" ]; then
      say "   FAILED $key: expected '$pattern', and it was never said"; bad=1
    # shellcheck disable=SC2053
    elif [[ ${found#"$key="} != $pattern ]]; then
      say "   FAILED $key: expected '$pattern', found '${found#"$key="}'"; bad=1
    fi
  done <"$2"
  [ $bad = 0 ] && say "   holds: $count facts"
}
