package sessionstore

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// BenchmarkSession reads and writes sessions of 1 KiB, alone and by many at
// once, which the file store's commits and Redis's connections are made for.
func BenchmarkSession(b *testing.B) {
	engines := map[string]func(b *testing.B) store{
		"file": func(b *testing.B) store {
			return openFile(b, filepath.Join(b.TempDir(), "store.db"), FileOptions{})
		},
		"redis": func(b *testing.B) store {
			return openRedis(b, RedisOptions{Addresses: []string{redistest.Start(b).Addr()}})
		},
	}
	value := bytes.Repeat([]byte("0123456789abcde,"), 64)
	change := func(create bool) *webtask.SessionChange {
		return &webtask.SessionChange{
			Create: create, Set: map[string][]byte{"value": value}, TTL: hour, MaxBytes: 64 << 10, MaxSessions: 100_000,
		}
	}
	for _, name := range []string{"file", "redis"} {
		s := engines[name](b)
		const sessions = 256
		ref := func(i int) webtask.SessionRef {
			return webtask.SessionRef{Container: "acme", ID: fmt.Sprint("session-", i%sessions)}
		}
		for i := range sessions {
			if _, err := s.Save(b.Context(), ref(i), change(true)); err != nil {
				b.Fatal(err)
			}
		}
		calls := map[string]func(i int) error{
			"load": func(i int) error {
				_, err := s.Load(b.Context(), ref(i), hour)
				return err
			},
			"save": func(i int) error {
				_, err := s.Save(b.Context(), ref(i), change(false))
				return err
			},
		}
		for _, call := range []string{"load", "save"} {
			b.Run(name+"/"+call, func(b *testing.B) {
				b.ReportAllocs()
				for i := range b.N {
					if err := calls[call](i); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(name+"/"+call+"/64 at once", func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32)
				var next atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := calls[call](int(next.Add(1))); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}
