//go:build unix

package bundler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
)

// BenchmarkBundle is what a process costs: "spare" is the time of a caller that
// comes when the next process is ready, "burst" that of one who comes at once.
func BenchmarkBundle(b *testing.B) {
	var large strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&large, "export function f%d(a, b) { const o = { a, b, c: [a + b, %d] }; return o.c.map((x) => x * 2) }\n", i, i)
	}
	for name, code := range map[string]string{"hello": "module.exports = (cb) => cb(null, 'hello')", "250KB": large.String()} {
		job := script(code)
		once := func(b *testing.B, do func(job *source.Job) (*source.Output, error)) {
			b.Helper()
			if _, err := do(job); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(name+"/in-process", func(b *testing.B) {
			for b.Loop() {
				once(b, do)
			}
		})
		for _, noSpare := range []bool{false, true} {
			p := poolOf(b, kind, Options{NoSpare: noSpare})
			inPool := func(job *source.Job) (*source.Output, error) { return p.Bundle(context.Background(), job) }
			if noSpare {
				b.Run(name+"/no spare", func(b *testing.B) {
					for b.Loop() {
						once(b, inPool)
					}
				})
				continue
			}
			b.Run(name+"/burst", func(b *testing.B) {
				for b.Loop() {
					once(b, inPool)
				}
			})
			b.Run(name+"/spare", func(b *testing.B) {
				var took time.Duration
				for range b.N {
					w := <-p.spare
					started := time.Now()
					if _, err := w.bundle(context.Background(), job, &p.options); err != nil {
						b.Fatal(err)
					}
					took += time.Since(started)
					w.close()
					p.wantSpare()
				}
				b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/bundle")
			})
		}
	}
}
