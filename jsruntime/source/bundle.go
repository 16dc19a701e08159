package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// build is one attempt at turning a task's files into a bundle: the side of it
// that may fetch and read.
type build struct {
	ctx    context.Context // ends with the time for fetching
	origin origin
	turn   *turn

	mu      sync.Mutex
	modules map[string]*module // by name, those that were handed out
	failure error              // the first error that is not about the code's text
}

// build turns the entry of an origin and all it imports into one script, for a
// container. ctx bounds the fetching; how long bundling may take is up to the
// bundler.
func (l *Loader) build(ctx context.Context, container string, o origin) (*Bundle, error) {
	entry, err := o.entry(ctx)
	if err != nil {
		return nil, err
	}
	b := &build{
		ctx:     ctx,
		origin:  o,
		turn:    &turn{ctx: ctx, bundlers: l.bundlers, container: container, name: entry.Name},
		modules: map[string]*module{entry.Name: entry},
	}
	defer b.turn.end()
	_, isInline := o.(*inline)
	out, err := l.bundler.Bundle(l.ctx, &Job{
		Entry:     &entry.Module,
		Container: container,
		Inline:    isInline,
		External:  l.external,
		MaxCode:   4*l.codeSize + 1<<20,
		MaxMap:    8*l.codeSize + 2<<20,
		Resolve:   b.resolve,
		Begin:     b.turn.begin,
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure != nil {
		return nil, b.failure
	}
	if err != nil {
		return nil, b.withFrame(err)
	}
	return b.finish(entry, out)
}

// resolve is Job.Resolve. It keeps nobody else from bundling while it waits.
func (b *build) resolve(ctx context.Context, importer, specifier string) (*Module, error) {
	b.mu.Lock()
	from := b.modules[importer]
	b.mu.Unlock()
	if from == nil {
		return nil, fmt.Errorf("%q is imported by no module of this task", specifier)
	}
	ctx, stop := both(b.ctx, ctx)
	defer stop()
	var m *module
	var err error
	busy := b.turn.aside(func() { m, err = b.origin.resolve(ctx, from, specifier) })
	if err == nil {
		err = busy
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err != nil:
		if b.failure == nil && IsFinal(err) {
			b.failure = err
		}
		return nil, err
	case m == nil:
		return nil, nil
	}
	b.modules[m.Name] = m
	return &m.Module, nil
}

// both returns a context that ends with either.
func both(first, second context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(first)
	stop := context.AfterFunc(second, func() { cancel(context.Cause(second)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// IsFinal reports whether an error of Job.Resolve says more than that an import
// is wrong: nothing can come of the job then. Those of a *CompileError are
// about another file, and have its place.
func IsFinal(err error) bool {
	var (
		fetch   *FetchError
		allowed *NotAllowedError
		large   *TooLargeError
		compile *CompileError
		busy    *BusyError
	)
	return errors.As(err, &fetch) || errors.As(err, &allowed) || errors.As(err, &busy) || errors.As(err, &large) || errors.As(err, &compile)
}

// withFrame shows the place of an error in the author's file.
func (b *build) withFrame(err error) error {
	var ce *CompileError
	if !errors.As(err, &ce) {
		return err
	}
	ce.Message = printable(ce.Message)
	if m := b.modules[ce.File]; m != nil && ce.Frame == "" {
		ce.Frame = codeFrame(m.Code, ce.Line, ce.Column)
	}
	return err
}

// printable takes out what a message quotes of the code and would move the
// reader's terminal.
func printable(message string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(message, "\ufffd"))
}

// finish makes the bundle of a script.
func (b *build) finish(entry *module, out *Output) (*Bundle, error) {
	made := &Bundle{Name: entry.Name, Code: out.Code, ESM: out.ESM}
	var err error
	if made.Map, err = out.Map.JSON(); err != nil {
		return nil, fmt.Errorf("bundling %s: source map: %w", entry.Name, err)
	}

	// The map belongs to the identity: a line that was only commented moves
	// what errors point at.
	sum := sha256.Sum256(slices.Concat([]byte(made.Code), []byte{0}, made.Map))
	made.Digest = hex.EncodeToString(sum[:])
	sums := make(map[string][sha256.Size]byte, len(b.modules))
	for name, m := range b.modules {
		sums[m.pin] = m.sum
		made.Size += m.size
		if m != entry {
			made.Files = append(made.Files, name)
		}
	}
	slices.Sort(made.Files)
	made.Files = append([]string{entry.Name}, made.Files...)
	made.Integrity = Integrity(sums)
	return made, nil
}
