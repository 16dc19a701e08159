//go:build unix

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/nodeapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// Kind is the kind of process that runs webtasks.
const Kind = "isolates"

func init() { process.Register(Kind, serve) }

// child is the worker's side: an Engine whose requests come over the socket.
type child struct {
	in     *frameReader
	out    *frameWriter
	engine *jsruntime.Engine

	turn  *turn
	fatal chan error // why the process ends

	mu       sync.Mutex
	programs map[uint32]*program
	specs    map[uint32]*specMessage
	live     map[uint32]*served
}

// program is compiled by the first request for it.
type program struct {
	script  jsruntime.Script
	compile func() (*jsruntime.Program, error)
}

// serve is the Main of a worker.
func serve(fd int) error {
	c := &child{
		in: newFrameReader(wire.Blocking(fd), maxFromEdge), out: newFrameWriter(wire.Blocking(fd)), fatal: make(chan error, 1),
		programs: make(map[uint32]*program), specs: make(map[uint32]*specMessage), live: make(map[uint32]*served),
	}
	if err := c.greet(); err == io.EOF {
		return nil // a spare that nobody needed
	} else if err != nil {
		return err
	}
	c.turn = newTurn(c.lane, func(d time.Duration, f func()) jsruntime.Timer { return time.AfterFunc(d, f) })
	go c.lane()
	if err := <-c.fatal; err != io.EOF {
		return err
	}
	return nil
}

// greet waits for the settings and makes the engine. A spare waits here.
func (c *child) greet() error {
	f, err := c.in.next()
	if err != nil {
		return err
	}
	var settings hello
	if err := json.Unmarshal(f.payload, &settings); err != nil || f.kind != kindHello {
		return wire.Violation("no greeting: %v", err)
	}
	if settings.Version != version {
		return wire.Violation("version %d of the protocol, want %d", settings.Version, version)
	}
	c.engine = jsruntime.NewEngine(jsruntime.Options{
		Web: webapi.New(), Node: nodeapi.New(),
		CPUSlots: settings.CPUSlots, MemoryBudget: settings.Memory,
		QueueLength: settings.QueueLength, QueueWait: settings.QueueWait,
		RecycleAfter: settings.RecycleAfter, IdleTimeout: settings.IdleTimeout,
		Observer: reporter{c.out}, Stuck: c.stuck,
	})
	return c.out.send(kindReady, 0, func(b []byte) []byte { return wire.PutUint(b, version) })
}

// stuck tells the edge that only the end of this process stops a request.
func (c *child) stuck(req *jsruntime.Request) {
	number := uint32(0)
	if req != nil {
		number = req.Host.(*served).number
	}
	_ = c.out.send(kindStuck, number, nil)
}

// lane reads and serves, as long as it has the turn.
func (c *child) lane() {
	for {
		s, spec, err := c.next()
		if err != nil {
			c.end(err)
			return
		}
		more := c.in.buffered() // once it keeps the turn, that may pass at any time
		c.turn.keep(s.number)
		if s.body != nil || more {
			c.turn.pass(s.number)
		}
		s.run(spec)
		if !c.turn.resume(s.number) {
			return
		}
	}
}

// next reads up to the next request.
func (c *child) next() (*served, *specMessage, error) {
	for {
		f, err := c.in.next()
		if err != nil {
			return nil, nil, err
		}
		if f.kind == kindRequest {
			return c.begin(f)
		}
		if err := c.control(f); err != nil {
			return nil, nil, err
		}
	}
}

func (c *child) end(err error) {
	select {
	case c.fatal <- err:
	default:
	}
}

// begin makes the live request of a frame.
func (c *child) begin(f frame) (*served, *specMessage, error) {
	s := &served{child: c, number: f.request}
	d := decoder{Decoder: wire.Decoder{Rest: f.payload}, trusted: true}
	id, body := d.request(&s.request, time.Now())
	if err := d.End(); err != nil {
		return nil, nil, err
	}
	s.request.Host, s.request.Ended = s, s.ended
	if body {
		s.body = newInbound(c.out, streamKey{request: f.request}, 0)
		s.request.Body = s.body
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	spec := c.specs[id]
	if spec == nil || c.live[f.request] != nil {
		return nil, nil, wire.Violation("request %d for the webtask %d", f.request, id)
	}
	c.live[f.request] = s
	return s, spec, nil
}

// control handles a frame that is no request.
func (c *child) control(f frame) error {
	d := decoder{Decoder: wire.Decoder{Rest: f.payload}, trusted: true}
	switch f.kind {
	case kindProgram:
		var m programMessage
		if err := json.Unmarshal(f.payload, &m); err != nil {
			return wire.Violation("program: %v", err)
		}
		p := &program{script: m.Script}
		p.compile = sync.OnceValues(func() (*jsruntime.Program, error) {
			defer func() { p.script = jsruntime.Script{} }()
			return c.engine.Compile(context.Background(), p.script)
		})
		c.mu.Lock()
		c.programs[m.ID] = p
		c.mu.Unlock()
		return nil
	case kindSpec:
		m := new(specMessage)
		if err := json.Unmarshal(f.payload, m); err != nil {
			return wire.Violation("webtask: %v", err)
		}
		m.Options.Token, m.Options.Secrets = m.Token, m.Secrets
		c.mu.Lock()
		c.specs[m.ID] = m
		c.mu.Unlock()
		return nil
	case kindControl:
		return c.answerControl(f)
	}
	c.mu.Lock()
	s := c.live[f.request]
	c.mu.Unlock()
	if s == nil {
		return nil // it ended while the frame was under way
	}
	return s.handle(f, &d)
}

// specOf returns the Spec of a message, with its program compiled. All
// requests of a message share one.
func (c *child) specOf(m *specMessage) (*jsruntime.Spec, error) {
	c.mu.Lock()
	p := c.programs[m.Program]
	c.mu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("program %d was never sent", m.Program)
	}
	compiled, err := p.compile()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.spec == nil {
		m.spec = jsruntime.NewSpec(m.Key, compiled, m.Options)
	}
	return m.spec, nil
}

// control questions.
type control struct {
	Flush     bool   `json:"flush,omitempty"` // else: statistics
	Container string `json:"container,omitempty"`
	Key       string `json:"key,omitempty"`
}

type controlAnswer struct {
	Pools   []jsruntime.PoolStats `json:"pools,omitempty"`
	Flushed int                   `json:"flushed,omitempty"`
}

func (c *child) answerControl(f frame) error {
	var question control
	if err := json.Unmarshal(f.payload, &question); err != nil {
		return wire.Violation("question: %v", err)
	}
	var answer controlAnswer
	if question.Flush {
		answer.Flushed = c.engine.Flush(question.Container, question.Key)
	} else {
		answer.Pools = c.engine.Stats()
	}
	return c.out.send(kindAnswer, f.request, func(b []byte) []byte { return append(b, mustJSON(&answer)...) })
}

// reporter passes on what metrics want to know.
type reporter struct{ out *frameWriter }

// Events.
const (
	eventQueueWaited = iota + 1
	eventCompiled
	eventCreated
	eventDiscarded
)

func (r reporter) send(event uint64, took time.Duration, text string) {
	// If it fails the process is about to end.
	_ = r.out.send(kindEvent, 0, func(b []byte) []byte { return wire.PutString(wire.PutInt(wire.PutUint(b, event), int64(took)), text) })
}

// QueueWaited implements jsruntime.Observer.
func (r reporter) QueueWaited(_ string, wait time.Duration) { r.send(eventQueueWaited, wait, "") }

// Compiled implements jsruntime.Observer.
func (r reporter) Compiled(took time.Duration, err error) {
	text := ""
	if err != nil {
		text = "error"
	}
	r.send(eventCompiled, took, text)
}

// IsolateCreated implements jsruntime.Observer.
func (r reporter) IsolateCreated(_ string, took time.Duration) { r.send(eventCreated, took, "") }

// IsolateDiscarded implements jsruntime.Observer.
func (r reporter) IsolateDiscarded(_, reason string) { r.send(eventDiscarded, 0, reason) }
