package edge

import (
	"errors"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// explainLimit says in an answer where the limit is set that a request ran
// into: of several places that set one, the smallest value counts, and raising
// another helps nobody.
func (c *call) explainLimit(answer *Answer, route *Route) {
	var exceeded *jsruntime.LimitError
	if c.plan == nil || answer.Outcome != OutcomeLimit || !errors.As(answer.Err, &exceeded) {
		return
	}
	answer.Message = "The webtask exceeded the limit " + exceeded.Limit + " of " + exceeded.Value + "; " +
		whereSet(exceeded.Option, exceeded.Value, &c.edge.opts.Limits, &route.Limits, &c.plan.task.Limits) + " raises it."
}

// whereSet names what raises an option. A limit per container is also counted
// for all its tasks together: then the edge's own value was exceeded, although
// the task's is narrower.
func whereSet(option, exceeded string, global, route, effective *webtask.Limits) string {
	switch value := effective.Get(option); {
	case global.Get(option) == value, global.Get(option) == exceeded:
		return "the option " + option + " of the global option webtask"
	case route.Get(option) == value:
		return "the option " + option + " of the route's directive webtask"
	default:
		return "a token with a larger " + option + " in its claim lim"
	}
}

// WiderLimits returns the limits of a route that are larger than the edge's own
// in limits, whose zero fields take those of DefaultLimits: they have no effect.
// Each is given with the value that counts instead.
func WiderLimits(limits, route webtask.Limits) map[string]string {
	own := withDefaults(limits, DefaultLimits)
	counts := own.Narrow(route)
	var wider map[string]string
	for _, name := range webtask.LimitNames() {
		if route.Get(name) == counts.Get(name) || route.Get(name) == "" {
			continue
		}
		if wider == nil {
			wider = map[string]string{}
		}
		wider[name] = counts.Get(name)
	}
	return wider
}
