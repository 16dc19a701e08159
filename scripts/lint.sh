#!/usr/bin/env bash
# go vet, and gofmt: fails on a file that is not formatted.
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(gofmt -l $(git ls-files --cached --others --exclude-standard '*.go'))
if [ -n "$unformatted" ]; then
	printf 'not formatted (run gofmt -w on them):\n%s\n' "$unformatted" >&2
	exit 1
fi
"${GO:-go}" vet ./...
