package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func inspectCommand() *cobra.Command {
	var config configFlags
	var decrypt bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] <token>",
		Short: "Verifies a token and prints its claims",
		Long: `
Verifies a token with the keys that the configuration names, and prints its
claims as JSON. A token given as - is read from the standard input, which keeps
it out of the process list and the shell's history.

Of a token that has expired, or is not valid yet, it prints the claims too, and
on the standard error when it was, or will be, valid; the exit status is 0. Of a
token whose key is gone it prints what anybody can read, and exits with 1, for
nothing of that is verified. Whether a token was revoked, only servers know.`,
		Args: exactArgs("a token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := tokenArg(cmd, args[0])
			if err != nil {
				return err
			}
			return config.withKeyring(cmd.Context(), func(_ *serverConfig, ring *webtask.Keyring) error {
				verified, err := ring.Verify(token)
				switch {
				case errors.Is(err, webtask.ErrTokenUnverified):
					return inspectUnverified(cmd, ring, token, err)
				case err != nil:
					return err
				}
				return inspectVerified(cmd, verified, decrypt)
			})
		},
	}
	config.add(cmd)
	cmd.Flags().BoolVar(&decrypt, "decrypt", false, "Show the secrets too")
	return cmd
}

// inspectVerified prints the claims of a token, and on the standard error why
// it would not be accepted now.
func inspectVerified(cmd *cobra.Command, verified *webtask.Verified, decrypt bool) error {
	text, err := verified.Inspect(decrypt)
	if err != nil {
		return err
	}
	if err := printClaims(cmd, text); err != nil {
		return err
	}
	claims := verified.Claims()
	switch problem := verified.ValidAt(time.Now()); {
	case errors.Is(problem, webtask.ErrTokenExpired):
		_, err = fmt.Fprintln(cmd.ErrOrStderr(), "Note: the token expired at", claims.Expires.UTC().Format(time.RFC3339))
	case errors.Is(problem, webtask.ErrTokenNotYetValid):
		_, err = fmt.Fprintln(cmd.ErrOrStderr(), "Note: the token is not valid before", claims.NotBefore.UTC().Format(time.RFC3339))
	}
	return err
}

// inspectUnverified prints what anybody can read of a token whose key is not
// in the keyring. One that names a key of the keyring and was not signed by it
// was tampered with, and is not shown.
func inspectUnverified(cmd *cobra.Command, ring *webtask.Keyring, token string, problem error) error {
	claims, kid, err := webtask.ReadUnverified(token)
	if err != nil || slices.Contains(ring.KeyIDs(), kid) {
		return problem
	}
	text, err := claims.MarshalJSON()
	if err != nil {
		return err
	}
	if err := printClaims(cmd, text); err != nil {
		return err
	}
	return fmt.Errorf("%w; nothing of these claims is verified, and the secrets cannot be read", problem)
}

// printClaims prints the JSON of claims for people to read.
func printClaims(cmd *cobra.Command, claims []byte) error {
	var indented bytes.Buffer
	if err := json.Indent(&indented, claims, "", "  "); err != nil {
		return fmt.Errorf("writing the claims: %w", err)
	}
	indented.WriteByte('\n')
	_, err := indented.WriteTo(cmd.OutOrStdout())
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
			request := revocation{Token: token}
			if !strings.Contains(token, ".") {
				if err := checkTokenID(token); err != nil {
					return err
				}
				request = revocation{ID: token}
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

// checkTokenID refuses what is no id of a token: revoking it would do nothing,
// and say that it did. The text is not shown: it may be a part of a token.
func checkTokenID(id string) error {
	if webtask.ValidID(id) {
		return nil
	}
	return errors.New("that is neither a token nor a token's id (claim jti: 32 hex digits in lower case); " +
		"give the whole token, or the jti that `caddy webtask token inspect` prints")
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
