#!/usr/bin/env bash
# Runs every fuzz target, one after the other, FUZZTIME each (default 10m).
# FUZZ, a regular expression, picks some of them.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
for package in $($go list ./...); do
	for target in $($go test -list '^Fuzz' "$package" | grep -E '^Fuzz' | grep -E "${FUZZ:-.}" || true); do
		echo "$package $target"
		$go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10m}" "$package"
	done
done
