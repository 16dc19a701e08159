package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "webtask",
		Usage: "<command>",
		Short: "Makes tokens and keys, runs webtasks, looks at isolates and session backends",
		Long: `
Makes and revokes webtask tokens, makes the keys that sign them, runs and
serves single webtasks, and shows the isolates and session backends of a
running server.

Commands that make or read tokens use the keys that the configuration names
and need no running server. Those that need one use its admin API.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.RunE = needCommand
			cmd.AddCommand(keygenCommand(), tokenCommand(), runCommand(), serveCommand(), poolsCommand(), backendsCommand())
		},
	})
}

// needCommand runs where a command of a command is missing or misspelt.
func needCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q of %s; run: %[2]s --help", args[0], cmd.CommandPath())
	}
	return cmd.Help()
}

// assignments reads flags NAME=VALUE into a map. In a secret a value @file
// stands for the text of that file, less a last line break.
func assignments(flag string, given []string, files bool) (map[string]string, error) {
	if len(given) == 0 {
		return nil, nil
	}
	values := make(map[string]string, len(given))
	for _, assignment := range given {
		name, value, ok := strings.Cut(assignment, "=")
		if !ok || name == "" {
			// The text is not shown: it may be a secret without a name.
			return nil, fmt.Errorf("--%s: write it as NAME=VALUE", flag)
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("--%s %s: is given twice", flag, name)
		}
		if path, isFile := strings.CutPrefix(value, "@"); isFile && files {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("--%s %s: %w", flag, name, err)
			}
			value = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
		}
		values[name] = value
	}
	return values, nil
}

// exactArgs demands one argument for each name, and shows how to use the
// command otherwise.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		cmd.SilenceUsage = false
		if len(names) == 0 {
			return errors.New("this command takes no arguments")
		}
		return fmt.Errorf("this command takes %s", strings.Join(names, " and "))
	}
}
