// Command xcaddy-build builds Caddy as xcaddy.json says, with xcaddy at the
// version that go.mod pins, and checks that every module of Webtask Edge is in
// the result.
//
//	go run ./cmd/xcaddy-build [-config xcaddy.json] [-output bin/caddy-xcaddy]
//
// The file is the JSON of xcaddy.Builder, decoded strictly: a misspelt key is
// an error. Relative paths in replacements are relative to the file.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	config := flag.String("config", "xcaddy.json", "the `file` that says what to build")
	output := flag.String("output", "bin/caddy-xcaddy", "the `file` to write the binary to")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *config, *output); err != nil {
		fmt.Fprintln(os.Stderr, "xcaddy-build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, config, output string) error {
	builder, err := load(config)
	if err != nil {
		return err
	}
	if err := builder.Build(ctx, output); err != nil {
		return fmt.Errorf("building %s: %w", output, err)
	}
	return checkModules(ctx, output)
}
