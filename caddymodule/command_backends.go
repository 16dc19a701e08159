package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

func backendsCommand() *cobra.Command {
	var admin adminFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backends [flags]",
		Short: "Shows the session backends of the running server",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []backendInfo
			if err := admin.request(http.MethodGet, "/webtask/backends", nil, &list); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(table, "SERVICE\tKEY\tID\tSTATUS\tAGE\tCONNECTIONS\tIDLE")
			for _, b := range list {
				age, idle := time.Since(b.Since).Round(time.Second), time.Duration(b.Idle*float64(time.Second)).Round(time.Second)
				// A key is a client's choice, and may have in it what a terminal obeys.
				_, _ = fmt.Fprintf(table, "%s\t%q\t%s\t%s\t%s\t%d\t%s\n", b.Service, b.Key, b.ID, b.Status, age, b.Connections, idle)
			}
			return table.Flush() // reports what failed before it, too
		},
	}
	admin.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.AddCommand(stopBackendsCommand())
	return cmd
}

func stopBackendsCommand() *cobra.Command {
	var admin adminFlags
	var key string
	var hard bool
	cmd := &cobra.Command{
		Use:   "stop [flags] <service>",
		Short: "Ends session backends of a service, and waits until they are gone",
		Args:  exactArgs("a service"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"service": {args[0]}}
			if cmd.Flags().Changed("key") {
				query.Set("key", key)
			}
			if hard {
				query.Set("kind", string(sessionbackend.Hard))
			}
			var answer endedBackends
			if err := admin.request(http.MethodDelete, "/webtask/backends?"+query.Encode(), nil, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.ErrOrStderr(), "Session backends ended:", answer.Ended)
			return err
		},
	}
	admin.add(cmd)
	cmd.Flags().StringVar(&key, "key", "", "That of this `key` only")
	cmd.Flags().BoolVar(&hard, "hard", false, "Kill them at once")
	return cmd
}
