package edge

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// plan is a task made ready to run on one route: everything that does not
// depend on the request, so that a warm request computes none of it.
type plan struct {
	task      *webtask.Task     // with the effective limits
	transport http.RoundTripper // under its net; nil: no way out
	requests  []bucket          // that its fetches count against
	bytes     []bucket          // and what they send and receive
	group     string            // of the worker processes that may run it
	cookies   [2]string         // names of its session cookie: plain, on TLS
	loaded    atomic.Pointer[loaded]
}

// loaded is the code of a plan at one version.
type loaded struct {
	bundle *source.Bundle
	spec   *jsruntime.Spec
}

// attached is what an Edge hangs on a verified token: its plans by route. A
// token is seldom used on more than one, so a list does; it never grows beyond
// maxAttached, since routes of earlier configurations may be among them.
type attached []attachedPlan

type attachedPlan struct {
	edge  *Edge
	route *Route
	plan  *plan
}

const maxAttached = 4

// Forget lets go of the plans that this Edge hung on verified tokens, which are
// remembered across configurations: each holds the Edge, its code, and all that
// they refer to. It is for an Edge that serves no request any more.
func (e *Edge) Forget() {
	if e.opts.Verifier == nil {
		return
	}
	e.opts.Verifier.Each(func(token *webtask.Verified) {
		plans, _ := token.Attached().(attached)
		others := slices.DeleteFunc(slices.Clone(plans), func(p attachedPlan) bool { return p.edge == e })
		if len(others) < len(plans) {
			// Another Edge may be attaching one, which it would make once more.
			token.Attach(others)
		}
	})
}

// tokenPlan returns the plan of a token's task on a route. Opening the secrets
// is part of making it.
func (e *Edge) tokenPlan(token *webtask.Verified, route *Route) (*plan, error) {
	plans, _ := token.Attached().(attached)
	for i := range plans {
		if plans[i].route == route && plans[i].edge == e {
			return plans[i].plan, nil
		}
	}
	task, err := token.Task()
	if err != nil {
		if errors.Is(err, webtask.ErrTokenNotAllowed) {
			err = &tokenNotAllowed{why: "it names no code to run. Use one that was issued with a url."}
		}
		return nil, err
	}
	p, err := e.newPlan(task, route)
	if err != nil {
		return nil, err
	}
	fresh := attached{{e, route, p}}
	// Concurrent first requests may each make a plan; they are worth the same,
	// and the last one attached stays.
	token.Attach(append(fresh, plans[:min(len(plans), maxAttached-1)]...))
	return p, nil
}

// routePlan returns the plan of a route-bound task.
func (e *Edge) routePlan(route *Route) (*plan, error) {
	if owned := route.plan.Load(); owned != nil && owned.edge == e {
		return owned.plan, nil
	}
	p, err := e.newPlan(route.Task, route)
	if err != nil {
		return nil, err
	}
	route.plan.Store(&attachedPlan{e, route, p})
	return p, nil
}

func (e *Edge) newPlan(task *webtask.Task, route *Route) (*plan, error) {
	effective := *task
	effective.Limits = e.opts.Limits.Narrow(route.Limits).Narrow(task.Limits)
	p := &plan{task: &effective, group: effective.Group()}
	// Containers of the sites themselves start with @, and no token's does.
	own := strings.HasPrefix(task.Container, "@")
	for i, secure := range []bool{false, true} {
		p.cookies[i] = webtask.SessionCookieName(task.Container, own, secure)
	}
	if e.opts.Transport != nil {
		policy, err := e.opts.Egress.Narrow(task.Net)
		if err != nil {
			return nil, &tokenNotAllowed{why: "its claim net cannot be read: " + err.Error()}
		}
		p.transport = e.opts.Transport.For(task.Container, policy)
		p.takesFrom(&e.opts.Limits)
	}
	return p, nil
}

// spec returns how to run the plan's code at its latest good version. The warm
// way is the loader's look at its cache and one comparison.
func (e *Edge) spec(ctx context.Context, p *plan) (*jsruntime.Spec, error) {
	bundle, err := e.opts.Loader.Load(ctx, p.task.Container, p.task.Code, p.task.Integrity, p.task.Limits)
	if err != nil {
		return nil, err
	}
	if l := p.loaded.Load(); l != nil && l.bundle == bundle {
		return l.spec, nil
	}
	program, err := e.opts.Programs.Program(ctx, bundle)
	if err != nil {
		return nil, err
	}
	task := p.task
	spec := jsruntime.NewSpec(task.Key(program.Digest), program, jsruntime.SpecOptions{
		Container: task.Container,
		Group:     p.group,
		Name:      task.Name,
		ID:        task.ID,
		Token:     task.Token,
		Secrets:   task.Secrets,
		Params:    task.Params,
		Meta:      task.Meta,
		Limits:    task.Limits,
		ParseBody: task.ParseBody,
		MergeBody: task.MergeBody,
	})
	p.loaded.Store(&loaded{bundle, spec})
	return spec, nil
}
