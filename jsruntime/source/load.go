package source

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/evanw/esbuild/pkg/api"
	"go.uber.org/zap"
)

// loadInline bundles code that is written in the configuration, once.
// JavaScript that does not parse may be TypeScript.
func (l *Loader) loadInline(ctx context.Context, container, code string) (*state, time.Time) {
	b, err := l.bundle(ctx, container, &inline{code, api.LoaderJS}, nil)
	if ce := (*CompileError)(nil); errors.As(err, &ce) && ce.Line > 0 {
		if typed, tsErr := l.bundle(ctx, container, &inline{code, api.LoaderTS}, nil); tsErr == nil {
			b, err = typed, nil
		}
	}
	if err != nil {
		return &state{err: err}, l.failedUntil(err)
	}
	return &state{bundle: b}, time.Time{}
}

// loadFile bundles a file when it, or anything that decided about its bundle,
// has changed.
func (l *Loader) loadFile(ctx context.Context, container, name string, old *state) (*state, time.Time) {
	due := l.clock().Add(l.fileCheck)
	if old.watch != nil && (old.again.IsZero() || l.clock().Before(old.again)) {
		watch, changed := recheck(old.watch)
		if !changed {
			same := *old
			same.watch = watch
			return &same, due
		}
	}
	f := newFolder(name, l.codeSize)
	defer f.close()
	b, err := l.bundle(ctx, container, f, old.bundle)
	if err == nil {
		if old.bundle != nil && (old.bundle.Digest != b.Digest || old.problem != "") {
			l.log.Info("code changed", zap.String("file", name))
		}
		return &state{bundle: b, watch: f.watch}, due
	}
	watch := f.watch
	if isPassing(ctx, err) {
		watch = nil // to be tried again although no file changes
	}
	var again time.Time
	if isExhausted(err) {
		again = l.clock().Add(exhaustedFor)
	}
	if old.bundle == nil {
		return &state{err: err, watch: watch, again: again}, due
	}
	if old.watch != nil || old.problem != err.Error() {
		fields := problemFields(err, zap.String("file", name))
		if errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("code file is gone, serving its last good version", fields...)
		} else {
			l.log.Error("changed code is not usable, serving its last good version", fields...)
		}
	}
	return &state{bundle: old.bundle, problem: err.Error(), watch: watch, again: again}, due
}

// isPassing reports whether an error may go away while the files stay as they
// are: the machine's, or that of an attempt cut short.
func isPassing(ctx context.Context, err error) bool {
	var fetch *FetchError
	return (ctx.Err() != nil && !isExhausted(err)) || isBusy(err) || (errors.As(err, &fetch) && !errors.Is(err, fs.ErrNotExist))
}

// isBusy reports whether code was not even looked at.
func isBusy(err error) bool {
	var busy *BusyError
	return errors.As(err, &busy)
}

// isExhausted reports whether code ended its bundler, and would again.
func isExhausted(err error) bool {
	var compile *CompileError
	return errors.As(err, &compile) && compile.Exhausted
}

// failedUntil returns when code that failed is to be tried again: soon, but for
// code that waits for its turn at once, and for code that is dear to try later.
func (l *Loader) failedUntil(err error) time.Time {
	switch {
	case isBusy(err) && errors.Unwrap(err) == nil:
		return l.clock()
	case isExhausted(err):
		return l.clock().Add(exhaustedFor)
	}
	return l.clock().Add(failedFor)
}

// recheck looks at every watched path again. What it learns by reading is in
// the list it returns; the old one is shared and stays as it is.
func recheck(watch []watched) ([]watched, bool) {
	again := make([]watched, len(watch))
	copy(again, watch)
	for i := range again {
		if again[i].changed() {
			return nil, true
		}
	}
	return again, false
}

// loadURL asks an origin for code, or whether what is known is still right.
func (l *Loader) loadURL(ctx context.Context, container, text string, old *state) (*state, time.Time) {
	u, err := parseCodeURL(text)
	if err == nil {
		err = l.fetcher.allow.check(u)
	}
	if err == nil && l.fetcher.transport == nil {
		err = &NotAllowedError{URL: displayURL(u), Reason: "this edge loads no code by URL"}
	}
	if err != nil {
		return &state{err: err}, l.clock().Add(failedFor)
	}
	name := zap.String("url", displayURL(u))

	w := l.newWeb(u, old.records, false)
	b := old.bundle
	if b == nil || !w.unchanged(ctx) {
		b, err = l.bundle(ctx, container, w, old.bundle)
	}
	if err == nil {
		if old.problem != "" {
			l.log.Info("code is up to date again", name)
		}
		return l.goodURL(w, b)
	}
	if !l.mayFallBack(err) {
		return &state{err: err}, l.failedUntil(err)
	}
	return l.lastGoodURL(ctx, container, w, old, err, name)
}

// goodURL is the state after an attempt that succeeded.
func (l *Loader) goodURL(w *web, b *Bundle) (*state, time.Time) {
	if b.Stale {
		fresh := *b
		fresh.Stale = false
		b = &fresh
	}
	records := w.recordsOf(b)
	if l.disk != nil {
		for _, r := range records {
			l.disk.keep(r)
		}
	}
	validated := oldest(records)
	return &state{
		bundle:  b,
		records: records,
		until:   validated.Add(l.maxAge + l.staleFor),
	}, validated.Add(l.maxAge)
}

// mayFallBack reports whether an error leaves the last good version in use: an
// origin that is down, or new code that is broken. An origin that says the
// code is gone, and a rule that says it may not be had, are heeded.
func (l *Loader) mayFallBack(err error) bool {
	var (
		fetch   *FetchError
		allowed *NotAllowedError
	)
	if errors.As(err, &allowed) {
		return false
	}
	return originIsDown(err) || !errors.As(err, &fetch)
}

// lastGoodURL is the state after an attempt that failed: the last good
// version, of this process or of the disk cache, while it may be used.
func (l *Loader) lastGoodURL(ctx context.Context, container string, w *web, old *state, problem error, name zap.Field) (*state, time.Time) {
	b, records := old.bundle, old.records
	if !old.usable(l.clock()) {
		offline := l.newWeb(w.start, nil, true)
		// The time for fetching is over; what comes now needs none.
		ctx, cancel := context.WithTimeout(l.ctx, l.fetchTimeout)
		defer cancel()
		var err error
		if b, err = l.bundle(ctx, container, offline, nil); err != nil {
			return &state{err: problem}, l.failedUntil(problem)
		}
		records = offline.recordsOf(b)
	}
	until := oldest(records).Add(l.maxAge + l.staleFor)
	if old.problem != problem.Error() {
		fields := problemFields(problem, name, zap.Time("usable_until", until))
		switch {
		case originIsDown(problem):
			l.log.Warn("code origin is down, serving the last good version", fields...)
		case isBusy(problem):
			l.log.Warn("no bundler for changed code, serving the last good version", fields...)
		default:
			l.log.Error("changed code is not usable, serving the last good version", fields...)
		}
	}
	stale := *b
	stale.Stale = true
	return &state{
		bundle:  &stale,
		until:   until,
		problem: problem.Error(),
		records: records,
	}, l.clock().Add(l.retryIn(problem))
}

// retryIn is how long the last good version is served before the next attempt.
func (l *Loader) retryIn(problem error) time.Duration {
	if isExhausted(problem) {
		return min(exhaustedFor, l.maxAge)
	}
	return min(retryAfter, l.maxAge)
}
