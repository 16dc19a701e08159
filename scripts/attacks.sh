#!/usr/bin/env bash
# Runs the whole attack suite and prints what was contained: under isolation
# process as this user, and as nobody where this user is root; then what
# isolation none does not contain. ATTACK, a regular expression over class/name,
# picks some. Arguments go to go test, for example -run TestAttacks.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each dangerous attack of TestIsolationNone has an edge of its own, of which
# only the verdict is worth a line.
ATTACKS=all "${GO:-go}" test -count=1 -timeout 2h -v "$@" ./tests/attacks |
	grep --line-buffered -vE '^(=== | +--- PASS: TestIsolationNone/)'
