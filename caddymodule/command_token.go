package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// defaultExpiry is how long a token is valid unless --expires says otherwise.
const defaultExpiry = "90d"

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token <command>", Short: "Makes, shows and revokes tokens", RunE: needCommand}
	cmd.AddCommand(issueCommand(), inspectCommand(), revokeCommand())
	return cmd
}

// issueFlags are the claims of a token, as flags.
type issueFlags struct {
	configFlags
	container, name, url, host, expires, integrity string
	secrets, params, meta, net, limits             []string
	rates, containerRates                          []string
	depth, noSelfRevoke, parseBody                 int
	mergeBody, master                              bool
}

func issueCommand() *cobra.Command {
	f := new(issueFlags)
	cmd := &cobra.Command{
		Use:   "issue [flags]",
		Short: "Makes a token and prints it",
		Long: `
Makes a token with the keys that the configuration names, and prints the token
and nothing else. The running server need not be told of it.`,
		Example: `  $ caddy webtask token issue --container acme --url https://example.com/hello.js
  $ caddy webtask token issue --container acme --url https://example.com/pay.js \
      --secret API_KEY=@key.txt --param LANG=en --expires 1h --integrity auto`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withKeyring(cmd.Context(), func(server *serverConfig, ring *webtask.Keyring) error {
				now := time.Now()
				claims, err := f.claims(cmd, now)
				if err != nil {
					return err
				}
				if f.integrity == "auto" {
					if claims.URL == "" {
						return errors.New("--integrity auto: needs --url")
					}
					ref := webtask.CodeRef{Kind: webtask.CodeURL, Value: claims.URL}
					if claims.Integrity, err = server.integrity(cmd.Context(), ref); err != nil {
						return fmt.Errorf("--integrity auto: %w", err)
					}
				}
				token, err := ring.Issue(claims, webtask.IssueOptions{Now: now, Rand: rand.Reader, AllowMaster: f.master})
				if err != nil {
					return asFlag(err)
				}
				f.warn(cmd, server)
				_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
				return err
			})
		},
	}
	flags := cmd.Flags()
	f.add(cmd)
	flags.StringVar(&f.container, "container", "", "The `container` (claim ten)")
	flags.StringVar(&f.url, "url", "", "`URL` of the code (url)")
	flags.StringVar(&f.name, "name", "", "`Name` of the webtask (jtn)")
	flags.StringVar(&f.host, "host", "", "The only `host` the token works at (host)")
	flags.StringArrayVar(&f.secrets, "secret", nil, "A secret, encrypted: `NAME=VALUE`, or NAME=@FILE for the text of a file (ectx)")
	flags.StringArrayVar(&f.params, "param", nil, "A parameter, readable by whoever has the token: `NAME=VALUE` (pctx)")
	flags.StringArrayVar(&f.meta, "meta", nil, "Metadata: `NAME=VALUE` (meta)")
	flags.StringSliceVar(&f.net, "net", nil, "`Hosts` the code may call, of those that the server allows (net)")
	flags.StringArrayVar(&f.limits, "lim", nil, "A limit, within the server's: `NAME=VALUE`, such as timeout=5s (lim)")
	flags.StringArrayVar(&f.rates, "rate", nil, "How often the token may be used: `N/WINDOW`, such as 100/minute; windows are second, minute, hour, day, week and month (lts … lto)")
	flags.StringArrayVar(&f.containerRates, "container-rate", nil, "The same, counted with the other tokens of the container: `N/WINDOW` (ls … lo)")
	flags.StringVar(&f.expires, "expires", defaultExpiry, "How long it is valid: a `duration` such as 1h or 30d, or never (exp)")
	flags.StringVar(&f.integrity, "integrity", "", "`Digest` of the code, sha256-…, or auto: fetch it now and pin it (integrity)")
	flags.IntVar(&f.depth, "dd", 0, "How many generations of tokens may be derived from it (dd)")
	flags.IntVar(&f.noSelfRevoke, "dr", 1, "1: it may not revoke itself; 0: it may (dr)")
	flags.IntVar(&f.parseBody, "pb", int(webtask.ParseBodyByArity), "When bodies are parsed: 0 never, 1 always, 2 by the handler's arity (pb)")
	flags.BoolVar(&f.mergeBody, "mb", false, "Add fields of parsed bodies to ctx.data (mb)")
	flags.BoolVar(&f.master, "master", false, "Make a master token: every container, every API; it runs no code")
	return cmd
}

// claims reads the flags.
func (f *issueFlags) claims(cmd *cobra.Command, now time.Time) (webtask.Claims, error) {
	claims := webtask.Claims{
		Container: f.container,
		Name:      f.name,
		URL:       f.url,
		Host:      f.host,
		Depth:     f.depth,
		MergeBody: f.mergeBody,
		Master:    f.master,
	}
	var err error
	if claims.Secrets, err = assignments("secret", f.secrets, true); err != nil {
		return claims, err
	}
	if claims.Params, err = assignments("param", f.params, false); err != nil {
		return claims, err
	}
	if claims.Meta, err = assignments("meta", f.meta, false); err != nil {
		return claims, err
	}
	limits, err := assignments("lim", f.limits, false)
	if err != nil {
		return claims, err
	}
	for name, value := range limits {
		if err := claims.Limits.Set(name, value); err != nil {
			return claims, fmt.Errorf("--lim: %w", err)
		}
	}
	if err := setRates("rate", &claims.RateLimit.Token, f.rates); err != nil {
		return claims, err
	}
	if err := setRates("container-rate", &claims.RateLimit.Container, f.containerRates); err != nil {
		return claims, err
	}
	if len(f.net) > 0 {
		claims.Net = f.net
	}
	if f.integrity != "auto" {
		claims.Integrity = f.integrity
	}
	switch f.noSelfRevoke {
	case 0, 1:
		claims.NoSelfRevoke = f.noSelfRevoke == 1
	default:
		return claims, errors.New("--dr: write 0 or 1")
	}
	if cmd.Flags().Changed("pb") {
		parseBody := webtask.ParseBody(f.parseBody)
		claims.ParseBody = &parseBody
	}
	if f.expires != "never" {
		valid, err := caddy.ParseDuration(f.expires)
		if err != nil || valid < time.Second {
			return claims, fmt.Errorf("--expires: %q is no duration of a second or more; write one such as 1h or 30d, or never", f.expires)
		}
		claims.Expires = now.Add(valid)
	}
	return claims, nil
}

func setRates(flag string, windows *webtask.RateWindows, given []string) error {
	for _, rate := range given {
		if err := windows.Set(rate); err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
	}
	return nil
}

// claimFlags are the flags of claims whose value Issue checks.
var claimFlags = map[string]string{
	"ten": "container", "jtn": "name", "url": "url", "host": "host", "pctx": "param", "ectx": "secret", "meta": "meta",
	"net": "net", "integrity": "integrity", "exp": "expires", "dd": "dd", "pb": "pb", "master": "master",
}

// asFlag names the flag of the claim that an error is about.
func asFlag(err error) error {
	var wrong *webtask.FieldError
	if !errors.As(err, &wrong) {
		return err
	}
	claim, _, _ := strings.Cut(wrong.Field, ".")
	flag, ok := claimFlags[claim]
	if !ok {
		return err
	}
	return fmt.Errorf("--%s: %w", flag, err)
}

// warn says what a token that can be made will not do.
func (f *issueFlags) warn(cmd *cobra.Command, server *serverConfig) {
	var notAllowed *source.NotAllowedError
	var warning string
	switch {
	case f.master:
		return
	case f.url == "":
		warning = "the token names no code, so that no route runs it; name the code with --url"
	case errors.As(source.CheckURL(server.app.CodeAllow, f.url), &notAllowed):
		warning = fmt.Sprintf("servers of this configuration will answer the token with 403: %v", notAllowed)
	default:
		return
	}
	_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "Warning:", warning)
}

// integrity loads code as the configured server would, and returns the digest
// that pins it.
func (s *serverConfig) integrity(ctx context.Context, ref webtask.CodeRef) (string, error) {
	var held holdings
	defer held.drop(zap.NewNop())
	engine, err := holdEngine(&held, engineKey{})
	if err != nil {
		return "", err
	}
	loader, err := holdLoader(&held, loaderKey{
		CodeAllow:   s.app.CodeAllow,
		CodeSize:    s.app.Limits.CodeSize,
		EgressAllow: s.app.EgressAllow,
		// No cache: what is pinned is what the origin serves now.
	}, engine)
	if err != nil {
		return "", err
	}
	bundle, err := loader.Load(ctx, "", ref, "", s.app.Limits)
	if err != nil {
		return "", err
	}
	return bundle.Integrity, nil
}
