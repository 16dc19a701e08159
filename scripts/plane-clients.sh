#!/usr/bin/env bash
# Installs the clients of tests/plane/clients, in the versions that its lock file
# names, and prints the folder. It needs node and npm.
set -euo pipefail
cd "$(dirname "$0")/.."

from=tests/plane/clients
to=bin/test/plane-clients
mkdir -p "$to"
exec 9>"$to.lock"
flock 9
if ! cmp -s "$from/package-lock.json" "$to/installed"; then
	command -v npm >/dev/null || {
		echo "npm is missing; scripts/deps.sh installs it, or says how" >&2
		exit 1
	}
	rm -rf "$to"
	mkdir -p "$to"
	cp "$from/package.json" "$from/package-lock.json" "$to"
	npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund --loglevel error >&2
	cp "$from/package-lock.json" "$to/installed"
fi
cp "$from"/*.js "$to"
(cd "$to" && pwd)
