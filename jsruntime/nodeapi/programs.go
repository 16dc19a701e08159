package nodeapi

import (
	_ "embed"
	"sync"

	"github.com/dop251/goja"
)

//go:embed js/events.js
var eventsSource string

//go:embed js/buffer.js
var bufferSource string

//go:embed js/http.js
var httpSource string

// The programs are compiled on first use, once per process.
var (
	eventsProgram = program("events", eventsSource)
	bufferProgram = program("buffer", bufferSource)
	httpProgram   = program("http", httpSource)
)

func program(name, source string) func() *goja.Program {
	return sync.OnceValue(func() *goja.Program { return goja.MustCompile("node:"+name, source, true) })
}
