package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/certmagic"
	"github.com/spf13/cobra"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// configFlags are how a command finds the configuration.
type configFlags struct {
	config, adapter string
}

func (f *configFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "Configuration `file` (default: Caddyfile in the current folder, if it is there)")
	cmd.Flags().StringVarP(&f.adapter, "adapter", "a", "", "Name of the config adapter to use for it")
}

// read returns the configuration as JSON; nil: there is none. It goes about it
// as Caddy's commands do, but says nothing where all is well: what a command
// prints may go to a file, and its standard error to a mail.
func (f *configFlags) read() ([]byte, error) {
	name, adapter := f.config, f.adapter
	var text []byte
	var err error
	switch name {
	case "":
		if adapter != "" {
			return nil, errors.New("--adapter needs the file it is for; name it with --config")
		}
		name, adapter = "Caddyfile", "caddyfile"
		if text, err = os.ReadFile(name); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	case "-":
		text, err = io.ReadAll(os.Stdin)
	default:
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, err
	}
	if adapter == "" && isCaddyfile(name) {
		adapter = "caddyfile"
	}
	if adapter == "" {
		if len(text) > 0 && !json.Valid(text) {
			return nil, fmt.Errorf("%s is not valid JSON; if it is in another format, name that with --adapter, as in --adapter caddyfile", name)
		}
		return text, nil
	}
	by := caddyconfig.GetAdapter(adapter)
	if by == nil {
		return nil, fmt.Errorf("--adapter: %q is unknown; caddy list-modules shows what there is (caddy.adapters.*)", adapter)
	}
	// Its warnings are about style; `caddy validate` shows them.
	text, _, err = by.Adapt(text, map[string]any{"filename": name})
	return text, err
}

// isCaddyfile reports whether a file is a Caddyfile by its name, as Caddy
// tells.
func isCaddyfile(name string) bool {
	base := strings.ToLower(filepath.Base(name))
	return filepath.Ext(base) != ".json" && (strings.HasPrefix(base, "caddyfile") || strings.HasSuffix(base, ".caddyfile"))
}

// serverConfig is the part of a server's configuration that commands use.
type serverConfig struct {
	app     *App
	storage certmagic.Storage
}

// load reads the configuration, without starting anything of it. The cancel
// function releases what it took.
func (f *configFlags) load(ctx context.Context) (*serverConfig, context.CancelFunc, error) {
	text, err := f.read()
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
		if err := ResolvePlaceholders(caddy.NewReplacer(), &path); err != nil {
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
