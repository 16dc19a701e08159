package jsruntime

import (
	"context"
	"errors"
	"fmt"

	"github.com/dop251/goja"
	"github.com/dustin/go-humanize"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// usable throws when the session was destroyed by this request.
func (s *session) usable() {
	if s.destroyed {
		panic(s.iso.NewError("Error", nil, "the session was destroyed by this request; a new one can be begun by the next"))
	}
}

// maxSessionKey is the longest key, in bytes.
const maxSessionKey = 256

func (s *session) key(call goja.FunctionCall) string {
	v := call.Argument(0)
	if !goja.IsString(v) {
		panic(s.iso.NewTypeError("a session key must be a string"))
	}
	key := v.String()
	if key == "" || len(key) > maxSessionKey {
		panic(s.iso.NewTypeError("a session key must have 1 to %d bytes, this one has %d", maxSessionKey, len(key)))
	}
	return key
}

// serialize returns the JSON text of a value, or throws a TypeError that says
// why it cannot be stored.
func (s *session) serialize(key string, value goja.Value) []byte {
	iso := s.iso
	if s.guard == nil {
		s.guard = iso.Function("", func(call goja.FunctionCall) goja.Value {
			v := call.Argument(1)
			if why := s.unstorable(v); why != "" {
				where := ""
				if name := call.Argument(0).String(); name != "" {
					where = fmt.Sprintf(" (at %q)", name)
				}
				panic(iso.NewTypeError("%s%s is no JSON data; store strings, numbers, booleans, null, arrays and objects of them", why, where))
			}
			return v
		})
	}
	if goja.IsUndefined(value) {
		panic(iso.NewTypeError("the value for session key %q is undefined; use null for no value, or ctx.session.delete(%q)", key, key))
	}
	var text string
	var ok bool
	if thrown := iso.runtime.Try(func() { text, ok = iso.stringify(value, s.guard) }); thrown != nil {
		reason := iso.text(thrown.Value())
		if object, isObject := thrown.Value().(*goja.Object); isObject {
			reason = iso.property(object, "message")
		}
		panic(iso.NewTypeError("the value for session key %q cannot be stored: %s", key, clip(reason)))
	}
	if !ok {
		panic(iso.NewTypeError("the value for session key %q has no JSON form; store plain data", key))
	}
	if limit := iso.spec.Limits.SessionSize; limit > 0 && s.size-s.sizeOf(key)+int64(len(key)+len(text)) > limit {
		panic(iso.NewError("SessionTooLarge", webtask.ErrSessionTooLarge,
			"the session would exceed %s with key %q; store less in it or raise the option session_size", humanize.IBytes(uint64(limit)), key))
	}
	return []byte(text)
}

// unstorable says what JSON would silently drop or refuse, with its kind.
func (s *session) unstorable(v goja.Value) string {
	switch v := v.(type) {
	case *goja.Symbol:
		return "a symbol"
	case *goja.Object:
		if _, ok := goja.AssertFunction(v); ok {
			return "a function"
		}
	default:
		if goja.IsBigInt(v) {
			return "a BigInt"
		}
	}
	return ""
}

// storeError makes the error that scripts see of what the Host returned.
func (s *session) storeError(err error) *goja.Object {
	name, message := "Error", "the session store failed"
	switch {
	case errors.Is(err, webtask.ErrStoreUnavailable), errors.Is(err, context.DeadlineExceeded):
		name, message = "StoreUnavailable", "the session store is unavailable; try again later"
	case errors.Is(err, ErrSessionCommitted):
		name, message = "SessionCommitted", "the response has been sent, so the session cannot get a new cookie; write to it, or call regenerate, before you answer"
	case errors.Is(err, webtask.ErrSessionConflict):
		name, message = "SessionConflict", "the session is changed by too many requests at once; try again"
	case errors.Is(err, webtask.ErrSessionTooLarge):
		name, message = "SessionTooLarge", "the session exceeds its size limit; store less in it or raise the option session_size"
	case errors.Is(err, webtask.ErrSessionQuota):
		name, message = "SessionQuota", "the container has too many sessions; raise the option sessions"
	case errors.Is(err, webtask.ErrSessionNotFound):
		name, message = "SessionNotFound", "the session has ended: it was destroyed or has expired"
	case errors.Is(err, ErrRequestEnded), errors.Is(err, context.Canceled):
		message = "the request has ended"
	}
	return s.iso.NewError(name, err, "%s", message)
}
