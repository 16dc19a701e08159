package caddymodule

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

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
					if claims.Integrity, err = server.integrity(cmd.Context(), claims.URL); err != nil {
						return fmt.Errorf("--integrity auto: %w", err)
					}
				}
				token, err := ring.Issue(claims, webtask.IssueOptions{Now: now, Rand: rand.Reader, AllowMaster: f.master})
				if err != nil {
					return err
				}
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

// integrity fetches code as the configured server would, and returns the
// digest that pins it.
func (s *serverConfig) integrity(ctx context.Context, url string) (string, error) {
	if url == "" {
		return "", errors.New("needs --url")
	}
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
	}, engine.programs)
	if err != nil {
		return "", err
	}
	bundle, err := loader.Load(ctx, webtask.CodeRef{Kind: webtask.CodeURL, Value: url}, "", s.app.Limits)
	if err != nil {
		return "", err
	}
	return bundle.Integrity, nil
}

func inspectCommand() *cobra.Command {
	var config configFlags
	var decrypt bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] <token>",
		Short: "Verifies a token and prints its claims",
		Long: `
Verifies a token with the keys that the configuration names, and prints its
claims as JSON. A token given as - is read from the standard input, which keeps
it out of the process list and the shell's history.`,
		Args: exactArgs("a token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := tokenArg(cmd, args[0])
			if err != nil {
				return err
			}
			return config.withKeyring(cmd.Context(), func(_ *serverConfig, ring *webtask.Keyring) error {
				verified, problem, err := openToken(ring, token, time.Now())
				if err != nil {
					return err
				}
				return printToken(cmd, verified, problem, decrypt)
			})
		},
	}
	config.add(cmd)
	cmd.Flags().BoolVar(&decrypt, "decrypt", false, "Show the secrets too")
	return cmd
}

// printToken prints the claims of a token, and on the standard error why it
// would not be accepted now.
func printToken(cmd *cobra.Command, verified *webtask.Verified, problem error, decrypt bool) error {
	claims, err := verified.Inspect(decrypt)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, claims, "", "  "); err != nil {
		return fmt.Errorf("writing the claims: %w", err)
	}
	indented.WriteByte('\n')
	if _, err := indented.WriteTo(cmd.OutOrStdout()); err != nil {
		return err
	}
	if problem != nil {
		_, err = fmt.Fprintln(cmd.ErrOrStderr(), "Note:", problem)
	}
	return err
}

func revokeCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "revoke [flags] <token or id>",
		Short: "Revokes a token at the running server",
		Long: `
Revokes a token, and every token derived from it: at the running server at once,
and within 2 seconds at every server that shares its store. Give the token
itself, - to read it from the standard input, or its id (claim jti).`,
		Args: exactArgs("a token or its id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := tokenArg(cmd, args[0])
			if err != nil {
				return err
			}
			request := revocation{ID: token}
			if strings.Contains(token, ".") {
				request = revocation{Token: token}
			}
			body, err := json.Marshal(request)
			if err != nil {
				return err
			}
			var done revoked
			if err := admin.request(http.MethodPost, "/webtask/revoke", bytes.NewReader(body), &done); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.ErrOrStderr(), "Revoked", done.ID)
			return err
		},
	}
	admin.add(cmd)
	return cmd
}

// tokenArg returns the token of a command line, or that of the standard input.
func tokenArg(cmd *cobra.Command, arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 2*webtask.MaxTokenLength))
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func keygenCommand() *cobra.Command {
	var rotate, output string
	cmd := &cobra.Command{
		Use:   "keygen [flags]",
		Short: "Makes keys and prints them",
		Long: `
Prints a new set of keys (a JSON Web Key Set, RFC 7517) for the option keys.
With --rotate it adds a new first key, which signs from then on, to those of a
file; tokens of the other keys stay valid until their key is taken out.

Whoever can read the keys can make every token and open every secret: keep them
in a file that only the server's user can read.`,
		Example: `  $ caddy webtask keygen --output /etc/caddy/webtask-keys.json
  $ caddy webtask keygen --rotate webtask-keys.json --output webtask-keys.json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ring, err := newKeyring(rotate)
			if err != nil {
				return err
			}
			text, err := ring.JWKS()
			if err != nil {
				return err
			}
			if output != "" {
				return replaceFile(output, text)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&rotate, "rotate", "", "`File` whose keys are kept, after the new one")
	cmd.Flags().StringVarP(&output, "output", "o", "", "`File` to write instead of the standard output; only its owner will be able to read it")
	return cmd
}

func newKeyring(rotate string) (*webtask.Keyring, error) {
	if rotate == "" {
		return webtask.GenerateKeyring(rand.Reader)
	}
	ring, err := readKeyringFile(rotate)
	if err != nil {
		return nil, err
	}
	return ring.Rotate(rand.Reader)
}

// replaceFile writes a file that only its owner can read, whole or not at all.
func replaceFile(path string, text []byte) error {
	// CreateTemp makes the file with mode 0600.
	file, err := os.CreateTemp(filepath.Dir(path), ".webtask-keys-*")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the keys: %w", err), os.Remove(file.Name()))
	}
	return nil
}
