package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/xcaddy"

	// What cmd/caddy is linked with, and so what the result must have.
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/webtask-edge/caddy-webtask/caddymodule"
)

// load reads the JSON of an xcaddy.Builder strictly. A replacement that is a
// relative path becomes absolute: xcaddy builds in a folder of its own.
func load(path string) (*xcaddy.Builder, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	builder := new(xcaddy.Builder)
	if err := decoder.Decode(builder); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: text follows the configuration; remove it", path)
	}
	base, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	for i, r := range builder.Replacements {
		if target := r.New.String(); isRelative(target) {
			builder.Replacements[i].New = xcaddy.ReplacementPath(filepath.Join(base, target))
		}
	}
	return builder, nil
}

// isRelative tells a path from a module, by the rule of go.mod (a path of a
// replacement begins with ./ or ../), and takes a bare "." or ".." for one too.
func isRelative(target string) bool {
	return target == "." || target == ".." || strings.HasPrefix(target, "./") || strings.HasPrefix(target, "../")
}

// checkModules runs the binary's list-modules and fails unless it names the
// modules that this program, and cmd/caddy, are linked with.
func checkModules(ctx context.Context, binary string) error {
	path, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, path, "list-modules", "--json").Output()
	if err != nil {
		return fmt.Errorf("running %s list-modules: %w", binary, err)
	}
	var listed []struct {
		ID string `json:"module_name"`
	}
	if err := json.Unmarshal(out, &listed); err != nil {
		return fmt.Errorf("reading what %s list-modules prints: %w", binary, err)
	}
	has := make(map[string]bool, len(listed))
	for _, module := range listed {
		has[module.ID] = true
	}
	var absent []string
	for _, id := range caddy.Modules() {
		if !has[id] {
			absent = append(absent, id)
		}
		delete(has, id)
	}
	if absent != nil {
		return fmt.Errorf("%s lacks the modules %s; is the plugin in the configuration?", binary, strings.Join(absent, ", "))
	}
	for id := range has {
		fmt.Fprintln(os.Stderr, "xcaddy-build: besides the modules of cmd/caddy it has", id)
	}
	return nil
}
