#!/usr/bin/env bash
# Installs or builds every real part that the tests of this project run against: Debian's tools, Go,
# an S3 server (versitygw), Consul and stretcher.
#
# Usage: tests/testbed/install.sh [--ci | --bench]
#   --ci      also what CI checks with: shellcheck and cargo-deny
#   --bench   also what the benchmarks build with: cmake, for zlib-ng
#
# What is there already is used as it is; a second run takes well under a second. Root (or sudo) is used
# only when a Debian package is missing. Everything else is built into
#   ${SHIPIT_TESTBED:-${XDG_CACHE_HOME:-$HOME/.cache}/shipit-testbed}
# keyed by version, and never into the system. At the end <cache>/env tells the test harness where each
# part is. Several runs at once are safe: they take turns.
#
# Environment: SHIPIT_TESTBED (the cache directory); GO, CONSUL, STRETCHER, VERSITYGW (a program to use
# as it is); STRETCHER_SRC (stretcher's source tree).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

# shellcheck source=tests/testbed/lib/common.sh
. "$here/lib/common.sh"
# shellcheck source=tests/testbed/lib/debian.sh
. "$here/lib/debian.sh"
# shellcheck source=tests/testbed/lib/go.sh
. "$here/lib/go.sh"
# shellcheck source=tests/testbed/lib/s3.sh
. "$here/lib/s3.sh"
# shellcheck source=tests/testbed/lib/stretcher.sh
. "$here/lib/stretcher.sh"
# shellcheck source=tests/testbed/lib/consul.sh
. "$here/lib/consul.sh"
# shellcheck source=tests/testbed/lib/deny.sh
. "$here/lib/deny.sh"

ci=no
bench=no
case "${1-}" in
  '') ;;
  --ci) ci=yes ;;
  --bench) bench=yes ;;
  -h | --help)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  *)
    echo "install.sh: unknown argument '$1'; known: --ci, --bench, --help" >&2
    exit 2
    ;;
esac

# Debian keeps sshd and friends where an ordinary user's PATH does not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

cache=$(cache_dir)
mkdir -p "$cache/log" "$cache/facts"
take_lock "$cache/lock"
remove_leftovers
work=$(mktemp -d "$cache/work.$$.XXXXXX")
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The order matters: Go comes with Python's venv, which may need a Debian package; what Go builds needs Go.
debian_install
build_in_parallel go
build_in_parallel s3 stretcher consul

debian_report
go_report
s3_report
stretcher_report
consul_report
if deny_is_there; then
  deny_report
  ci=no
fi
write_env

if [ "$ci" = yes ]; then
  # Building this takes minutes, in which those who want to test must not wait: it has a lock of its own.
  take_lock "$cache/deny.lock"
  build_in_parallel deny
  deny_report
  write_env
fi
say "ready; $cache/env says where"
