package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// spawnConfig is how a caller wants a backend to be started. What the block of
// session_backend decides is refused, unless it is what the block says.
type spawnConfig struct {
	ID             string     `json:"id"`
	Cluster        string     `json:"cluster"`
	Pool           string     `json:"pool"`
	Subdomain      string     `json:"subdomain"`
	Tag            string     `json:"tag"` // of an image; Jamsocket's
	Executable     executable `json:"executable"`
	Lifetime       *int64     `json:"lifetime_limit_seconds"`
	Idle           *int64     `json:"max_idle_seconds"`
	UseStaticToken bool       `json:"use_static_token"`
}

// executable is what a caller wants to be run. How an image would be pulled says
// nothing of what is run, and is not read.
type executable struct {
	Image          string            `json:"image"`
	Command        string            `json:"command"`
	Env            map[string]string `json:"env"`
	NetworkName    string            `json:"network_name"`
	Mount          json.RawMessage   `json:"mount"`
	ResourceLimits json.RawMessage   `json:"resource_limits"`
	Credentials    json.RawMessage   `json:"credentials"`
}

// maxEnv bounds the bytes of variables that a caller may set.
const maxEnv = 32 << 10

// refuseSpawn refuses a field of a spawnConfig.
func refuseSpawn(field, format string, args ...any) error {
	return &fault{status: http.StatusBadRequest, kind: kindInvalidSpawnConfig, message: "spawn_config." + field + ": " + fmt.Sprintf(format, args...)}
}

// spawn returns what is asked for, as a service takes it; nil for nil.
func (c *spawnConfig) spawn(b *SessionBackend) (*sessionbackend.Spawn, error) {
	if c == nil {
		return nil, nil
	}
	if err := c.checkFixed(b); err != nil {
		return nil, err
	}
	var spawn sessionbackend.Spawn
	size := 0
	for name, value := range c.Executable.Env {
		if !slices.Contains(b.AllowEnv, name) {
			return nil, refuseSpawn("executable.env", "%s may not be set; the option allow_env of session_backend %s names those that may", name, b.Name)
		}
		if strings.IndexByte(value, 0) >= 0 {
			return nil, refuseSpawn("executable.env", "the value of %s has a NUL byte in it", name)
		}
		size += len(name) + len(value)
	}
	if size > maxEnv {
		return nil, refuseSpawn("executable.env", "it has %d bytes; %d are the most", size, maxEnv)
	}
	spawn.Env, spawn.Static = c.Executable.Env, c.UseStaticToken
	for field, limit := range map[string]struct {
		seconds *int64
		into    *time.Duration
	}{"lifetime_limit_seconds": {c.Lifetime, &spawn.Lifetime}, "max_idle_seconds": {c.Idle, &spawn.Idle}} {
		if limit.seconds == nil {
			continue
		}
		const longest = int64(100 * 365 * 24 * time.Hour / time.Second)
		if *limit.seconds < 1 || *limit.seconds > longest {
			return nil, refuseSpawn(field, "%d is not from 1 to %d", *limit.seconds, longest)
		}
		*limit.into = time.Duration(*limit.seconds) * time.Second
	}
	return &spawn, nil
}

// checkFixed refuses what is not the caller's to say.
func (c *spawnConfig) checkFixed(b *SessionBackend) error {
	for field, program := range map[string]string{"executable.image": c.Executable.Image, "executable.command": c.Executable.Command} {
		if program != "" && !slices.Contains(b.program, program) {
			return refuseSpawn(field, "%q is not what session_backend %s runs; leave it out", program, b.Name)
		}
	}
	for field, given := range map[string]bool{
		"id": c.ID != "", "subdomain": c.Subdomain != "", "tag": c.Tag != "",
		"executable.network_name": c.Executable.NetworkName != "", "executable.mount": saysSomething(c.Executable.Mount),
		"executable.resource_limits": saysSomething(c.Executable.ResourceLimits), "executable.credentials": saysSomething(c.Executable.Credentials),
	} {
		if given {
			return refuseSpawn(field, "is not to be had here; leave it out")
		}
	}
	return nil
}

// saysSomething reports whether JSON is more than a way to say nothing, such as an
// object whose members are null.
func saysSomething(text json.RawMessage) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) == nil {
		return slices.ContainsFunc(slices.Collect(maps.Values(members)), saysSomething)
	}
	return len(text) > 0 && string(text) != "false"
}
