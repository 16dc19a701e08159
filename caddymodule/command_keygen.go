package caddymodule

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func keygenCommand() *cobra.Command {
	var rotate, output string
	cmd := &cobra.Command{
		Use:   "keygen [flags]",
		Short: "Makes keys and prints them",
		Long: `
Prints a new set of keys (a JSON Web Key Set, RFC 7517) for the option keys.
With --rotate it adds a new first key, which signs from then on, to those of a
file; tokens of the other keys stay valid until their key is taken out. A file
that exists is replaced by what --rotate made of it, and by nothing else.

Whoever can read the keys can make every token and open every secret: keep them
in a file that only the server's user can read.`,
		Example: `  $ caddy webtask keygen --output /etc/caddy/webtask-keys.json
  $ caddy webtask keygen --rotate webtask-keys.json --output webtask-keys.json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkKeysOutput(output, rotate); err != nil {
				return err
			}
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
		return fmt.Errorf("--output: %s cannot be written: %w; name a file in a folder that is there and that you may write to", path, cause(err))
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
		return errors.Join(fmt.Errorf("--output: %s cannot be written: %w", path, cause(err)), os.Remove(file.Name()))
	}
	return nil
}

// checkKeysOutput refuses to write over keys: the tokens that they signed, and
// the secrets in them, would be lost.
func checkKeysOutput(output, rotate string) error {
	if output == "" {
		return nil
	}
	there, err := os.Stat(output)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--output: %w", err)
	}
	if kept, err := os.Stat(rotate); rotate != "" && err == nil && os.SameFile(there, kept) {
		return nil
	}
	return fmt.Errorf("--output: %s is there already, and with its keys their tokens would be lost; "+
		"to add a key to it: caddy webtask keygen --rotate %[1]s --output %[1]s; for other keys, name another file", output)
}

// cause drops operation and path of a file's error, where the message names
// the path that the user knows.
func cause(err error) error {
	var file *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &file):
		return file.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
