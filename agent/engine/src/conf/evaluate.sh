# Evaluates a dkms.conf and its overrides; the values come out as NUL-terminated pairs.
# Arguments: module version kernelver arch kernel_source_dir kernel_config dkms_tree source_tree install_tree
#            tmp_location parallel_jobs running_distribution addon_modules_dir, number of files, files, directives NAME=VALUE.
exec 9>&1 >&2
shopt -s extglob
umask 022
module=$1 module_version=$2 kernelver=$3 arch=$4 kernel_source_dir=$5 kernel_config=$6 dkms_tree=$7 source_tree=$8
install_tree=$9 tmp_location=${10} parallel_jobs=${11} running_distribution=${12} addon_modules_dir=${13}
__files=${14}
shift 14
__names='PACKAGE_NAME PACKAGE_VERSION BUILT_MODULE_NAME BUILT_MODULE_LOCATION DEST_MODULE_NAME DEST_MODULE_LOCATION STRIP
  MAKE MAKE_MATCH CLEAN PATCH PATCH_MATCH AUTOINSTALL NO_WEAK_MODULES BUILD_DEPENDS BUILD_DEPENDS_REBUILD
  BUILD_EXCLUSIVE_KERNEL BUILD_EXCLUSIVE_KERNEL_MIN BUILD_EXCLUSIVE_KERNEL_MAX BUILD_EXCLUSIVE_ARCH BUILD_EXCLUSIVE_CONFIG
  PRE_BUILD POST_BUILD POST_ADD PRE_INSTALL POST_INSTALL POST_REMOVE OBSOLETE_BY
  REMAKE_INITRD MODULES_CONF MODULES_CONF_OBSOLETES MODULES_CONF_ALIAS_TYPE MODULES_CONF_OBSOLETE_ONLY'
# No value is longer, in bytes: what follows would take minutes with it.
__longest=1000000

__put() { builtin printf '%s\0%s\0' "$1" "$2" >&9; }

# Sources one file in a subshell of its own and prints what it set as assignments. Values are put in double quotes, so that
# sourcing those assignments expands them once more: that is how '$kernelver' in single quotes gets its value.
__layer() {
  . "$1" 9>&- >/dev/null </dev/null
  trap - EXIT ERR DEBUG
  set +eu
  set -f
  IFS=$' \t\n'
  local __n __i
  for __n in $__names; do
    local -n __ref=$__n
    for __i in "${!__ref[@]}"; do
      [[ $__i == +([0-9]) ]] || continue
      if ((${#__ref[$__i]} > __longest)); then builtin printf '#long %s' "$__n"; return; fi
      local -a __words=(${__ref[$__i]})
      local __value="${__words[*]}"
      # Blanks at the ends of a regular expression count, as one.
      if [[ $__n == @(*_MATCH|BUILD_EXCLUSIVE_KERNEL|BUILD_EXCLUSIVE_ARCH) ]]; then
        [[ ${__ref[$__i]} == [$' \t\n']* ]] && __value=" $__value"
        [[ $__value != ' ' && ${__ref[$__i]} == *[$' \t\n'] ]] && __value+=' '
      fi
      builtin printf '%s[%s]="%s"\n' "$__n" "$__i" "$__value"
    done
    unset -n __ref
  done
  builtin printf '#end'
}

while ((__files-- > 0)); do
  [[ -r $1 ]] || { builtin printf '%s cannot be read\n' "$1" >&2; exit 3; }
  __text=$(__layer "$1")
  __status=$?
  case $__text in
    *'#end') ;;
    *'#long '*) __put '!long' "${__text##*'#long '}" ;;
    *) if ((__status > 128)); then __put '!killed' "SIG$(builtin kill -l $__status) $1"; else __put '!exits' "$1"; fi ;;
  esac
  while IFS= read -r __line; do
    __done=
    eval "$__line"$'\n__done=1' 9>&- </dev/null
    [[ $__done ]] || __put '!quotes' "${__line%%=*}"
  done <<<"${__text%'#end'}" || __put '!long' 'all directives together'
  shift
done
for __directive; do
  builtin printf -v "${__directive%%=*}" %s "${__directive#*=}"
done

__match() {
  local -n __ref=$1
  local __i
  for __i in "${!__ref[@]}"; do
    [[ $2 =~ ${__ref[$__i]} ]]
    __put "=$1[$__i]" $?
  done
}
for __n in $__names; do
  declare -n __ref=$__n
  for __i in "${!__ref[@]}"; do
    __put "$__n[$__i]" "${__ref[$__i]}"
  done
  unset -n __ref
done
__match MAKE_MATCH "$kernelver"
__match PATCH_MATCH "$kernelver"
__match BUILD_EXCLUSIVE_KERNEL "$kernelver"
__match BUILD_EXCLUSIVE_ARCH "$arch"
__put '!end' ''
