package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// document is a text that several people change at once. A change names the
// version it was made for; one that comes too late is refused, and whoever made it
// adapts it to what has changed meanwhile.
type document struct {
	file *file

	mu      sync.Mutex
	text    []uint16 // UTF-16, in which browsers count
	version int
	readers map[*reader]bool
	dirty   bool
	closed  bool
	here    sync.WaitGroup // readers
}

// change replaces a part of the text.
type change struct {
	At     int    `json:"at"`
	Remove int    `json:"remove"`
	Insert string `json:"insert"`
}

// message is what goes over a WebSocket, either way.
type message struct {
	Version int     `json:"version"`
	Text    *string `json:"text,omitempty"`    // all of it, to who has just come
	Change  *change `json:"change,omitempty"`  // that was made, or is to be
	Own     bool    `json:"own,omitempty"`     // by who is told
	Refused bool    `json:"refused,omitempty"` // the change came too late
	Here    int     `json:"here,omitempty"`    // how many are connected
}

// reader is someone who is connected.
type reader struct {
	messages chan message
	leave    context.CancelFunc
}

const (
	maxText  = 100_000 // UTF-16 units
	maxQueue = 256     // messages that a slow reader may be behind
	saveTime = 200 * time.Millisecond
	farewell = 2 * time.Second // for those who are connected to hear why they no longer are
)

func load(f *file) (*document, error) {
	text, err := f.read()
	if err != nil {
		return nil, err
	}
	return &document{file: f, text: utf16.Encode([]rune(text)), readers: map[*reader]bool{}}, nil
}

// ServeHTTP lets someone read and write.
func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the edge has checked the origin
	})
	if err != nil {
		return // and has been answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(4 * maxText)
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	me := &reader{make(chan message, maxQueue), leave}
	if !d.enter(me) {
		_ = conn.Close(websocket.StatusGoingAway, "the document is being saved")
		return
	}
	defer d.left(me)
	go d.listen(ctx, conn, me)
	for {
		select {
		case m := <-me.messages:
			if err := wsjson.Write(ctx, conn, m); err != nil {
				return
			}
		case <-ctx.Done():
			_ = conn.Close(websocket.StatusGoingAway, "the document is being saved")
			return
		}
	}
}

// listen takes changes.
func (d *document) listen(ctx context.Context, conn *websocket.Conn, me *reader) {
	defer me.leave()
	for {
		var m message
		if err := wsjson.Read(ctx, conn, &m); err != nil || m.Change == nil {
			return
		}
		d.change(me, m)
	}
}

func (d *document) enter(me *reader) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.readers[me] = true
	d.here.Add(1)
	text := string(utf16.Decode(d.text))
	d.tell(me, message{Version: d.version, Text: &text})
	d.tellAll(message{Version: d.version, Here: len(d.readers)})
	return true
}

func (d *document) left(me *reader) {
	defer d.here.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.readers, me)
	d.tellAll(message{Version: d.version, Here: len(d.readers)})
}

// tell sends a message. Who is too slow to take it has to come again. The mutex is
// held.
func (d *document) tell(to *reader, m message) {
	select {
	case to.messages <- m:
	default:
		to.leave()
	}
}

func (d *document) tellAll(m message) {
	for one := range d.readers {
		d.tell(one, m)
	}
}

// change makes a change, if it was made for the version that the text has.
func (d *document) change(by *reader, m message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, insert := m.Change, utf16.Encode([]rune(m.Change.Insert))
	fits := c.At >= 0 && c.Remove >= 0 && c.At <= len(d.text) && c.Remove <= len(d.text)-c.At && len(d.text)+len(insert)-c.Remove <= maxText
	if d.closed || m.Version != d.version || !fits {
		d.tell(by, message{Version: d.version, Refused: true})
		return
	}
	rest := append(insert, d.text[c.At+c.Remove:]...)
	d.text = append(d.text[:c.At:c.At], rest...)
	d.version++
	for one := range d.readers {
		d.tell(one, message{Version: d.version, Change: c, Own: one == by})
	}
	if !d.dirty {
		d.dirty = true
		time.AfterFunc(saveTime, func() {
			if err := d.save(); err != nil {
				log.Fatal(err) // the edge starts another, from what was saved last
			}
		})
	}
}

func (d *document) save() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.dirty {
		return nil
	}
	d.dirty = false
	return d.file.write(string(utf16.Decode(d.text)))
}

// close takes no more changes, saves the text, and sends everybody away, to come
// again when there is another process.
func (d *document) close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return errors.New("closed twice")
	}
	d.closed = true
	for one := range d.readers {
		one.leave()
	}
	d.mu.Unlock()
	err := d.save()
	away := make(chan struct{})
	go func() {
		d.here.Wait()
		close(away)
	}()
	select {
	case <-away:
	case <-time.After(farewell):
	}
	return err
}
