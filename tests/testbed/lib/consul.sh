# shellcheck shell=bash
# shellcheck disable=SC2154  # cache, ci, root and work are set by install.sh, which sources this
# Consul: $CONSUL, or the one on PATH, or 1.8.7 from Debian 11's archive. That archive is read through an apt
# of our own, from the Debian mirror that this machine uses: nothing is added to the system, and no root is taken.

consul_suite=bullseye
consul_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
consul_next="set CONSUL to a consul program, or put one on PATH; then run this script again"

consul_install() {
  local program
  if named_program consul CONSUL consul; then
    return 0
  fi
  program=$(consul_in_cache)
  if [ -z "$program" ]; then
    say "fetching consul from Debian's $consul_suite"
    : >"$cache/log/consul.log"
    consul_from_debian
    program=$(consul_in_cache)
  fi
  chose consul "$program" "Debian's $consul_suite"
}

consul_in_cache() {
  local program
  for program in "$cache"/consul-*/consul; do
    if [ -x "$program" ]; then
      printf '%s\n' "$program"
      return 0
    fi
  done
}

# The machine's Debian mirror. apt itself is asked, so that every form of sources counts.
consul_mirror() {
  local format="\$(ORIGIN)|\$(LABEL)|\$(REPO_URI)" rows
  rows=$(apt-get indextargets --format "$format" 'Created-By: Packages' 2>>"$cache/log/consul.log" | sort -u) || true
  # Before the first `apt-get update` origin and label are unknown: then the mirror's usual path tells.
  printf '%s\n' "$rows" | sed -n 's/^Debian|Debian|//p' | head -n 1 | grep . ||
    printf '%s\n' "$rows" | sed -n 's/^[^|]*|[^|]*|\(.*\/debian\/\{0,1\}\)$/\1/p' | head -n 1 | grep .
}

consul_from_debian() {
  local mirror apt=$work/apt
  if ! type -P apt-get >/dev/null || ! type -P dpkg >/dev/null; then
    fail consul "fetching consul" "this machine has no apt" "$consul_next"
  fi
  if ! mirror=$(consul_mirror); then
    fail consul "looking for this machine's Debian mirror" "apt's sources name none" "$consul_next"
  fi
  if ! [ -f "$consul_keyring" ]; then
    fail consul "checking Debian's signature" "$consul_keyring is missing" \
      "apt-get install debian-archive-keyring, or: $consul_next"
  fi
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/deb"
  printf 'deb [signed-by=%s] %s %s main\n' "$consul_keyring" "$mirror" "$consul_suite" >"$apt/sources.list"
  consul_apt_conf "$apt" >"$apt/conf"
  logged consul "$consul_next" apt-get -c "$apt/conf" update
  logged consul "$consul_next" env -C "$apt/deb" apt-get -c "$apt/conf" download consul
  consul_unpack "$apt"
}

# Hooks of the machine's own apt (they may want root, or empty its cache) are not for this one.
consul_apt_conf() {
  cat <<CONF
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$1/lists";
Dir::Cache "$1/cache";
APT::Sandbox::User "$(id -un)";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
}

consul_unpack() {
  local deb version debs=("$1"/deb/consul_*.deb)
  deb=${debs[0]}
  version=$(dpkg-deb -f "$deb" Version)
  version=${version%%+*}
  version=${version%%-*}
  logged consul "$consul_next" dpkg -x "$deb" "$1/root"
  mkdir -p "$1/out"
  cp "$1/root/usr/bin/consul" "$1/out/consul"
  rm -rf "$cache/consul-$version"
  mv -T "$1/out" "$cache/consul-$version"
}

consul_report() {
  local path
  path=$(chosen_path consul)
  report consul "$(version_of "$path" version || echo '?')" "$path ($(chosen_from consul))" "CONSUL=$path"
  link consul "$path"
}
