# shellcheck shell=bash
# shellcheck disable=SC2154  # cache, ci, root and work are set by install.sh, which sources this
# What every part's installer uses: the cache directory, the lock, messages, running a command into a log,
# remembered versions, the table and the env file. It installs nothing itself.

# Lines "NAME=value" of the env file, in the order in which the parts reported.
env_lines=()
# The process groups of the builds that run.
builds=()

cache_dir() {
  if [ -n "${SHIPIT_TESTBED-}" ]; then
    case "$SHIPIT_TESTBED" in
      /*) printf '%s\n' "$SHIPIT_TESTBED" ;;
      *) printf '%s\n' "$PWD/$SHIPIT_TESTBED" ;;
    esac
  elif [ -n "${XDG_CACHE_HOME-}" ]; then
    printf '%s\n' "$XDG_CACHE_HOME/shipit-testbed"
  elif [ -n "${HOME-}" ]; then
    printf '%s\n' "$HOME/.cache/shipit-testbed"
  else
    fail testbed "choosing the cache directory" "SHIPIT_TESTBED, XDG_CACHE_HOME and HOME are all unset" \
      "set SHIPIT_TESTBED to a directory that may grow to 1 GB"
  fi
}

say() {
  printf 'testbed: %s\n' "$*" >&2
}

# fail PART WHAT WHY NEXT: which part, what was being done, why it failed, what to do; ends the script.
fail() {
  {
    printf 'testbed: %s failed\n' "$1"
    printf '  doing:   %s\n' "$2"
    printf '  why:     %s\n' "$3"
    printf '  to do:   %s\n' "$4"
  } >&2
  exit 1
}

# Waits for other runs at the same work, and gives up the lock held before. The descriptor stays open until the
# script ends.
take_lock() {
  exec 9>>"$1"
  if ! flock -n 9; then
    say "another run holds $1; waiting for it"
    flock 9
  fi
}

# Takes away what killed runs left: scratch directories whose run, named by its process id, is gone.
remove_leftovers() {
  local dir
  for dir in "$cache"/work.*; do
    if [ -d "$dir" ] && ! [ -e "/proc/$(echo "${dir##*/work.}" | cut -d. -f1)" ]; then
      rm -rf "$dir"
    fi
  done
}

# Ends the builds that still run (each is a process group of its own), then takes the scratch files away.
cleanup() {
  local pid
  for pid in "${builds[@]}"; do
    kill -TERM -- "-$pid" 2>/dev/null || true
  done
  debian_restore_policy
  rm -rf "$work"
}

# logged PART NEXT COMMAND…: runs the command with its output in <cache>/log/PART.log. On failure the log's
# tail is the "why". The lock's descriptor is not handed down: a child that outlives us must not hold it.
logged() {
  local part=$1 next=$2 log status=0
  shift 2
  log=$cache/log/$part.log
  printf '+ %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null 9>&- || status=$?
  if [ "$status" -ne 0 ]; then
    fail "$part" "$*" "exit code $status; the last lines of $log:
$(tail -n 15 "$log" | sed 's/^/           /')" "$next"
  fi
}

# tried PART COMMAND…: like logged, but a failure is only the return code, for one of several ways.
tried() {
  local part=$1 log
  shift
  log=$cache/log/$part.log
  printf '+ %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null 9>&-
}

# build_in_parallel PART…: runs PART_install of each at once, and fails when one fails. Each leaves what it
# chose in "$work/PART", for it runs in a process of its own.
build_in_parallel() {
  local part bad=0 pid
  set -m
  for part in "$@"; do
    "${part}_install" &
    builds+=($!)
  done
  set +m
  for pid in "${builds[@]}"; do
    wait "$pid" || bad=1
  done
  builds=()
  if [ "$bad" -ne 0 ]; then
    exit 1
  fi
}

# chose PART PATH FROM: what a part's installer came to.
chose() {
  printf '%s\n%s\n' "$2" "$3" >"$work/$1"
}

chosen_path() {
  sed -n 1p "$work/$1"
}

chosen_from() {
  sed -n 2p "$work/$1"
}

in_cache() {
  [ "${1#"$cache"/}" != "$1" ]
}

# named_program PART VARIABLE PROGRAM: when the variable is set it must be a program; else PATH is asked.
# Leaves the choice with `chose` and returns 0, or returns 1 when neither has it. What lies in the cache does
# not count: a sourced env file of an earlier run would otherwise pin its versions.
named_program() {
  local part=$1 variable=$2 program=$3 path
  path=${!variable-}
  if [ -n "$path" ] && ! in_cache "$path"; then
    if ! [ -x "$path" ] || [ -d "$path" ]; then
      fail "$part" "using \$$variable" "$path is not a program" "unset $variable, or set it to the program's path"
    fi
    chose "$part" "$(realpath -s "$path")" "\$$variable"
    return 0
  fi
  path=$(type -P "$program" || true)
  if [ -n "$path" ] && ! in_cache "$path"; then
    chose "$part" "$(realpath -s "$path")" PATH
    return 0
  fi
  return 1
}

# version_of PROGRAM ARGUMENT…: the first version number that `PROGRAM ARGUMENT…` prints. Asking takes some
# programs (those in Python, Ruby, Perl) half a second, so that the answer is kept until the file changes.
# Returns 1, and keeps nothing, when the program fails: a shim without its program behind it, say.
version_of() {
  local program=$1 key fact text
  key="$program $(stat -Lc '%Y %s %i' "$program" 2>/dev/null || true) ${*:2}"
  fact=$cache/facts/$(basename "$program")
  if [ -f "$fact" ] && [ "$(sed -n 1p "$fact")" = "$key" ]; then
    sed -n 2p "$fact"
    return 0
  fi
  text=$("$@" 2>&1 </dev/null 9>&-) || return 1
  text=$(printf '%s\n' "$text" | grep -oE '[0-9]+(\.[0-9]+)+(p[0-9]+)?' | head -n 1)
  printf '%s\n%s\n' "$key" "${text:-?}" >"$fact.$$"
  mv "$fact.$$" "$fact"
  printf '%s\n' "${text:-?}"
}

# at_least VERSION LEAST: compares dotted numbers.
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# report PART VERSION FROM [NAME=value…]: one line of the table, and lines of the env file.
report() {
  printf '%-12s %-16s %s\n' "$1" "$2" "$3"
  shift 3
  env_lines+=("$@")
}

# link NAME PATH: a name in <cache>/bin, for those who want one directory on PATH.
link() {
  mkdir -p "$cache/bin"
  if [ "$(readlink "$cache/bin/$1" 2>/dev/null)" != "$2" ]; then
    ln -sfn "$2" "$cache/bin/.$1.$$"
    mv -fT "$cache/bin/.$1.$$" "$cache/bin/$1"
  fi
}

write_env() {
  local line
  {
    echo "# Where the test harness finds the real parts. Written by tests/testbed/install.sh."
    for line in "SHIPIT_TESTBED_DIR=$cache" "SHIPIT_TESTBED_BIN=$cache/bin" "${env_lines[@]}"; do
      printf "export %s='%s'\n" "${line%%=*}" "$(printf '%s' "${line#*=}" | sed "s/'/'\\\\''/g")"
    done
  } >"$cache/env.$$"
  mv -f "$cache/env.$$" "$cache/env"
}
