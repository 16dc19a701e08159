// Package caddywebtask is Webtask Edge as a plugin of Caddy: importing it
// registers every module of it. It is what xcaddy builds:
//
//	xcaddy build --with github.com/webtask-edge/caddy-webtask
//
// The modules themselves are in package caddymodule.
package caddywebtask

import (
	_ "github.com/webtask-edge/caddy-webtask/caddymodule"
	_ "github.com/webtask-edge/caddy-webtask/caddymodule/drivers/docker"
	_ "github.com/webtask-edge/caddy-webtask/caddymodule/drivers/process"
)
