# shellcheck shell=bash
# shellcheck disable=SC2154  # cache, ci, bench, root and work are set by install.sh, which sources this
# Debian's packages: which programs are missing, which packages bring them, and installing those. Asks for
# root only when something is missing, and leaves no daemon running that was not running before.

# "PROGRAM PACKAGE" lines. A program found on PATH counts, whoever installed it.
debian_programs='
git git
ssh openssh-client
ssh-keygen openssh-client
sshd openssh-server
ruby ruby
gem ruby
bundle bundler
carton carton
perl perl
cc build-essential
make build-essential
rsync rsync
zstd zstd
bsdtar libarchive-tools
git-lfs git-lfs
npm npm
setfattr attr
strace strace
'

# What the table shows: "PROGRAM ARGUMENT…".
debian_shown='
git --version
ruby --version
bundle --version
carton --version
perl -e printf("%vd",$^V)
rsync --version
zstd --version
bsdtar --version
git-lfs --version
npm --version
strace -V
node --version
'

policy_file=/usr/sbin/policy-rc.d
policy_written=no

debian_install() {
  local missing
  missing=$(debian_missing)
  if [ -z "$missing" ]; then
    return 0
  fi
  # shellcheck disable=SC2086  # one word per package is meant
  debian_apt_install debian $missing
  missing=$(debian_missing)
  if [ -n "$missing" ]; then
    fail debian "looking for what was just installed" "still missing after apt-get install: ${missing//$'\n'/ }" \
      "see that /usr/bin and /usr/sbin are on PATH, and that no broken program of the same name comes first"
  fi
}

# The packages that are missing, one a line.
debian_missing() {
  {
    local program package
    while read -r program package; do
      if [ -n "$program" ] && ! type -P "$program" >/dev/null; then
        echo "$package"
      fi
    done <<<"$debian_programs"
    if type -P ruby >/dev/null && ! ruby_has_headers; then
      echo ruby-dev
    elif ! type -P ruby >/dev/null; then
      echo ruby-dev
    fi
    if [ -z "$(aws_find)" ]; then
      echo awscli
    fi
    if [ "$ci" = yes ] && ! type -P shellcheck >/dev/null; then
      echo shellcheck
    fi
    if [ "$bench" = yes ] && ! type -P cmake >/dev/null; then
      echo cmake
    fi
    if ! go_is_there && ! python_has_venv; then
      echo python3-venv
    fi
  } | sort -u
}

ruby_has_headers() {
  local ruby dir fact
  ruby=$(type -P ruby)
  fact=$cache/facts/ruby-headers
  dir=$(sed -n 1p "$fact" 2>/dev/null || true)
  if [ -n "$dir" ] && [ -f "$dir/ruby.h" ]; then
    return 0
  fi
  dir=$("$ruby" -rrbconfig -e 'print RbConfig::CONFIG["rubyhdrdir"]' 2>/dev/null || true)
  if [ -z "$dir" ] || ! [ -f "$dir/ruby.h" ]; then
    return 1
  fi
  printf '%s\n' "$dir" >"$fact"
}

# The first aws that answers: a version manager's shim may be there with nothing behind it.
aws_find() {
  local path
  while read -r path; do
    if [ -n "$path" ] && version_of "$path" --version >/dev/null; then
      printf '%s\n' "$path"
      return 0
    fi
  done < <(type -aP aws || true)
  return 0
}

# debian_apt_install PART PACKAGE…
debian_apt_install() {
  local part=$1 as_root=()
  shift
  if ! type -P apt-get >/dev/null; then
    fail "$part" "installing $*" "this machine has no apt-get" \
      "install what these Debian packages bring, by hand: $*; then run this script again"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! type -P sudo >/dev/null; then
      fail "$part" "installing $*" "it takes root, and there is no sudo" "as root: apt-get update && apt-get install -y $*"
    fi
    as_root=(sudo)
  fi
  as_root+=(env DEBIAN_FRONTEND=noninteractive)
  local apt=(apt-get -y -o DPkg::Lock::Timeout=300)
  : >"$cache/log/$part.log"
  say "installing Debian's packages: $*"
  # One unreachable source of the machine's own must not stop us: what matters is whether the install works.
  if ! tried "$part" "${as_root[@]}" "${apt[@]}" update; then
    say "apt-get update complained (see $cache/log/$part.log); going on"
  fi
  debian_hold_daemons "$*"
  logged "$part" "as root: apt-get update && apt-get install -y $*; then run this script again" \
    "${as_root[@]}" "${apt[@]}" install --no-install-recommends "$@"
  debian_release_daemons "$*"
  hash -r
}

# A fresh openssh-server would start its daemon. policy-rc.d is Debian's way to say no; one that is there
# already is the owner's, and stays as it is.
debian_hold_daemons() {
  case " $1 " in
    *' openssh-server '*) ;;
    *) return 0 ;;
  esac
  if [ -e "$policy_file" ]; then
    return 0
  fi
  printf '#!/bin/sh\nexit 101\n' >"$work/policy-rc.d"
  logged debian "make $policy_file writable for root" "${as_root[@]}" install -m 0755 "$work/policy-rc.d" "$policy_file"
  policy_written=yes
}

debian_release_daemons() {
  debian_restore_policy
  case " $1 " in
    *' openssh-server '*)
      if [ -d /run/systemd/system ]; then
        # Nor at the next boot: the tests start an sshd of their own.
        tried debian "${as_root[@]}" systemctl disable ssh.service || true
      fi
      ;;
  esac
}

debian_restore_policy() {
  if [ "$policy_written" = yes ]; then
    policy_written=no
    if [ "$(id -u)" -eq 0 ]; then
      rm -f "$policy_file"
    else
      sudo rm -f "$policy_file"
    fi
  fi
}

debian_report() {
  local program path version arguments aws
  while read -r program arguments; do
    if [ -z "$program" ]; then
      continue
    fi
    path=$(type -P "$program" || true)
    if [ -z "$path" ]; then
      continue
    fi
    # shellcheck disable=SC2086  # the arguments are words
    version=$(version_of "$path" $arguments || echo '?')
    report "$program" "$version" "$path"
  done <<<"$debian_shown"
  path=$(type -P sshd)
  # sshd has no option that prints its version; the client of the same build has.
  report sshd "$(version_of "$(type -P ssh)" -V || echo '?')" "$path" "SSHD=$path"
  aws=$(aws_find)
  report aws "$(version_of "$aws" --version)" "$aws" "AWS=$aws"
}
