package jsruntime

import (
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"

	"github.com/dop251/goja"
	"github.com/dustin/go-humanize"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// rawBody is a request's body, read beforehand.
type rawBody struct {
	bytes []byte
	kind  bodyKind
}

type bodyKind int8

const (
	bodyOther bodyKind = iota
	bodyJSON
	bodyForm
)

// wantsBody reports whether the body is read before the handler is called
// (webtask API: pb). While the model is not known it is not.
func wantsBody(m model, spec *Spec, req *Request) bool {
	if m == modelUnknown || m == modelWeb {
		return false
	}
	if req.ForceParseBody {
		return true
	}
	switch spec.ParseBody {
	case webtask.ParseBodyAlways:
		return true
	case webtask.ParseBodyByArity:
		return m != modelNode
	default:
		return false
	}
}

// readBody reads the whole body, up to the limit request_body.
func readBody(spec *Spec, req *Request) (*rawBody, error) {
	raw := &rawBody{kind: kindOf(req)}
	if req.Body == nil || req.Length == 0 {
		return raw, nil
	}
	limit := spec.Limits.RequestBody
	if limit > 0 && req.Length > limit {
		return nil, requestTooLarge(limit)
	}
	body := req.Body
	if limit > 0 {
		body = io.LimitReader(body, limit+1)
	}
	var err error
	if raw.bytes, err = io.ReadAll(body); err != nil {
		return nil, fmt.Errorf("reading the request's body: %w", err)
	}
	if limit > 0 && int64(len(raw.bytes)) > limit {
		return nil, requestTooLarge(limit)
	}
	return raw, nil
}

func requestTooLarge(limit int64) *LimitError {
	return limitError("request_body", humanize.IBytes(uint64(limit)), statusTooLarge)
}

func kindOf(req *Request) bodyKind {
	mediaType, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return bodyOther
	case mediaType == "application/json", strings.HasSuffix(mediaType, "+json"):
		return bodyJSON
	case mediaType == "application/x-www-form-urlencoded":
		return bodyForm
	default:
		return bodyOther
	}
}

// value is the parsed body; undefined when it is of another type or malformed,
// which is not an error (webtask API).
func (raw *rawBody) value(iso *Isolate) goja.Value {
	switch raw.kind {
	case bodyJSON:
		var v goja.Value
		if thrown := iso.runtime.Try(func() { v = iso.ParseJSON(string(raw.bytes)) }); thrown != nil {
			return goja.Undefined()
		}
		return v
	case bodyForm:
		return iso.queryObject(string(raw.bytes), nil)
	default:
		return goja.Undefined()
	}
}

// queryObject makes an object of a query string as Node's querystring.parse
// does: keys that come twice hold arrays; what is malformed is taken as it is.
func (iso *Isolate) queryObject(query string, hidden func(name string) bool) *goja.Object {
	object := iso.runtime.NewObject()
	var arrays map[string][]any
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescapeQuery(name), unescapeQuery(value)
		if hidden != nil && hidden(name) {
			continue
		}
		if values, ok := arrays[name]; ok {
			arrays[name] = append(values, value)
			continue
		}
		if arrays == nil {
			arrays = make(map[string][]any)
		}
		arrays[name] = []any{value}
		define(object, name, iso.runtime.ToValue(value))
	}
	for name, values := range arrays {
		if len(values) > 1 {
			define(object, name, iso.runtime.NewArray(values...))
		}
	}
	return object
}

// define sets an own property, also when its name is "__proto__" or a setter
// is inherited.
func define(object *goja.Object, name string, value goja.Value) {
	// It fails only for objects that are not extensible; these are fresh.
	_ = object.DefineDataProperty(name, value, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE)
}

func unescapeQuery(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}
