# What one does here. Each target is one line over go and scripts/.

GO   ?= go
TAGS ?= nobadger,nomysql,nopgx
export GO TAGS

.DEFAULT_GOAL := help

.PHONY: run build logbook xcaddy test bench faults attacks soak fuzz lint clean help

run: ## build, and serve Caddyfile.example on http://localhost:8080
	@scripts/run.sh

build: ## bin/caddy: Caddy's standard modules and ours
	@CGO_ENABLED=0 $(GO) build -tags $(TAGS) -o bin/caddy ./cmd/caddy

logbook: ## bin/logbook: the session backend of the example site
	@CGO_ENABLED=0 $(GO) build -o bin/logbook ./examples/logbook

xcaddy: ## bin/caddy-xcaddy: the same, through xcaddy and xcaddy.json
	@$(GO) run ./cmd/xcaddy-build -config xcaddy.json -output bin/caddy-xcaddy

test: ## vet, format and every test, with -race; installs or names what is missing
	@scripts/test.sh

lint: ## vet and format only
	@scripts/lint.sh

bench: ## the ratios of docs/performance.md, measured here and now
	@scripts/bench.sh

faults: ## the fault tests at full length (reloads for 60 s, edges and Redis for EDGE_FAULTS, default 10m)
	@FAULTS=60s $(GO) test -count=1 -v -timeout 20m ./tests/faults
	@FAULTS=$${EDGE_FAULTS:-10m} $(GO) test -count=1 -v -timeout 2h -run '^TestFaults$$' ./tests/edges

attacks: ## the whole attack suite, in each isolation mode and as each user
	@scripts/attacks.sh

soak: ## attackers, victims and reloads for SOAK (default 30m): nothing grows
	@SOAK=$${SOAK:-30m} $(GO) test -count=1 -v -timeout 8h -run '^TestSoak$$' ./tests/attacks

fuzz: ## every fuzz target for FUZZTIME (default 10m) each
	@scripts/fuzz.sh

clean: ## remove what was built
	@rm -rf bin

help: ## this list
	@grep -E '^[a-z]+: *##' Makefile | sed 's/: *## /\t/'
