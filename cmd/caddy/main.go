// Command caddy is Caddy with its standard modules and Webtask Edge.
//
//	go build -tags nobadger,nomysql,nopgx -o bin/caddy ./cmd/caddy
//
// The tags leave out certificate stores that Caddy's own releases leave out.
package main

import (
	// Time zones, for systems that have none installed.
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/webtask-edge/caddy-webtask/caddymodule"
	_ "github.com/webtask-edge/caddy-webtask/caddymodule/drivers/docker"
	_ "github.com/webtask-edge/caddy-webtask/caddymodule/drivers/process"
)

func main() {
	caddycmd.Main()
}
