#!/usr/bin/env bash
# Builds the edge, issues the token of the example page, and serves
# Caddyfile.example. PORT and API_PORT choose other ports than 8080 and 8081.
set -euo pipefail
cd "$(dirname "$0")/.."

export PORT=${PORT:-8080} API_PORT=${API_PORT:-8081}
export LOGBOOKS=${LOGBOOKS:-${XDG_DATA_HOME:-$HOME/.local/share}/caddy/logbooks}

echo "building bin/caddy (the first time takes a few minutes)"
make --no-print-directory build logbook

# A new key of the example's API each time: it lives in the API's environment
# and, encrypted, in the token.
DEMO_API_KEY=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
export DEMO_API_KEY

token=$(bin/caddy webtask token issue --config Caddyfile.example --container demo \
	--url "http://localhost:$PORT/tasks/report.js" \
	--secret API_KEY=@<(printf %s "$DEMO_API_KEY") \
	--param "API_URL=http://localhost:$API_PORT/harbour" \
	--net "localhost:$API_PORT" --expires 30d)
printf 'export default "%s";\n' "$token" >examples/site/token.js

echo "serving http://localhost:$PORT (stop with Ctrl-C)"
exec bin/caddy run --config Caddyfile.example --adapter caddyfile
