package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// hashSlots is the number of slots a Redis Cluster divides its keys over
// (Redis Cluster specification, "Key distribution model").
const hashSlots = 16384

// Cluster is a Redis Cluster of masters that share all slots.
type Cluster struct {
	Nodes []*Server
}

// StartCluster starts three masters, each with a third of the slots, and waits
// until every one of them sees the whole cluster.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	const masters = 3
	c := &Cluster{}
	for range masters {
		c.Nodes = append(c.Nodes, start(t, kind{ready: readyLine, args: append([]string{
			"--save", "", "--appendonly", "no",
			"--cluster-enabled", "yes",
			"--cluster-config-file", "nodes.conf",
			"--cluster-node-timeout", "2000",
		}, args...)}))
	}
	for i, node := range c.Nodes {
		from, to := i*hashSlots/masters, (i+1)*hashSlots/masters-1
		c.do(t, node, "CLUSTER", "ADDSLOTSRANGE", from, to)
		// Distinct epochs spare the nodes a round of settling them.
		c.do(t, node, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	for _, peer := range c.Nodes[1:] {
		host, port, err := net.SplitHostPort(peer.Addr())
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		c.do(t, c.Nodes[0], "CLUSTER", "MEET", host, port)
	}
	for _, node := range c.Nodes {
		node.waitFor("Cluster state changed: ok")
	}
	return c
}

// Addrs are the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		addrs[i] = node.Addr()
	}
	return addrs
}

// NodeOf returns the node whose slots key falls into.
func (c *Cluster) NodeOf(t testing.TB, key string) *Server {
	t.Helper()
	ctx := context.Background()
	slot, err := c.Nodes[0].Client().ClusterKeySlot(ctx, key).Result()
	if err != nil {
		t.Fatalf("redistest: slot of %q: %v", key, err)
	}
	for i, node := range c.Nodes {
		if int(slot) < (i+1)*hashSlots/len(c.Nodes) {
			return node
		}
	}
	panic(fmt.Sprintf("slot %d is of no node", slot))
}

func (c *Cluster) do(t testing.TB, node *Server, args ...any) {
	t.Helper()
	if err := node.Client().Do(context.Background(), args...).Err(); err != nil {
		t.Fatalf("redistest: %s: %v", strings.TrimSpace(fmt.Sprintln(args...)), err)
	}
}
