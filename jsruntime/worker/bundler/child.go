//go:build unix

package bundler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
)

// maxStack is how large a stack may become: enough for all that
// source.CheckNesting lets pass.
const maxStack = 256 << 20

// child is the process's side of a job.
type child struct {
	conn *conn

	mu      sync.Mutex // also of writing
	next    uint64
	waiting map[uint64]chan moduleMessage
	modules map[uint64]*source.Module
	ids     map[string]uint64
}

// serve is the main of the process. It does one job.
func serve(fd int) error {
	debug.SetMaxStack(maxStack)
	c := &child{
		conn:    newConn(wire.Blocking(fd), fromEdge),
		waiting: map[uint64]chan moduleMessage{},
		modules: map[uint64]*source.Module{},
		ids:     map[string]uint64{},
	}
	if err := c.send(frameReady, []byte{version}); err != nil {
		return err
	}
	k, payload, err := c.conn.read()
	if errors.Is(err, io.EOF) {
		return nil // it was not needed
	}
	if err != nil {
		return err
	}
	if k != frameJob {
		return wire.Violation("frame of kind %d instead of a job", k)
	}
	job, memory, err := decodeJob(payload)
	if err != nil {
		return err
	}
	c.modules[0] = job.Entry
	c.ids[job.Entry.Name] = 0
	job.Resolve = c.resolve
	if err := c.send(frameBegun, nil); err != nil {
		return err
	}
	go limitMemory(memory)
	go c.receive()

	out, err := do(job)
	if err != nil {
		err = c.send(frameProblem, encodeProblem(err, c.ids))
	} else {
		err = c.send(frameOutput, encodeOutput(out, c.ids))
	}
	if err != nil {
		return err
	}
	select {} // until the edge has read it all
}

// fromEdge bounds what the edge sends: whole modules.
func fromEdge(k frameKind) uint32 {
	if k == frameJob || k == frameModule {
		return math.MaxUint32
	}
	return 0
}

// do bundles, and tries whether the engine takes the result.
func do(job *source.Job) (*source.Output, error) {
	out, err := source.InProcess{}.Bundle(context.Background(), job)
	if err != nil {
		return nil, err
	}
	sourceMap, err := out.Map.JSON()
	if err != nil {
		return nil, fmt.Errorf("bundling %s: source map: %w", job.Entry.Name, err)
	}
	return out, jsruntime.CheckScript(jsruntime.Script{Name: job.Entry.Name, Code: out.Code, Map: sourceMap, ESM: out.ESM})
}

func (c *child) send(k frameKind, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.write(frame(k, payload))
}

// resolve is Job.Resolve: it asks the edge.
func (c *child) resolve(_ context.Context, importer, specifier string) (*source.Module, error) {
	reply := make(chan moduleMessage, 1)
	c.mu.Lock()
	c.next++
	c.waiting[c.next] = reply
	err := c.conn.write(frame(frameResolve, encodeResolve(resolveMessage{c.next, c.ids[importer], specifier})))
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	m := <-reply
	if m.answer == answerFailed {
		return nil, errors.New(m.text)
	}
	return m.module, nil
}

// receive takes the edge's answers, and ends the process when the edge is gone
// or has no use for it any more.
func (c *child) receive() {
	for {
		_, payload, err := c.conn.read()
		if err != nil {
			os.Exit(0)
		}
		m, err := decodeAnswer(payload)
		if err != nil {
			os.Exit(1)
		}
		c.mu.Lock()
		switch m.answer {
		case answerNew:
			c.modules[m.id] = m.module
			c.ids[m.module.Name] = m.id
		case answerKnown:
			m.module = c.modules[m.id]
		}
		reply := c.waiting[m.request]
		delete(c.waiting, m.request)
		c.mu.Unlock()
		if reply != nil {
			reply <- m
		}
	}
}

// memoryCheck is how often the memory of the process is looked at.
const memoryCheck = 5 * time.Millisecond

// limitMemory ends the process when it is about to take more than it may above
// what it takes now. Not every system bounds a process by itself, and near the
// bound the collector may use up all time before anything fails.
func limitMemory(bytes int64) {
	if bytes <= 0 {
		return
	}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	used := func() uint64 {
		metrics.Read(samples)
		return samples[0].Value.Uint64() - samples[1].Value.Uint64()
	}
	for limit := used() + uint64(bytes-bytes/8); used() <= limit; {
		time.Sleep(memoryCheck)
	}
	fmt.Fprintln(os.Stderr, "fatal error: out of memory") // as Go's runtime says it
	os.Exit(2)
}
