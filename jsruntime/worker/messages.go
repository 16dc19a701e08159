//go:build unix

package worker

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// hello is the first frame: how the worker shall run what comes.
type hello struct {
	Version      int
	Memory       int64 // bytes that isolates may take together
	QueueLength  int
	QueueWait    time.Duration
	RecycleAfter int
	IdleTimeout  time.Duration
	CPUSlots     int
}

// specMessage is the payload of kindSpec. The names of its secret parts are
// written out: their tags in jsruntime keep them out of any other JSON.
type specMessage struct {
	ID      uint32
	Program uint32
	Key     string
	Options jsruntime.SpecOptions
	Token   string
	Secrets map[string]string

	spec *jsruntime.Spec // in the worker, once made
}

type programMessage struct {
	ID     uint32
	Script jsruntime.Script
}

// Flags of a request.
const (
	requestForceParse = 1 << iota
	requestForceMerge
	requestHasBody
	requestHasDeadline
)

func putRequest(b []byte, spec uint32, req *jsruntime.Request, now time.Time) []byte {
	flags := uint64(0)
	if req.ForceParseBody {
		flags |= requestForceParse
	}
	if req.ForceMergeBody {
		flags |= requestForceMerge
	}
	if hasBody(req) {
		flags |= requestHasBody
	}
	if !req.Deadline.IsZero() {
		flags |= requestHasDeadline
	}
	b = wire.PutUint(wire.PutUint(b, uint64(spec)), flags)
	if flags&requestHasDeadline != 0 {
		b = wire.PutInt(b, int64(req.Deadline.Sub(now)/time.Microsecond))
	}
	b = wire.PutString(b, req.ID)
	b = wire.PutString(b, req.Method)
	b = wire.PutString(b, req.URL)
	b = wire.PutString(b, req.Proto)
	b = wire.PutString(b, req.RemoteIP)
	b = wire.PutInt(b, req.Length)
	return putHeader(b, req.Header)
}

func hasBody(req *jsruntime.Request) bool {
	return req.Body != nil && req.Body != http.NoBody && req.Length != 0
}

// request decodes what putRequest wrote. The body is left to the caller.
func (d *decoder) request(req *jsruntime.Request, now time.Time) (spec uint32, body bool) {
	spec = d.Uint32()
	flags := d.Uint()
	if flags&requestHasDeadline != 0 {
		req.Deadline = now.Add(time.Duration(d.Int()) * time.Microsecond)
	}
	req.ID, req.Method, req.URL, req.Proto, req.RemoteIP = d.String(), d.String(), d.String(), d.String(), d.String()
	req.Length = d.Int()
	req.Header = d.header()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.ForceParseBody, req.ForceMergeBody = flags&requestForceParse != 0, flags&requestForceMerge != 0
	return spec, flags&requestHasBody != 0
}

// Flags of a response.
const (
	responseEnded  = 1 << iota // nothing of the request goes on
	responseStream             // the body comes as stream 0
	responsePassThrough
	responseSession
)

// maxInline is the longest body that comes with its head.
const maxInline = 64 << 10

func putResponse(b []byte, resp *jsruntime.Response, wait time.Duration, flags uint64) []byte {
	if resp.PassThrough {
		flags |= responsePassThrough
	}
	if resp.Session != nil {
		flags |= responseSession
	}
	b = wire.PutUint(wire.PutUint(b, flags), uint64(resp.Status))
	b = wire.PutString(b, resp.ContentType)
	b = putHeader(b, resp.Header)
	b = wire.PutUint(wire.PutInt(b, resp.BodyLength), uint64(wait))
	if flags&responseStream == 0 {
		b = wire.PutBytes(b, resp.Bytes)
	}
	if resp.Session != nil {
		b = wire.PutBytes(b, mustJSON(resp.Session))
	}
	return b
}

// responseFlags are the flags of a response's payload, which come first.
func responseFlags(payload []byte) uint64 {
	d := decoder{Decoder: wire.Decoder{Rest: payload}}
	return d.Uint()
}

func (d *decoder) response() (resp *jsruntime.Response, wait time.Duration) {
	flags := d.Uint()
	resp = &jsruntime.Response{
		Status:      int(d.Uint32()),
		ContentType: d.String(),
		Header:      d.header(),
		BodyLength:  d.Int(),
		PassThrough: flags&responsePassThrough != 0,
	}
	wait = d.wait()
	if flags&responseStream == 0 {
		resp.Bytes = d.Bytes()
		resp.BodyLength = int64(len(resp.Bytes))
	} else if resp.BodyLength < -1 {
		d.Fail("body of a negative length")
	}
	if flags&responseSession != 0 {
		resp.Session = new(webtask.SessionChange)
		d.json(resp.Session)
		checkChange(d, resp.Session)
	}
	return resp, wait
}

// wait is how long a request waited for an isolate.
func (d *decoder) wait() time.Duration { return time.Duration(min(d.Uint(), uint64(time.Hour))) }

// checkChange refuses what an isolate does not set: the Host adds it.
func checkChange(d *decoder, change *webtask.SessionChange) {
	if change.Create || change.TTL != 0 || change.MaxBytes != 0 || change.MaxSessions != 0 ||
		change.MoveTo != "" && change.MoveTo != jsruntime.MoveToNew {
		d.Fail("session change with what is the edge's to say")
	}
	for _, value := range change.Set {
		if !json.Valid(value) {
			d.Fail("session value that is no JSON")
		}
	}
}

// json decodes a byte string that holds JSON.
func (d *decoder) json(v any) {
	text := d.Bytes()
	if d.Err != nil {
		return
	}
	if err := json.Unmarshal(text, v); err != nil {
		d.Fail("JSON: " + err.Error())
	}
}

// mustJSON encodes what holds nothing that JSON cannot.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// Calls of Host.
const (
	callFetch = iota + 1
	callLoadSession
	callSaveSession
	callNewSessionID
	callAwaitCommit
)

func putFetch(b []byte, req *jsruntime.FetchRequest) []byte {
	b = wire.PutString(b, req.Method)
	b = wire.PutString(b, req.URL)
	b = wire.PutString(b, req.Redirect)
	body := uint64(0)
	if req.Body != nil {
		body = 1
	}
	return putHeader(wire.PutInt(wire.PutUint(b, body), req.Length), req.Header)
}

func (d *decoder) fetch() (req *jsruntime.FetchRequest, body bool) {
	req = &jsruntime.FetchRequest{Method: d.String(), URL: d.String(), Redirect: d.String()}
	body = d.Uint() == 1
	req.Length = d.Int()
	req.Header = d.header()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	return req, body
}

func putFetched(b []byte, resp *jsruntime.FetchResponse) []byte {
	redirected := uint64(0)
	if resp.Redirected {
		redirected = 1
	}
	b = wire.PutUint(wire.PutUint(b, uint64(resp.Status)), redirected)
	return putHeader(wire.PutString(wire.PutString(b, resp.StatusText), resp.URL), resp.Header)
}

func (d *decoder) fetched() *jsruntime.FetchResponse {
	resp := &jsruntime.FetchResponse{Status: int(d.Uint32()), Redirected: d.Uint() == 1}
	resp.StatusText, resp.URL = d.String(), d.String()
	resp.Header = d.header()
	return resp
}

func putLog(b []byte, entry *jsruntime.LogEntry) []byte {
	b = wire.PutInt(wire.PutUint(b, uint64(entry.Level)), entry.Time.UnixNano())
	return wire.PutString(wire.PutString(b, entry.Message), entry.Stack)
}

func (d *decoder) log() jsruntime.LogEntry {
	level := d.Uint()
	if level > uint64(jsruntime.LogError) {
		d.Fail("log level")
	}
	return jsruntime.LogEntry{
		Level: jsruntime.LogLevel(level), Time: time.Unix(0, d.Int()), Message: d.String(), Stack: d.String(),
	}
}
