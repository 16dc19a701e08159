package edge

import (
	"context"
	"fmt"
	"math"

	"github.com/maypok86/otter/v2"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
)

// Programs remembers compiled programs, so that code is compiled once however
// many tokens, routes and configurations run it. It is safe for concurrent use.
type Programs struct {
	runner Runner
	cache  *otter.Cache[programKey, *jsruntime.Program]
}

// programKey tells programs apart. The name is part of it: errors show it, and
// two tenants may run the same bytes from two URLs. The size follows from the
// digest; the weigher reads it there.
type programKey struct {
	name, digest string
	size         int
}

// defaultProgramBytes bounds the memory of programs that no isolate uses.
const defaultProgramBytes = 128 << 20

// NewPrograms returns an empty cache of what runner compiles, bounded to about
// maxBytes of heap; 0 is 128 MiB.
func NewPrograms(runner Runner, maxBytes uint64) (*Programs, error) {
	if maxBytes == 0 {
		maxBytes = defaultProgramBytes
	}
	cache, err := otter.New(&otter.Options[programKey, *jsruntime.Program]{
		MaximumWeight: maxBytes,
		Weigher:       programWeight,
		// On the caller's goroutine: the cache then owns none.
		Executor: func(run func()) { run() },
	})
	if err != nil {
		return nil, fmt.Errorf("edge: cache of programs: %w", err)
	}
	return &Programs{runner: runner, cache: cache}, nil
}

// programWeight estimates the heap of a program from the size of its code, by
// what was measured on bundles of 84 KB to 0.9 MB.
func programWeight(key programKey, _ *jsruntime.Program) uint32 {
	const factor, base = 6, 4 << 10
	return uint32(min(factor*key.size+base, math.MaxUint32))
}

// Program compiles a bundle, or returns what compiling it gave before.
// Concurrent first callers share one compilation, which goes on when one of
// them leaves.
func (p *Programs) Program(ctx context.Context, bundle *source.Bundle) (*jsruntime.Program, error) {
	key := programKey{bundle.Name, bundle.Digest, len(bundle.Code)}
	if program, ok := p.cache.GetIfPresent(key); ok {
		return program, nil
	}
	return p.cache.Get(context.WithoutCancel(ctx), key, otter.LoaderFunc[programKey, *jsruntime.Program](
		func(ctx context.Context, _ programKey) (*jsruntime.Program, error) {
			return p.runner.Compile(ctx, scriptOf(bundle))
		}))
}

// Check reports whether a bundle compiles, and may have a handler. It is what
// source.Options.Check wants, so that a version which cannot be run replaces
// none that can: a file that is being saved is empty for a moment.
func (p *Programs) Check(ctx context.Context, bundle *source.Bundle) error {
	if err := jsruntime.CheckHandler(scriptOf(bundle)); err != nil {
		return err
	}
	_, err := p.Program(ctx, bundle)
	return err
}

func scriptOf(bundle *source.Bundle) jsruntime.Script {
	return jsruntime.Script{Name: bundle.Name, Code: bundle.Code, Map: bundle.Map, ESM: bundle.ESM, Digest: bundle.Digest}
}
