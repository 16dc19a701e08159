//go:build unix

package process_test

import (
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// BenchmarkStart is from nothing to a process that is locked up, and its end.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		p, err := process.Start(process.Options{Kind: "echo", Memory: 64 << 20})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Report(); err != nil {
			b.Fatal(err)
		}
		p.Close()
		<-p.Done()
	}
}

// BenchmarkStarted is what Start itself takes of its caller.
func BenchmarkStarted(b *testing.B) {
	for b.Loop() {
		p, err := process.Start(process.Options{Kind: "echo", Memory: 64 << 20})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		p.Close()
		<-p.Done()
		b.StartTimer()
	}
}
