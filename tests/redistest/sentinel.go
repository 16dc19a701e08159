package redistest

import (
	"fmt"
	"strings"
	"testing"
)

// MasterName is the name under which StartSentinel's Sentinels know the master.
const MasterName = "webtask-test"

// Sentinel is a master with one replica, watched by three Redis Sentinels.
type Sentinel struct {
	Master    *Server
	Replica   *Server
	Sentinels []*Server
}

// StartSentinel starts a master, a replica in sync with it, and three
// Sentinels that know both and each other. args are given to master and
// replica.
func StartSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	const sentinels, quorum = 3, 2
	s := &Sentinel{Master: Start(t, append([]string{"--repl-diskless-sync-delay", "0"}, args...)...)}
	s.Replica = Start(t, append([]string{"--replicaof", hostAndPort(s.Master)}, args...)...)
	s.Replica.waitFor("MASTER <-> REPLICA sync: Finished with success")

	for range sentinels {
		conf := writeFile(t, t.TempDir(), "sentinel.conf", fmt.Sprintf(
			"sentinel monitor %[1]s %[2]s %[3]d\n"+
				"sentinel down-after-milliseconds %[1]s 500\n"+
				"sentinel failover-timeout %[1]s 3000\n",
			MasterName, hostAndPort(s.Master), quorum))
		s.Sentinels = append(s.Sentinels, startSentinelProcess(t, conf))
	}
	for _, sentinel := range s.Sentinels {
		sentinel.waitFor("+slave slave " + s.Replica.Addr())
		for _, peer := range s.Sentinels {
			if peer != sentinel {
				sentinel.waitFor(fmt.Sprintf("127.0.0.1 %d @ %s", peer.port, MasterName))
			}
		}
	}
	return s
}

// Addrs are the addresses of the Sentinels.
func (s *Sentinel) Addrs() []string {
	addrs := make([]string, len(s.Sentinels))
	for i, sentinel := range s.Sentinels {
		addrs[i] = sentinel.Addr()
	}
	return addrs
}

// Failover kills the master and waits until the Sentinels have made the
// replica master and say so to whoever asks them.
func (s *Sentinel) Failover() {
	s.Master.t.Helper()
	s.Master.Kill()
	s.Replica.waitFor("MASTER MODE enabled")
	for _, sentinel := range s.Sentinels {
		sentinel.waitFor(fmt.Sprintf("+switch-master %s %s %s", MasterName, hostAndPort(s.Master), hostAndPort(s.Replica)))
	}
}

// startSentinelProcess starts redis-server as a Sentinel, which takes no
// configuration but a file, for it rewrites that.
func startSentinelProcess(t testing.TB, conf string) *Server {
	t.Helper()
	return start(t, kind{ready: "+monitor master", conf: conf, args: []string{"--sentinel"}})
}

func hostAndPort(s *Server) string { return strings.Replace(s.Addr(), ":", " ", 1) }
