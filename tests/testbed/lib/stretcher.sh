# shellcheck shell=bash
# shellcheck disable=SC2154  # cache, ci, root and work are set by install.sh, which sources this
# stretcher: the program, and its source, whose test literals the tests read. Some Go proxies refuse its
# module; then the source comes from $STRETCHER_SRC or from ../shared/stretcher beside the clone.

stretcher_version=1.1.0
stretcher_module=github.com/fujiwara/stretcher

stretcher_dir() {
  printf '%s\n' "$cache/stretcher-$stretcher_version"
}

stretcher_install() {
  local dir
  dir=$(stretcher_dir)
  if named_program stretcher STRETCHER stretcher; then
    stretcher_keep_source
    return 0
  fi
  if ! [ -x "$dir/bin/stretcher" ]; then
    say "building stretcher $stretcher_version (about a minute)"
    : >"$cache/log/stretcher.log"
    if ! stretcher_from_proxy; then
      stretcher_from_source
    fi
    mkdir -p "$dir"
    rm -rf "${dir:?}/bin"
    mv -T "$work/stretcher-bin" "$dir/bin"
  fi
  stretcher_keep_source
  chose stretcher "$dir/bin/stretcher" "built from $(cat "$dir/bin/built-from")"
}

stretcher_from_proxy() {
  mkdir -p "$work/stretcher-bin"
  if ! tried stretcher go_build_env "$work/stretcher-bin" timeout 300 "$(chosen_path go)" install \
    -ldflags "-X main.Version=v$stretcher_version" "$stretcher_module/cmd/stretcher@v$stretcher_version"; then
    say "Go's proxy did not give stretcher's module (see $cache/log/stretcher.log); taking the source at hand"
    return 1
  fi
  echo "$stretcher_module@v$stretcher_version" >"$work/stretcher-bin/built-from"
}

# The source tree that the machine has, or nothing.
stretcher_local_source() {
  local dir
  if [ -n "${STRETCHER_SRC-}" ] && ! in_cache "$STRETCHER_SRC"; then
    if ! [ -f "$STRETCHER_SRC/go.mod" ]; then
      fail stretcher "using \$STRETCHER_SRC" "$STRETCHER_SRC holds no go.mod" \
        "unset STRETCHER_SRC, or set it to stretcher's source tree"
    fi
    realpath "$STRETCHER_SRC"
    return 0
  fi
  dir=$root/../shared/stretcher
  if [ -f "$dir/go.mod" ]; then
    realpath "$dir"
  fi
}

stretcher_from_source() {
  local from
  from=$(stretcher_local_source) || exit 1
  if [ -z "$from" ]; then
    fail stretcher "looking for stretcher's source" \
      "STRETCHER_SRC is unset, there is no ../shared/stretcher beside $root, and Go's proxy refused the module" \
      "set STRETCHER_SRC to a checkout of $stretcher_module v$stretcher_version, or STRETCHER to the program"
  fi
  # The tree may be read-only, and go may want to write beside go.mod: it is built from a copy.
  cp -R "$from" "$work/stretcher-src"
  chmod -R u+w "$work/stretcher-src"
  mkdir -p "$work/stretcher-bin"
  logged stretcher "see that Go's module proxy is reachable (go env GOPROXY): the dependencies come from there" \
    go_build_env "$work/stretcher-bin" "$(chosen_path go)" -C "$work/stretcher-src" install -buildvcs=false \
    -ldflags "-X main.Version=v$stretcher_version" ./cmd/stretcher
  echo "$from" >"$work/stretcher-bin/built-from"
}

# Keeps a copy of the source in the cache, so that the tests have it wherever the program came from.
stretcher_keep_source() {
  local dir from mod
  dir=$(stretcher_dir)
  if [ -f "$dir/src/manifest_test.go" ]; then
    return 0
  fi
  from=$(stretcher_local_source) || exit 1
  if [ -z "$from" ]; then
    mod=$("$(chosen_path go)" mod download -json "$stretcher_module@v$stretcher_version" 2>>"$cache/log/stretcher.log" || true)
    from=$(printf '%s\n' "$mod" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",\{0,1\}$/\1/p')
  fi
  if [ -z "$from" ] || ! [ -f "$from/manifest_test.go" ]; then
    fail stretcher "looking for stretcher's source" "the tests read its manifest_test.go, and no source tree was found" \
      "set STRETCHER_SRC to a checkout of $stretcher_module v$stretcher_version"
  fi
  mkdir -p "$dir"
  rm -rf "$dir/src" "$work/stretcher-keep"
  cp -R "$from" "$work/stretcher-keep"
  chmod -R u+w "$work/stretcher-keep"
  mv -T "$work/stretcher-keep" "$dir/src"
}

stretcher_report() {
  local path
  path=$(chosen_path stretcher)
  report stretcher "$(version_of "$path" --version || echo '?')" "$path ($(chosen_from stretcher))" \
    "STRETCHER=$path" "STRETCHER_SRC=$(stretcher_dir)/src"
  link stretcher "$path"
}
