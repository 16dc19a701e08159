package jsruntime

import (
	"maps"
	"slices"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// session is ctx.session of one request. It reads the store once at most.
// Writes are buffered and leave with the response's head; once that is sent
// they go to the store one by one.
type session struct {
	iso    *Isolate
	seq    uint64
	object *goja.Object
	guard  goja.Value // JSON.stringify's replacer
	sessionLine

	stored     *Session // nil: not loaded yet
	set        map[string][]byte
	deleted    map[string]struct{}
	destroyed  bool
	regenerate bool
	size       int64 // bytes of set
}

// sessionProperties are those of ctx.session.
var sessionProperties = []string{"id", "get", "set", "update", "delete", "entries", "destroy", "regenerate"}

// sessionObject makes ctx.session.
func (iso *Isolate) sessionObject() goja.Value {
	s := &session{iso: iso, seq: iso.live.seq}
	iso.live.session = s
	methods := &lazyObject{names: sessionProperties[1:], make: s.method}
	s.object = iso.runtime.NewDynamicObject(&sessionView{lazyObject: methods, session: s})
	return s.object
}

// sessionView adds id, which changes, to the methods.
type sessionView struct {
	*lazyObject
	session *session
}

// Get implements goja.DynamicObject.
func (v *sessionView) Get(name string) goja.Value {
	if name == "id" {
		return v.session.id()
	}
	return v.lazyObject.Get(name)
}

// Set implements goja.DynamicObject.
func (v *sessionView) Set(name string, value goja.Value) bool {
	panic(v.session.iso.NewTypeError("ctx.session.%s cannot be assigned; use await ctx.session.set(%q, value)", name, name))
}

// Keys implements goja.DynamicObject.
func (v *sessionView) Keys() []string { return sessionProperties }

// Has implements goja.DynamicObject.
func (v *sessionView) Has(name string) bool { return slices.Contains(sessionProperties, name) }

func (s *session) method(name string) goja.Value {
	var call func(goja.FunctionCall, *deferred)
	switch name {
	case "get":
		call = s.get
	case "set":
		call = s.put
	case "update":
		call = s.update
	case "delete":
		call = s.remove
	case "entries":
		call = s.entries
	case "destroy":
		call = s.destroy
	case "regenerate":
		call = s.renew
	}
	return s.iso.Function(name, func(arguments goja.FunctionCall) goja.Value {
		d := s.iso.newDeferred()
		if s.iso.live.seq != s.seq {
			d.reject(s.iso.NewError("Error", ErrRequestEnded, "the request of this session has ended"))
			return d.promise
		}
		if thrown := s.iso.runtime.Try(func() { call(arguments, d) }); thrown != nil {
			d.reject(thrown.Value())
		}
		return d.promise
	})
}

// deferred is a promise that Go settles, on the isolate's goroutine.
type deferred struct {
	iso       *Isolate
	promise   goja.Value
	onResolve func(any) error
	onReject  func(any) error
}

func (iso *Isolate) newDeferred() *deferred {
	p, resolve, reject := iso.runtime.NewPromise()
	return &deferred{iso: iso, promise: iso.runtime.ToValue(p), onResolve: resolve, onReject: reject}
}

func (d *deferred) resolve(v goja.Value)     { d.iso.Uncaught(d.onResolve(v)) }
func (d *deferred) reject(reason goja.Value) { d.iso.Uncaught(d.onReject(reason)) }

// id is the public id: null while there is no session. It has to be known when
// it is read, so it waits for the store when nothing was read before.
func (s *session) id() goja.Value {
	iso := s.iso
	if s.destroyed || iso.live.seq != s.seq {
		return goja.Null()
	}
	if s.stored == nil {
		if err := s.loadNow(); err != nil {
			panic(s.storeError(err))
		}
	}
	id := s.stored.ID
	// There is nothing to move to a new id while there is no session.
	begins, moves := id == "" && len(s.set) > 0, id != "" && s.regenerate
	if namer, ok := iso.live.request.Host.(SessionNamer); ok && (begins || moves) {
		id = namer.NewSessionID()
	}
	if id == "" {
		return goja.Null()
	}
	return iso.runtime.ToValue(id)
}

// value returns the value of a key as this request sees it: its own writes
// first. The session must have been read.
func (s *session) value(key string) (text []byte, ok bool) {
	if text, ok := s.set[key]; ok {
		return text, true
	}
	if _, gone := s.deleted[key]; gone || s.destroyed {
		return nil, false
	}
	entry, ok := s.stored.Data.Entries[key]
	return entry.Value, ok
}

func (s *session) parse(text []byte, ok bool) goja.Value {
	if !ok {
		return goja.Undefined()
	}
	return s.iso.ParseJSON(string(text))
}

func (s *session) get(call goja.FunctionCall, d *deferred) {
	key := s.key(call)
	if text, ok := s.set[key]; ok {
		d.resolve(s.parse(text, true))
		return
	}
	s.load(func(err error) {
		if err != nil {
			d.reject(s.storeError(err))
			return
		}
		d.resolve(s.parse(s.value(key)))
	})
}

func (s *session) entries(_ goja.FunctionCall, d *deferred) {
	s.load(func(err error) {
		if err != nil {
			d.reject(s.storeError(err))
			return
		}
		keys := maps.Clone(s.stored.Data.Entries)
		if keys == nil {
			keys = make(map[string]webtask.SessionEntry, len(s.set))
		}
		for key := range s.set {
			keys[key] = webtask.SessionEntry{}
		}
		pairs := make([]any, 0, len(keys))
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if text, ok := s.value(key); ok {
				pairs = append(pairs, s.iso.runtime.NewArray(key, s.parse(text, true)))
			}
		}
		d.resolve(s.iso.runtime.NewArray(pairs...))
	})
}

func (s *session) put(call goja.FunctionCall, d *deferred) {
	key := s.key(call)
	text := s.serialize(key, call.Argument(1))
	s.usable()
	if s.iso.live.answered {
		s.save(&webtask.SessionChange{Set: map[string][]byte{key: text}}, d)
		return
	}
	s.buffer(key, text)
	d.resolve(goja.Undefined())
}

func (s *session) remove(call goja.FunctionCall, d *deferred) {
	key := s.key(call)
	s.usable()
	if s.iso.live.answered {
		s.save(&webtask.SessionChange{Delete: []string{key}}, d)
		return
	}
	s.bufferDelete(key)
	d.resolve(goja.Undefined())
}

func (s *session) destroy(_ goja.FunctionCall, d *deferred) {
	if s.iso.live.answered {
		s.save(&webtask.SessionChange{Destroy: true}, d)
		return
	}
	s.destroyed, s.regenerate = true, false
	s.set, s.deleted, s.size = nil, nil, 0
	d.resolve(goja.Undefined())
}

func (s *session) renew(_ goja.FunctionCall, d *deferred) {
	s.usable()
	if s.iso.live.answered {
		d.reject(s.storeError(ErrSessionCommitted))
		return
	}
	s.regenerate = true
	d.resolve(goja.Undefined())
}

// save sends one change after the head is sent, and settles d.
func (s *session) save(change *webtask.SessionChange, d *deferred) {
	s.inLine(func() {
		s.send(change, func(saved *Session, err error) {
			if err != nil {
				d.reject(s.storeError(err))
				return
			}
			s.stored = saved
			d.resolve(goja.Undefined())
		})
	})
}

// commit returns the buffered writes, which leave with the head; nil: none.
func (s *session) commit() *webtask.SessionChange {
	if s.destroyed {
		return &webtask.SessionChange{Destroy: true}
	}
	if len(s.set) == 0 && len(s.deleted) == 0 && !s.regenerate {
		return nil
	}
	change := s.takeBuffered()
	if s.regenerate {
		change.MoveTo = MoveToNew
	}
	// What was read is out of date now; the next read asks the store.
	s.stored = nil
	return change
}

func (s *session) buffer(key string, text []byte) {
	if s.set == nil {
		s.set = make(map[string][]byte)
	}
	s.size += int64(len(key)+len(text)) - s.sizeOf(key)
	s.set[key] = text
	delete(s.deleted, key)
}

func (s *session) bufferDelete(key string) {
	if s.deleted == nil {
		s.deleted = make(map[string]struct{})
	}
	s.size -= s.sizeOf(key)
	delete(s.set, key)
	s.deleted[key] = struct{}{}
}

func (s *session) sizeOf(key string) int64 {
	if text, ok := s.set[key]; ok {
		return int64(len(key) + len(text))
	}
	return 0
}

func (s *session) takeBuffered() *webtask.SessionChange {
	change := &webtask.SessionChange{Set: s.set, Delete: slices.Sorted(maps.Keys(s.deleted))}
	if change.Set == nil {
		change.Set = make(map[string][]byte)
	}
	s.set, s.deleted, s.size = nil, nil, 0
	return change
}
