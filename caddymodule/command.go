package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/certmagic"
	"github.com/spf13/cobra"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "webtask",
		Usage: "<command>",
		Short: "Makes tokens and keys, runs webtasks, looks at isolates",
		Long: `
Makes and revokes webtask tokens, makes the keys that sign them, runs and
serves single webtasks, and shows the isolates of a running server.

Commands that make or read tokens use the keys that the configuration names
and need no running server. Those that need one use its admin API.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.RunE = needCommand
			cmd.AddCommand(keygenCommand(), tokenCommand(), runCommand(), serveCommand(), poolsCommand())
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

// configFlags are how a command finds the configuration.
type configFlags struct {
	config, adapter string
}

func (f *configFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "Configuration `file` (default: Caddyfile in the current folder, if it is there)")
	cmd.Flags().StringVarP(&f.adapter, "adapter", "a", "", "Name of the config adapter to use for it")
}

// serverConfig is the part of a server's configuration that commands use.
type serverConfig struct {
	app     *App
	storage certmagic.Storage
}

// load reads the configuration, without starting anything of it. The cancel
// function releases what it took.
func (f *configFlags) load(ctx context.Context) (*serverConfig, context.CancelFunc, error) {
	text, _, _, err := caddycmd.LoadConfig(f.config, f.adapter)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var config struct {
		StorageRaw json.RawMessage            `json:"storage,omitempty" caddy:"namespace=caddy.storage inline_key=module"`
		Apps       map[string]json.RawMessage `json:"apps"`
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &config); err != nil {
			return nil, nil, fmt.Errorf("reading the configuration: %w", err)
		}
	}
	server := &serverConfig{app: new(App), storage: caddy.DefaultStorage}
	if raw := config.Apps["webtask"]; raw != nil {
		if err := caddy.StrictUnmarshalJSON(raw, server.app); err != nil {
			return nil, nil, fmt.Errorf("reading the configuration of webtask: %w", err)
		}
	}
	caddyCtx, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	if config.StorageRaw == nil {
		return server, cancel, nil
	}
	module, err := caddyCtx.LoadModule(&config, "StorageRaw")
	if err == nil {
		server.storage, err = module.(caddy.StorageConverter).CertMagicStorage()
	}
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("opening the storage of the configuration: %w", err)
	}
	return server, cancel, nil
}

// keyring returns the keys of the configured server; the first user of a
// storage makes them.
func (s *serverConfig) keyring(ctx context.Context) (*webtask.Keyring, error) {
	if s.app.Keys != "" {
		path := s.app.Keys
		if err := resolvePlaceholders(caddy.NewReplacer(), &path); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		return readKeyringFile(path)
	}
	if err := s.app.checkSharedKeys(s.storage); err != nil {
		return nil, err
	}
	return storedKeyring(ctx, s.storage)
}

// storageTimeout bounds how long a command waits for Caddy's storage.
const storageTimeout = 30 * time.Second

// withKeyring calls f with the keys of the configuration.
func (f *configFlags) withKeyring(ctx context.Context, call func(*serverConfig, *webtask.Keyring) error) error {
	server, cancel, err := f.load(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	limited, stop := context.WithTimeout(ctx, storageTimeout)
	defer stop()
	ring, err := server.keyring(limited)
	if err != nil {
		return err
	}
	return call(server, ring)
}

// adminFlags are how a command finds the admin API of the running server.
type adminFlags struct {
	configFlags
	address string
}

func (f *adminFlags) add(cmd *cobra.Command) {
	f.configFlags.add(cmd)
	cmd.Flags().StringVar(&f.address, "address", "", "Address of the running server's admin API (default: that of the configuration)")
}

// request calls the admin API and decodes its answer.
func (f *adminFlags) request(method, uri string, body io.Reader, answer any) error {
	// The environment variable and --address of operators may have a scheme.
	given := strings.TrimPrefix(f.address, "http://")
	address, err := caddycmd.DetermineAdminAPIAddress(strings.TrimSuffix(given, "/"), nil, f.config, f.adapter)
	if err != nil {
		return err
	}
	response, err := caddycmd.AdminAPIRequest(address, method, uri, nil, body)
	if err != nil {
		return fmt.Errorf("asking the running server at %s: %w", address, err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of the server at %s: %w", address, err)
	}
	return nil
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
