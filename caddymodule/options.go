package caddymodule

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// option is one line of a Caddyfile block that configures a T. The tables of
// options are what the parser accepts, what its errors name, and what
// docs/caddyfile.md is compared with by a test.
type option[T any] struct {
	name   string
	syntax string // what follows the name
	dflt   string // what holds without it, as documents put it

	// repeats says that the option may stand more than once.
	repeats bool

	// parse reads the option; the dispenser stands on its name. It must
	// consume all arguments.
	parse func(d *caddyfile.Dispenser, target T) error
}

// parseBlock reads a block of options. context names the block in errors.
func parseBlock[T any](d *caddyfile.Dispenser, context string, options []option[T], target T) error {
	return parseBlockOr(d, context, options, target, func() (bool, error) { return false, nil })
}

// parseBlockOr reads a block of options in which there may be others: other is
// called on their names, and reports whether it has read one.
func parseBlockOr[T any](d *caddyfile.Dispenser, context string, options []option[T], target T, other func() (bool, error)) error {
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		i := slices.IndexFunc(options, func(o option[T]) bool { return o.name == name })
		if i < 0 {
			if read, err := other(); err != nil {
				return err
			} else if read {
				continue
			}
			return d.Errf("unknown option %q of %s; it has: %s", name, context, optionNames(options))
		}
		if seen[name] && !options[i].repeats {
			return d.Errf("option %s of %s is already specified", name, context)
		}
		seen[name] = true
		if err := options[i].parse(d, target); err != nil {
			return err
		}
	}
	return nil
}

func optionNames[T any](options []option[T]) string {
	if len(options) == 0 {
		return "none"
	}
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.name
	}
	return strings.Join(names, ", ")
}

// oneArg returns the only argument of the option the dispenser stands on.
func oneArg(d *caddyfile.Dispenser) (string, error) {
	name := d.Val()
	var value string
	if !d.AllArgs(&value) {
		return "", d.Errf("option %s takes one value", name)
	}
	if value == "" {
		return "", d.Errf("option %s: the value is empty", name)
	}
	return value, nil
}

// someArgs returns the arguments, at least one.
func someArgs(d *caddyfile.Dispenser) ([]string, error) {
	name := d.Val()
	values := d.RemainingArgs()
	if len(values) == 0 {
		return nil, d.Errf("option %s takes at least one value", name)
	}
	return values, nil
}

// flagArg reads an option without arguments.
func flagArg(d *caddyfile.Dispenser, target *bool) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("option %s takes no value", name)
	}
	*target = true
	return nil
}

// pair reads an option `name KEY VALUE` into a map.
func pair(d *caddyfile.Dispenser, into *map[string]string) error {
	option := d.Val()
	var key, value string
	if !d.AllArgs(&key, &value) {
		return d.Errf("option %s takes a name and a value", option)
	}
	if key == "" {
		return d.Errf("option %s: the name is empty", option)
	}
	if _, ok := (*into)[key]; ok {
		return d.Errf("%s %s is already specified", option, key)
	}
	if *into == nil {
		*into = map[string]string{}
	}
	(*into)[key] = value
	return nil
}

// FilePath returns a path of the Caddyfile as an absolute one: relative paths
// are relative to the folder of the file they stand in. One that begins with a
// placeholder is left as it is.
func FilePath(d *caddyfile.Dispenser, path string) (string, error) {
	if strings.HasPrefix(path, "{") || filepath.IsAbs(path) {
		return path, nil
	}
	abs, err := filepath.Abs(filepath.Join(filepath.Dir(d.File()), path))
	if err != nil {
		return "", d.WrapErr(err)
	}
	return abs, nil
}

// pathArg is oneArg for a path.
func pathArg(d *caddyfile.Dispenser) (string, error) {
	path, err := oneArg(d)
	if err != nil {
		return "", err
	}
	return FilePath(d, path)
}

// limitOptions returns the options that set limits, in the one table that the
// claim `lim` shares. Those in without are left out.
func limitOptions[T any](limits func(T) *webtask.Limits, dflt func(name string) string) []option[T] {
	var options []option[T]
	for _, field := range webtask.LimitFields() {
		name := field.Name
		options = append(options, option[T]{
			name:   name,
			syntax: "<" + string(field.Kind) + ">",
			dflt:   dflt(name),
			parse: func(d *caddyfile.Dispenser, target T) error {
				value, err := oneArg(d)
				if err != nil {
					return err
				}
				if err := setLimit(limits(target), name, value); err != nil {
					return d.WrapErr(err)
				}
				return nil
			},
		})
	}
	return options
}

// setLimit sets a limit, as the Caddyfile writes it.
func setLimit(limits *webtask.Limits, name, value string) error {
	if name == "isolates" && value == "auto" {
		limits.Isolates = 0
		return nil
	}
	return limits.Set(name, value)
}

// errMemory refuses a limit that nothing could keep.
var errMemory = fmt.Errorf("memory: is a limit of worker processes, and with isolation none isolates run in the server's own process; " +
	"write `isolation process`, or leave it out and bound the process from outside (systemd MemoryMax=, a container's memory limit)")
