package nodeapi

import (
	"strings"

	"github.com/dop251/goja"
)

// query is req.query, as querystring.parse reads it: names that come twice have
// arrays.
func (x *exchange) query(goja.FunctionCall) goja.Value {
	_, query, _ := strings.Cut(x.path(), "?")
	query, _, _ = strings.Cut(query, "#")
	o := x.r.rt.NewObject()
	values := make(map[string][]any)
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name = unescape(name)
		values[name] = append(values[name], unescape(value))
		if list := values[name]; len(list) > 1 {
			x.r.set(o, name, x.r.rt.NewArray(list...))
		} else {
			x.r.set(o, name, x.r.rt.ToValue(list[0]))
		}
	}
	return o
}

// claims is req.x_wt, which adapters of the webtask family read.
func (x *exchange) claims(goja.FunctionCall) goja.Value {
	spec, rt := x.r.iso.Spec(), x.r.rt
	o := rt.NewObject()
	x.r.set(o, "container", rt.ToValue(spec.Container))
	if spec.Name != "" {
		x.r.set(o, "jtn", rt.ToValue(spec.Name))
	}
	if spec.Token != "" {
		x.r.set(o, "token", rt.ToValue(spec.Token))
	}
	x.r.set(o, "url_format", rt.ToValue(x.urlFormat()))
	x.r.set(o, "req_id", rt.ToValue(x.req.ID))
	for name, values := range map[string]map[string]string{"ectx": spec.Secrets, "pctx": spec.Params, "meta": spec.Meta} {
		object := rt.NewObject()
		for key, value := range values {
			x.r.set(object, key, rt.ToValue(value))
		}
		x.r.set(o, name, object)
	}
	return o
}

// How the URL of a request names the webtask: what stands before the path that
// is the task's own. Adapters take that off, and refuse any other number.
const (
	sharedURL   = 1 // /api/run/{container}/{name}/…
	customURL   = 2 // /{container}/{name}/…, on a domain of a tenant's
	wildcardURL = 3 // /{name}/…, on the container's own host; also what names neither
)

// urlFormat is req.x_wt.url_format.
func (x *exchange) urlFormat() int {
	container := x.r.iso.Spec().Container
	path, _, _ := strings.Cut(x.path(), "?")
	switch {
	case strings.HasPrefix(x.host(), container+"."):
		return wildcardURL
	case beginsWith(path, "/api/run/"+container):
		return sharedURL
	case beginsWith(path, "/"+container):
		return customURL
	default:
		return wildcardURL
	}
}

// beginsWith reports whether the first segments of a path are those of prefix.
func beginsWith(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}
