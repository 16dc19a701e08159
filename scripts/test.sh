#!/usr/bin/env bash
# Everything there is to test, with the race detector. A skipped test fails the
# run: it is a test that nobody runs.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/deps.sh
scripts/lint.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Caddy's own test harness skips under -short and -trimpath, so neither is set.
GOFLAGS=${GOFLAGS:-}
export GOFLAGS=${GOFLAGS//-trimpath/}

# Packages under tests/ start servers, browsers and load of their own: one
# after the other, so that none measures its neighbour.
status=0
go_test() {
	"${GO:-go}" test -race -count=1 -timeout 12m -v "$@" 2>&1 | grep --line-buffered -v '^=== ' | tee -a "$log" || status=1
}
# shellcheck disable=SC2046 # package paths hold no spaces
go_test $("${GO:-go}" list ./... | grep -v '/tests/')
go_test -p 1 ./tests/...

if grep -E '^ *--- SKIP' "$log" >&2; then
	echo "tests were skipped, see above: every test must run" >&2
	status=1
fi
if [ $status -ne 0 ]; then
	echo "failed:" >&2
	grep -E '^ *--- FAIL|^FAIL|^panic:' "$log" >&2 || true
	exit 1
fi
echo "all tests passed: $(grep -cE '^ *--- PASS' "$log") of them in $(grep -c '^ok' "$log") packages"
