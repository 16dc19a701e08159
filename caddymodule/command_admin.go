package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

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
	address := strings.TrimSuffix(given, "/")
	if address == "" {
		text, err := f.read()
		if err != nil {
			return fmt.Errorf("reading the configuration, for the admin address that --address would name: %w", err)
		}
		if address, err = adminAddress(text); err != nil {
			return err
		}
	}
	response, err := caddycmd.AdminAPIRequest(address, method, uri, nil, body)
	switch {
	case err != nil && strings.Contains(err.Error(), "dial "): // Caddy does not wrap the cause
		return fmt.Errorf("asking the running server at %s: %w; start it with `caddy run`, or name its admin address with --address (or --config)", address, err)
	case err != nil:
		return fmt.Errorf("asking the running server at %s: %w", address, err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of the server at %s: %w", address, err)
	}
	return nil
}

// adminAddress returns where a configuration has its admin API.
func adminAddress(config []byte) (string, error) {
	var parsed struct {
		Admin caddy.AdminConfig `json:"admin"`
	}
	if len(config) > 0 {
		if err := json.Unmarshal(config, &parsed); err != nil {
			return "", fmt.Errorf("reading the address of the admin API: %w", err)
		}
	}
	return cmp.Or(parsed.Admin.Listen, caddy.DefaultAdminListen), nil
}
