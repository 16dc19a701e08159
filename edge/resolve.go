package edge

import "github.com/webtask-edge/caddy-webtask/jsruntime"

// resolved is a task made ready to run.
type resolved struct {
	spec *jsruntime.Spec
}
