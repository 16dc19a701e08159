#!/usr/bin/env bash
# Measures the ratios of docs/performance.md. Arguments go to tests/bench; see
# `scripts/bench.sh -h`.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/deps.sh
make --no-print-directory build
exec "${GO:-go}" run ./tests/bench -caddy bin/caddy "$@"
