package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// web is the origin of code that is named by a URL. Each file is asked for at
// most once in an attempt.
type web struct {
	loader   *Loader
	start    *url.URL
	previous map[string]*record // what an earlier attempt fetched, by URL
	offline  bool               // use what there is, whatever its age

	mu      sync.Mutex
	gets    map[string]*webGet
	finals  map[string]*url.URL // base of each module's imports, by its name
	origins map[string]bool     // the entry's own, before and after redirects
	size    int64
}

// webGet is one file, fetched or being fetched.
type webGet struct {
	done   chan struct{}
	record *record
	module *module
	err    error
}

func (l *Loader) newWeb(start *url.URL, previous map[string]*record, offline bool) *web {
	return &web{
		loader:   l,
		start:    start,
		previous: previous,
		offline:  offline,
		gets:     map[string]*webGet{},
		finals:   map[string]*url.URL{},
		origins:  map[string]bool{originOf(start): true},
	}
}

func (w *web) entry(ctx context.Context) (*module, error) {
	m, err := w.load(ctx, w.start)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.origins[originOf(w.finals[m.Name])] = true
	return m, nil
}

func (w *web) resolve(ctx context.Context, importer *module, specifier string) (*module, error) {
	target, err := url.Parse(specifier)
	if err != nil {
		return nil, fmt.Errorf("%q is not a valid specifier", specifier)
	}
	absolute := target.Scheme == "http" || target.Scheme == "https"
	if !absolute && !isRelative(specifier) {
		return nil, nil
	}
	w.mu.Lock()
	base := w.finals[importer.Name]
	w.mu.Unlock()
	if target, err = normalizeURL(base.ResolveReference(target)); err != nil {
		return nil, err
	}
	w.mu.Lock()
	same := w.origins[originOf(target)]
	w.mu.Unlock()
	if !same {
		return nil, fmt.Errorf("%q is of another origin than the entry; imports stay within %s", specifier, originOf(w.start))
	}
	for _, p := range candidates(target.Path) {
		candidate := *target
		candidate.Path, candidate.RawPath = p, ""
		if err := w.loader.fetcher.allow.check(&candidate); err != nil {
			// Worded as an error of the code, with the place of the import.
			return nil, fmt.Errorf("%q cannot be imported: %s", specifier, err)
		}
		m, err := w.load(ctx, &candidate)
		if w.isAbsent(err) {
			continue
		}
		return m, err
	}
	return nil, fmt.Errorf("%q was not found at %s", specifier, displayURL(target))
}

func (w *web) isAbsent(err error) bool {
	var fetch *FetchError
	return errors.As(err, &fetch) && (w.offline || fetch.Status == http.StatusNotFound || fetch.Status == http.StatusGone)
}

// load returns the module at a URL.
func (w *web) load(ctx context.Context, u *url.URL) (*module, error) {
	get := w.get(ctx, u)
	return get.module, get.err
}

func (w *web) get(ctx context.Context, u *url.URL) *webGet {
	key := u.String()
	w.mu.Lock()
	get, ok := w.gets[key]
	if !ok {
		get = &webGet{done: make(chan struct{})}
		w.gets[key] = get
	}
	w.mu.Unlock()
	if ok {
		<-get.done // the one that fetches ends with the same context
		return get
	}
	defer close(get.done)
	if get.record, get.err = w.fetch(ctx, u, key); get.err != nil {
		return get
	}
	final, err := url.Parse(get.record.Final)
	if err != nil {
		get.err = fmt.Errorf("code cache: %w", err)
		return get
	}
	name := w.claimName(u, final)
	get.module, get.err = newModule(name, key, get.record.Body, loaderOf(final.Path, get.record.MediaType))
	return get
}

// claimName returns the name of a module; two URLs that differ in their
// queries only still get two.
func (w *web) claimName(u, final *url.URL) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := displayURL(u)
	for n := 2; w.finals[name] != nil; n++ {
		name = fmt.Sprintf("%s#%d", displayURL(u), n)
	}
	w.finals[name] = final
	return name
}

func (w *web) fetch(ctx context.Context, u *url.URL, key string) (*record, error) {
	l := w.loader
	if err := l.fetcher.allow.check(u); err != nil {
		return nil, err
	}
	previous := w.previous[key]
	if previous == nil && l.disk != nil {
		previous = l.disk.load(key)
	}
	now := l.clock()
	if w.offline && (previous == nil || now.After(previous.usableUntil(l.maxAge, l.staleFor))) {
		return nil, &FetchError{URL: displayURL(u), Err: errors.New("it is not in the cache")}
	}
	if previous != nil && (w.offline || now.Before(previous.Validated.Add(l.maxAge))) {
		return previous, w.reserve(int64(len(previous.Body)), u)
	}

	w.mu.Lock()
	left := l.codeSize - w.size
	w.mu.Unlock()
	started := l.clock()
	r, err := l.fetcher.get(ctx, u, previous, left)
	outcome := "ok"
	switch {
	case err != nil:
		outcome = "error"
	case r.renewed:
		outcome = "not_modified"
	}
	l.observe("fetch", outcome, l.clock().Sub(started))
	if err == nil {
		err = w.reserve(int64(len(r.Body)), u)
	}
	var large *TooLargeError
	if errors.As(err, &large) {
		large.Name, large.Limit = displayURL(w.start), l.codeSize
	}
	return r, err
}

// reserve counts bytes against the size limit of the task.
func (w *web) reserve(n int64, u *url.URL) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.size += n
	if w.size > w.loader.codeSize {
		return &TooLargeError{Name: displayURL(w.start), Limit: w.loader.codeSize}
	}
	return nil
}

// unchanged asks the origin for every file of an earlier attempt and reports
// whether all are as they were. What went wrong comes up again when the file
// is needed.
func (w *web) unchanged(ctx context.Context) bool {
	var group errgroup.Group
	group.SetLimit(8)
	var differs atomic.Bool
	for key, previous := range w.previous {
		group.Go(func() error {
			u, err := url.Parse(key)
			if err != nil {
				differs.Store(true)
				return nil
			}
			if get := w.get(ctx, u); get.err != nil || get.record.Sum != previous.Sum {
				differs.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait()
	return !differs.Load()
}

// recordsOf returns the files that went into a bundle.
func (w *web) recordsOf(b *Bundle) map[string]*record {
	records := make(map[string]*record, len(b.Files))
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, get := range w.gets {
		if get.module != nil && slices.Contains(b.Files, get.module.Name) {
			records[key] = get.record
		}
	}
	return records
}

// oldest returns when the record that was confirmed longest ago was.
func oldest(records map[string]*record) time.Time {
	var t time.Time
	for _, r := range records {
		if t.IsZero() || r.Validated.Before(t) {
			t = r.Validated
		}
	}
	return t
}
