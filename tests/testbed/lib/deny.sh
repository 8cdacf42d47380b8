# shellcheck shell=bash
# shellcheck disable=SC2154  # cache, ci, root and work are set by install.sh, which sources this
# cargo-deny, for CI alone: licenses, bans and sources of the dependency tree.

cargo_deny_version=0.20.2

# Whether it is there without building it.
deny_is_there() {
  local path
  path=$(type -P cargo-deny || true)
  if [ -n "$path" ] && ! in_cache "$path"; then
    chose deny "$path" PATH
  elif [ -x "$(deny_dir)/bin/cargo-deny" ]; then
    chose deny "$(deny_dir)/bin/cargo-deny" "cargo install"
  else
    return 1
  fi
}

deny_dir() {
  printf '%s\n' "$cache/cargo-deny-$cargo_deny_version"
}

deny_install() {
  if deny_is_there; then
    return 0
  fi
  say "building cargo-deny $cargo_deny_version (some minutes)"
  : >"$cache/log/deny.log"
  # A target directory of its own: the workspace's profile and lock are not its business.
  logged deny "install cargo-deny by hand and put it on PATH; then run this script again" \
    env -C "$work" CARGO_TARGET_DIR="$work/deny-target" \
    nice -n 15 cargo install --locked --version "$cargo_deny_version" --root "$work/deny" cargo-deny
  rm -rf "$(deny_dir)"
  mv -T "$work/deny" "$(deny_dir)"
  deny_is_there
}

deny_report() {
  local path
  path=$(chosen_path deny)
  report cargo-deny "$(version_of "$path" --version || echo '?')" "$path ($(chosen_from deny))" "CARGO_DENY=$path"
  link cargo-deny "$path"
}
