package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	var task taskFlags
	var listen string
	var accessLog bool
	cmd := &cobra.Command{
		Use:   "serve [flags] <file>",
		Short: "Serves a webtask, and uses each new version of it",
		Long: `
Serves the webtask of a file for every path, until it is stopped. A changed file
is used from the next request on; one that does not compile leaves the last
good version in use, and what is wrong with it is logged. Sessions are kept
across restarts, those of each address apart.`,
		Example: `  $ caddy webtask serve hello.js
  $ caddy webtask serve hello.js --listen :9000 --secret API_KEY=@key.txt`,
		Args: exactArgs("a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkListen(cmd.Context(), listen); err != nil {
				return err
			}
			config, err := serveConfig(args[0], &task, listen, accessLog)
			if err != nil {
				return err
			}
			caddy.TrapSignals()
			if err := caddy.Run(config); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "Serving %s on %s\n", args[0], listen)
			<-cmd.Context().Done()
			return nil
		},
	}
	task.add(cmd)
	cmd.Flags().StringVarP(&listen, "listen", "l", "localhost:8080", "Where to listen: `HOST:PORT`, or :PORT for every interface")
	cmd.Flags().BoolVar(&accessLog, "access-log", false, "Log requests")
	return cmd
}

// checkListen refuses an address that something listens on. Caddy lets two
// processes share one, as a new one does that takes over from an old: of two
// tasks, each would answer some of the requests.
func checkListen(ctx context.Context, listen string) error {
	if strings.Contains(listen, "/") {
		return nil // of another network, such as unix//run/task.sock
	}
	if _, port, err := net.SplitHostPort(listen); err != nil || port == "" {
		return fmt.Errorf("--listen: %q is no address; write HOST:PORT or :PORT, such as localhost:9000", listen)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("--listen: %s: address in use; stop what listens there, or name another with --listen, such as localhost:9000", listen)
	}
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	return listener.Close()
}

// servedStore is the file that keeps the sessions of an address: a file is for
// one process, and several may serve at once.
func servedStore(listen string) string {
	name := strings.Trim(strings.NewReplacer(":", "-", "/", "-", "[", "", "]", "").Replace(listen), "-")
	return filepath.Join(caddy.AppDataDir(), "webtask", "serve-"+name+".db")
}

func serveConfig(file string, f *taskFlags, listen string, accessLog bool) (*caddy.Config, error) {
	secrets, err := assignments("secret", f.secrets, true)
	if err != nil {
		return nil, err
	}
	params, err := assignments("param", f.params, false)
	if err != nil {
		return nil, err
	}
	// The values are what they are: braces in them are no placeholders.
	for _, values := range []map[string]string{secrets, params} {
		for name, value := range values {
			values[name] = strings.NewReplacer("{", `\{`, "}", `\}`).Replace(value)
		}
	}
	server := &caddyhttp.Server{
		Listen:      []string{listen},
		ReadTimeout: caddy.Duration(time.Minute),
		Routes: caddyhttp.RouteList{{HandlersRaw: []json.RawMessage{
			caddyconfig.JSONModuleObject(&Handler{Code: &Code{File: file}, Secrets: secrets, Params: params, Container: "@localhost"}, "handler", "webtask", nil),
		}}},
		AutoHTTPS: &caddyhttp.AutoHTTPSConfig{Disabled: true},
	}
	if accessLog {
		server.Logs = new(caddyhttp.ServerLogConfig)
	}
	app := &App{
		Store:       &Store{Engine: "file", Path: servedStore(listen)},
		EgressAllow: f.allowed(),
	}
	persist := false
	return &caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &persist}},
		AppsRaw: caddy.ModuleMap{
			"http":    caddyconfig.JSON(caddyhttp.App{Servers: map[string]*caddyhttp.Server{"webtask": server}}, nil),
			"webtask": caddyconfig.JSON(app, nil),
		},
	}, nil
}
