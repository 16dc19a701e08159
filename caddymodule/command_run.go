package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// taskFlags say what the task of a command sees.
type taskFlags struct {
	secrets, params, egress []string
}

func (f *taskFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.secrets, "secret", nil, "A secret: `NAME=VALUE`, or NAME=@FILE for the text of a file")
	cmd.Flags().StringArrayVar(&f.params, "param", nil, "A parameter: `NAME=VALUE`")
	cmd.Flags().StringSliceVar(&f.egress, "egress", nil, "What the code may reach besides public addresses, as in the option egress allow: `hosts`")
}

// allowed returns the rules of egress. Any rule replaces the default, so the
// default is named with the others.
func (f *taskFlags) allowed() []string {
	if len(f.egress) == 0 {
		return nil
	}
	return append([]string{"public"}, f.egress...)
}

// runFlags are the request that `run` makes up.
type runFlags struct {
	taskFlags
	method, path, data string
	headers            []string
	include, integrity bool
}

func runCommand() *cobra.Command {
	f := new(runFlags)
	cmd := &cobra.Command{
		Use:   "run [flags] <file>",
		Short: "Runs a webtask once and prints its answer",
		Long: `
Runs the webtask of a file on one request, in this process, and prints the body
of its answer. What it prints with console goes to the standard error. The
session it writes is forgotten. The exit status is 0 if the answer's is below
400, else 1.

With --integrity it runs nothing, and prints the digest of every byte that would
have run, imports included: the value of the option integrity of a route.`,
		Example: `  $ caddy webtask run hello.js
  $ caddy webtask run hello.js -i --path '/?name=you' --secret API_KEY=@key.txt`,
		Args: exactArgs("a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.integrity {
				return printIntegrity(cmd, args[0])
			}
			answer := &printedAnswer{out: cmd.OutOrStdout(), include: f.include, header: http.Header{}}
			if err := f.run(cmd, args[0], answer); err != nil {
				return err
			}
			if answer.status >= http.StatusBadRequest {
				return fmt.Errorf("the task answered with status %d", answer.status)
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&f.method, "method", "X", "", "`Method` of the request (default GET, or POST with --data)")
	cmd.Flags().StringVar(&f.path, "path", "/", "`Path` and query of the request")
	cmd.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "A header of the request: `NAME: VALUE`")
	cmd.Flags().StringVarP(&f.data, "data", "d", "", "Body of the request; @FILE for that of a file, @- for the standard input")
	cmd.Flags().BoolVarP(&f.include, "include", "i", false, "Print the status and headers of the answer too")
	cmd.Flags().BoolVar(&f.integrity, "integrity", false, "Print the digest of the code, for the option integrity, and run nothing")
	return cmd
}

// run makes an edge for one request.
func (f *runFlags) run(cmd *cobra.Command, file string, answer *printedAnswer) error {
	task, err := f.task(file)
	if err != nil {
		return err
	}
	request, err := f.request(cmd)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "webtask-run-")
	if err != nil {
		return err
	}
	var held holdings
	logger := caddy.Log().Named("webtask")
	defer func() {
		held.drop(logger)
		if err := os.RemoveAll(scratch); err != nil {
			logger.Warn("removing the store of this run", zap.Error(err))
		}
	}()
	sharedLog.use(logger)
	e, err := f.edge(&held, logger, filepath.Join(scratch, "store.db"))
	if err != nil {
		return err
	}
	info := &edge.RequestInfo{ClientIP: "127.0.0.1"}
	return e.Serve(answer, request, &edge.Route{Task: task}, info, func(http.ResponseWriter, *http.Request) error {
		return errors.New("the task was not run")
	})
}

// printIntegrity prints what pins the code of a file.
func printIntegrity(cmd *cobra.Command, file string) error {
	code := &Code{File: file}
	if err := code.checkFile(); err != nil {
		return err
	}
	ref, err := code.ref()
	if err != nil {
		return err
	}
	digest, err := (&serverConfig{app: new(App)}).integrity(cmd.Context(), ref)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), digest)
	return err
}

func (f *runFlags) edge(held *holdings, logger *zap.Logger, storePath string) (*edge.Edge, error) {
	store, err := holdStore(held, storeKey{Store: Store{Engine: "file", Path: storePath}})
	if err != nil {
		return nil, err
	}
	engine, err := holdEngine(held, engineKey{})
	if err != nil {
		return nil, err
	}
	loader, err := holdLoader(held, loaderKey{EgressAllow: f.allowed(), CacheDir: codeCacheDir()}, engine)
	if err != nil {
		return nil, err
	}
	return edge.New(edge.Options{
		Sessions:  store,
		Loader:    loader,
		Runner:    engine,
		Programs:  engine.programs,
		Transport: loader.transport,
		Egress:    loader.policy,
		Logger:    logger,
		Console:   logger.Named("console"),
	})
}

func (f *taskFlags) task(file string) (*webtask.Task, error) {
	handler := &Handler{Code: &Code{File: file}}
	if err := handler.Code.checkFile(); err != nil {
		return nil, err
	}
	var err error
	if handler.ref, err = handler.Code.ref(); err != nil {
		return nil, err
	}
	if handler.secrets, err = assignments("secret", f.secrets, true); err != nil {
		return nil, err
	}
	if handler.params, err = assignments("param", f.params, false); err != nil {
		return nil, err
	}
	return handler.task("@localhost")
}

func (f *runFlags) request(cmd *cobra.Command) (*http.Request, error) {
	var body io.Reader
	method := f.method
	if f.data != "" {
		if method == "" {
			method = http.MethodPost
		}
		path, isFile := strings.CutPrefix(f.data, "@")
		switch {
		case !isFile:
			body = strings.NewReader(f.data)
		case path == "-":
			body = cmd.InOrStdin()
		default:
			file, err := os.Open(path)
			if err != nil {
				return nil, fmt.Errorf("--data: %w", err)
			}
			body = file // closed with the request
		}
	}
	target, err := url.ParseRequestURI(f.path)
	if err != nil || !strings.HasPrefix(f.path, "/") {
		return nil, fmt.Errorf("--path: %q is no path; write one that begins with /", f.path)
	}
	request, err := http.NewRequestWithContext(cmd.Context(), method, "http://localhost"+f.path, body)
	if err != nil {
		return nil, err
	}
	request.URL, request.RequestURI, request.RemoteAddr = target, f.path, "127.0.0.1:0"
	for _, header := range f.headers {
		name, value, ok := strings.Cut(header, ":")
		if !ok || name == "" {
			return nil, errors.New("--header: write it as 'NAME: VALUE'")
		}
		request.Header.Add(name, strings.TrimSpace(value))
	}
	return request, nil
}

// printedAnswer is an http.ResponseWriter that prints.
type printedAnswer struct {
	out     io.Writer
	include bool
	header  http.Header
	status  int
}

func (a *printedAnswer) Header() http.Header { return a.header }

func (a *printedAnswer) WriteHeader(status int) {
	if a.status != 0 || status < http.StatusOK {
		return
	}
	a.status = status
	if !a.include {
		return
	}
	_, _ = fmt.Fprintf(a.out, "HTTP %d %s\n", status, http.StatusText(status))
	for _, name := range sorted(slices.Collect(maps.Keys(a.header))) {
		for _, value := range a.header[name] {
			_, _ = fmt.Fprintf(a.out, "%s: %s\n", name, value)
		}
	}
	_, _ = fmt.Fprintln(a.out)
}

func (a *printedAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.out.Write(p)
}

// Flush implements http.Flusher; nothing is held back.
func (a *printedAnswer) Flush() {}
