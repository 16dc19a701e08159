package caddymodule

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/caddyserver/certmagic"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// keysKey is where the keyring is in Caddy's storage, unless `keys` names a
// file; edges that share a storage share it.
const keysKey = "webtask/keys.json"

// maxKeysSize bounds a keyring's text: hundreds of keys.
const maxKeysSize = 1 << 20

// readKeyringFile reads a keyring from a file that nobody but its owner may
// read: whoever reads it can make every token and open every secret.
func readKeyringFile(path string) (*webtask.Keyring, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("keys: the file cannot be read: %w; make one with: caddy webtask keygen --output %s", err, path)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	// Windows has no such bits: os.FileMode there says 0666 of any file.
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, fmt.Errorf("keys: %s can be read by others (mode %#o), who could make tokens of this edge; run: chmod 600 %[1]s", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeysSize))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return parseKeyring(path, text)
}

func parseKeyring(from string, text []byte) (*webtask.Keyring, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("keys: %s is empty; remove it, and make keys with: caddy webtask keygen --output FILE", from)
	}
	ring, err := webtask.ParseKeyring(text)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", from, err)
	}
	return ring, nil
}

// storedKeyring returns the keyring of a storage. The first edge that asks
// makes it, under the storage's lock, so that edges which start together agree.
func storedKeyring(ctx context.Context, storage certmagic.Storage) (*webtask.Keyring, error) {
	ring, err := loadKeyring(ctx, storage)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	if err := storage.Lock(ctx, keysKey); err != nil {
		return nil, fmt.Errorf("keys: locking them in Caddy's storage: %w", err)
	}
	// The lock must go even when ctx has ended meanwhile.
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), keysKey) }()

	ring, err = loadKeyring(ctx, storage)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	ring, err = webtask.GenerateKeyring(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("keys: making the first: %w", err)
	}
	text, err := ring.JWKS()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if err := storage.Store(ctx, keysKey, text); err != nil {
		return nil, fmt.Errorf("keys: storing the first in Caddy's storage: %w", err)
	}
	return ring, nil
}

func loadKeyring(ctx context.Context, storage certmagic.Storage) (*webtask.Keyring, error) {
	text, err := storage.Load(ctx, keysKey)
	if err != nil {
		return nil, fmt.Errorf("keys: reading %s in Caddy's storage: %w", keysKey, err)
	}
	return parseKeyring(keysKey+" in Caddy's storage", text)
}

// isShared reports whether other machines see the same storage, as far as can
// be told: files are taken to be this machine's own.
func isShared(storage certmagic.Storage) bool {
	_, files := storage.(*certmagic.FileStorage)
	return !files
}
