package edge

import (
	"strings"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// taskFields adds to log fields which task it is: for machines by its id, for
// people by its name and code.
func taskFields(fields []zap.Field, task *webtask.Task) []zap.Field {
	fields = append(fields, zap.String("container", task.Container), zap.String("id", task.ID))
	if task.Name != "" {
		fields = append(fields, zap.String("task", task.Name))
	}
	return append(fields, zap.String("code", codeName(task.Code)))
}

// RouteFields are the log fields of a route, for what is logged of it while no
// request is served.
func RouteFields(route *Route) []zap.Field {
	fields := []zap.Field{zap.String("route", route.Name)}
	if route.Task != nil {
		fields = taskFields(fields, route.Task)
	}
	return fields
}

// codeName names code in logs: a query may hold a secret, and inline code has
// no name but that.
func codeName(code webtask.CodeRef) string {
	if code.Kind == webtask.CodeInline {
		return "inline"
	}
	if code.Kind == webtask.CodeURL {
		name, _, _ := strings.Cut(code.Value, "?")
		return name
	}
	return code.Value
}
