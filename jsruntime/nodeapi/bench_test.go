package nodeapi_test

import (
	"context"
	"testing"
)

// BenchmarkHello is the least that a handler of the Node model does.
func BenchmarkHello(b *testing.B) {
	tk := newTask(b, `res.writeHead(200, { 'content-type': 'text/plain' }); res.end('hello')`)
	b.ReportAllocs()
	for b.Loop() {
		req := request("GET", "https://example.com/", "")
		req.Host = tk.host
		if _, err := tk.engine.Do(context.Background(), tk.spec, req); err != nil {
			b.Fatal(err)
		}
	}
}
