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
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/xcaddy"

	// The modules that the result must have.
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

// checkModules runs the binary's list-modules and fails when a module that
// this program was linked with is absent.
func checkModules(ctx context.Context, binary string) error {
	path, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, path, "list-modules").Output()
	if err != nil {
		return fmt.Errorf("running %s list-modules: %w", binary, err)
	}
	listed := strings.Fields(string(out))
	var absent []string
	for _, id := range caddy.Modules() {
		if !slices.Contains(listed, id) {
			absent = append(absent, id)
		}
	}
	if absent != nil {
		return fmt.Errorf("%s lacks the modules %s; is the plugin in xcaddy.json?", binary, strings.Join(absent, ", "))
	}
	return nil
}
