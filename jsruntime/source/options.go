package source

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Options of a Loader. Every zero field but Transport has a default.
type Options struct {
	// Transport fetches code; it decides which addresses may be reached.
	// Required when code comes from URLs.
	Transport http.RoundTripper

	// CacheDir keeps fetched code across restarts, for its owner only. It is
	// made when needed. Empty: nothing is kept on disk.
	CacheDir string

	// CacheBytes bounds CacheDir; what was validated longest ago goes first.
	// Default: 256 MiB.
	CacheBytes int64

	// MemoryBytes bounds bundles and their sources in memory; code of files and
	// inline code is not counted. Default: 128 MiB.
	MemoryBytes int64

	// Allow lists where code may come from: a scheme, a host (or *.host), an
	// optional port, and a path in which a last * stands for anything, as in
	// https://example.com/tasks/*. Default: any https URL. An http URL needs a
	// pattern that says http.
	Allow []string

	// MaxAge is how long fetched code is used before its origin is asked
	// again. Default: 5 minutes.
	MaxAge time.Duration

	// StaleFor is how long after that it may still be used while the origin is
	// down or serves code that does not compile. Default: 24 hours.
	StaleFor time.Duration

	// CodeSize bounds the files of one task together, in bytes. Default: 5 MiB.
	CodeSize int64

	// FetchTimeout bounds fetching all files of one task, to the last byte.
	// Default: 10 s.
	FetchTimeout time.Duration

	// RevalidateTimeout is how long a request waits for an origin that is
	// asked again before it is served what is there. Default: 2 s.
	RevalidateTimeout time.Duration

	// FileCheck is how often a file that is in use is looked at for changes,
	// at most. Default: 250 ms.
	FileCheck time.Duration

	// Bundlers is how many pieces of code are bundled at the same instant;
	// those that wait for an origin do not count. One container has half of them
	// at most. Default: GOMAXPROCS, but 2 at least.
	Bundlers int

	// BundleWait is how long code waits for that. What waits longer fails with
	// a *BusyError, unless a good version of it is known. Default: 5 s.
	BundleWait time.Duration

	// External names modules that are left to the runtime's require.
	External []string

	// Bundler parses what authors wrote. Default: InProcess, which is for code
	// that one trusts; the Loader does not close it.
	Bundler Bundler

	// Check is called with every new bundle before it replaces the last good
	// one; an error keeps that one. The edge compiles there.
	Check func(ctx context.Context, bundle *Bundle) error

	// Observe, if set, is told of every fetch of a URL and every bundling:
	// what is "fetch" or "bundle", outcome is "ok", "not_modified" or "error".
	Observe func(what, outcome string, took time.Duration)

	Logger *zap.Logger      // default: none
	Clock  func() time.Time // default: time.Now
}
