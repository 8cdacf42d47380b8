# shellcheck shell=bash
# shellcheck disable=SC2154  # cache, ci, root and work are set by install.sh, which sources this
# The S3 server: versitygw, built from its module.

versitygw_version=1.8.0

s3_install() {
  local dir=$cache/versitygw-$versitygw_version next
  if named_program s3 VERSITYGW versitygw; then
    return 0
  fi
  if ! [ -x "$dir/versitygw" ]; then
    next="see that Go's module proxy is reachable (go env GOPROXY), or set VERSITYGW to a versitygw $versitygw_version"
    say "building versitygw $versitygw_version (about two minutes)"
    : >"$cache/log/s3.log"
    mkdir -p "$work/versitygw-bin"
    logged s3 "$next" go_build_env "$work/versitygw-bin" \
      "$(chosen_path go)" install "github.com/versity/versitygw/cmd/versitygw@v$versitygw_version"
    rm -rf "$dir"
    mv -T "$work/versitygw-bin" "$dir"
  fi
  chose s3 "$dir/versitygw" "built with go install"
}

s3_report() {
  local path version
  path=$(chosen_path s3)
  # One built by go install prints no version of its own.
  case "$path" in
    "$cache"/*) version=$versitygw_version ;;
    *) version=$(version_of "$path" --version || echo '?') ;;
  esac
  report versitygw "$version" "$path ($(chosen_from s3))" "VERSITYGW=$path"
  link versitygw "$path"
}
