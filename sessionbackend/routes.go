package sessionbackend

import (
	"github.com/maypok86/otter/v2"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// routes remembers which other edge owns a key. It may be wrong: the owner itself
// says so, and no harm is done.
type routes struct {
	cache *otter.Cache[string, webtask.LeaseOwner]
}

// maxRoutes bounds them.
const maxRoutes = 100_000

func newRoutes() *routes {
	return &routes{otter.Must(&otter.Options[string, webtask.LeaseOwner]{MaximumSize: maxRoutes})}
}

func (r *routes) get(key string) *webtask.LeaseOwner {
	if owner, ok := r.cache.GetIfPresent(key); ok {
		return &owner
	}
	return nil
}

func (r *routes) put(key string, owner *webtask.LeaseOwner) { r.cache.Set(key, *owner) }

func (r *routes) drop(key string) { r.cache.Invalidate(key) }

// dropIf forgets an owner.
func (r *routes) dropIf(key string, owner webtask.LeaseOwner) {
	r.cache.ComputeIfPresent(key, func(current webtask.LeaseOwner) (webtask.LeaseOwner, otter.ComputeOp) {
		if current == owner {
			return current, otter.InvalidateOp
		}
		return current, otter.CancelOp
	})
}
