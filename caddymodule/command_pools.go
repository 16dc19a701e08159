package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

func poolsCommand() *cobra.Command {
	var admin adminFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pools [flags]",
		Short: "Shows the isolates of the running server",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var pools []jsruntime.PoolStats
			if err := admin.request(http.MethodGet, "/webtask/pools", nil, &pools); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(pools)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(table, "CONTAINER\tNAME\tPROGRAM\tIDLE\tBUSY\tQUEUED\tREQUESTS\tCREATED")
			for _, p := range pools {
				_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n", p.Container, p.Name, p.Program, p.Idle, p.Busy, p.Queued, p.Requests, p.Created)
			}
			return table.Flush() // reports what failed before it, too
		},
	}
	admin.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.AddCommand(flushCommand())
	return cmd
}

func flushCommand() *cobra.Command {
	var admin adminFlags
	var container string
	cmd := &cobra.Command{
		Use:   "flush [flags]",
		Short: "Throws isolates away; busy ones end with their request",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer struct {
				Flushed int `json:"flushed"`
			}
			uri := "/webtask/pools?" + url.Values{"container": {container}}.Encode()
			if err := admin.request(http.MethodDelete, uri, nil, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.ErrOrStderr(), "Isolates thrown away:", answer.Flushed)
			return err
		},
	}
	admin.add(cmd)
	cmd.Flags().StringVar(&container, "container", "", "Those of this `container` only")
	return cmd
}
