package sessionstore

import (
	"context"
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// Scripts run inside Redis, where each is atomic and one round trip.
//
// All keys of a script are in one slot of a Cluster, for they share a hash tag,
// the part in braces. That of sessions is the container: its sessions and
// the index that counts them change together, so that the count is exact. All
// sessions of one container are therefore on one node; containers spread.
var (
	//go:embed lua/load.lua
	loadSource string
	//go:embed lua/save.lua
	saveSource string
	//go:embed lua/revoke.lua
	revokeSource string
	//go:embed lua/revocations.lua
	revocationsSource string
	//go:embed lua/take.lua
	takeSource string

	loadScript        = newScript(loadSource)
	saveScript        = newScript(saveSource)
	revokeScript      = newScript(revokeSource)
	revocationsScript = newScript(revocationsSource)
	takeScript        = newScript(takeSource)
)

type script struct{ source, sha1 string }

func newScript(source string) script {
	return script{source: source, sha1: redis.NewScript(source).Hash()}
}

// run runs a script by its digest, and by its source on a server that has not
// seen it yet.
func (s *Redis) run(ctx context.Context, sc script, keys []string, args ...any) (reply any, err error) {
	err = s.call(ctx, keys[0], func(ctx context.Context) error {
		cmd := scriptCommand(ctx, "evalsha", sc.sha1, keys, args)
		if err := s.client.Process(ctx, once{cmd}); redis.HasErrorPrefix(err, "NOSCRIPT") {
			cmd = scriptCommand(ctx, "eval", sc.source, keys, args)
			_ = s.client.Process(ctx, once{cmd}) // the error is cmd's
		}
		reply = cmd.Val()
		return cmd.Err()
	})
	return reply, err
}

func scriptCommand(ctx context.Context, name, body string, keys []string, args []any) *redis.Cmd {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, name, body, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	return redis.NewCmd(ctx, append(words, args...)...)
}

// once is a command that the client of a Cluster must not send again when the
// answer was lost: it may have been executed.
type once struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (once) NoRetry() bool { return true }
