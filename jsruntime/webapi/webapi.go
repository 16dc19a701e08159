// Package webapi gives scripts the Web-standard globals: fetch and its
// classes, URL, encodings, streams, events, timers, console, crypto.
//
//	engine := jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: nodeapi.New()})
//
// Everything is written in Go against the standards (Fetch, URL, Encoding,
// Streams, DOM, HTML, Console, Web Cryptography, Web IDL) and made when it is
// first looked up: installing the platform on an isolate costs a microsecond,
// and an isolate pays for the classes that its script uses. A file holds one
// concern; class.go and slot.go are what all classes are built with.
//
// Scripts may patch any global; what the platform itself needs of the language
// it takes from the isolate's pristine global object, which they cannot reach.
package webapi

import (
	"crypto/rand"
	"io"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// Platform is the jsruntime.WebPlatform. It is immutable and may serve any
// number of engines.
type Platform struct {
	random io.Reader
	now    func() time.Time
}

var _ jsruntime.WebPlatform = (*Platform)(nil)

// Option changes what a Platform is made with.
type Option func(*Platform)

// WithRandom sets the source of crypto.getRandomValues and crypto.randomUUID.
// Default: crypto/rand.Reader.
func WithRandom(random io.Reader) Option {
	return func(p *Platform) { p.random = random }
}

// WithClock sets the clock of console.time. Default: time.Now.
func WithClock(now func() time.Time) Option {
	return func(p *Platform) { p.now = now }
}

// New returns the platform.
func New(options ...Option) *Platform {
	p := &Platform{random: rand.Reader, now: time.Now}
	for _, option := range options {
		option(p)
	}
	return p
}

// Install implements jsruntime.WebPlatform.
func (p *Platform) Install(iso *jsruntime.Isolate) error {
	r := &realm{platform: p, iso: iso, rt: iso.Runtime()}
	iso.Web = r
	if thrown := r.rt.Try(r.installGlobals); thrown != nil {
		return thrown
	}
	return nil
}
