#!/bin/bash
# Makes all attempts, and ends well where each was refused but those named in the first argument. The other arguments are those of attempts.sh.
spared=$1
shift
dir=${BASH_SOURCE%/*}
[ "$dir" != "$BASH_SOURCE" ] || dir=.
outcomes=$(bash "$dir/attempts.sh" "$@")
echo "$outcomes"
tried=0
while read -r _ _ name outcome; do
  case " $spared " in *" $name "*) continue ;; esac
  [ "$outcome" = refused ] || exit 1
  tried=$((tried + 1))
done <<<"$outcomes"
[ "$tried" -gt 20 ]
