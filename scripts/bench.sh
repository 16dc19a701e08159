#!/usr/bin/env bash
# Measures what docs/performance.md says. Arguments go to go test, for example
# -bench Edge/token. See tests/bench for the settings.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/deps.sh
exec "${GO:-go}" test -run '^$' -bench . -benchtime 1x -timeout 30m -v "$@" ./tests/bench
