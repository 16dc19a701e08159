package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
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
		// Where not all slots have to be served, that is said at once.
		for !c.knows(t, node) {
			<-time.After(5 * time.Millisecond)
		}
	}
	return c
}

// knows reports whether a node knows of all slots whose they are.
func (c *Cluster) knows(t testing.TB, node *Server) bool {
	t.Helper()
	info, err := node.Client().ClusterInfo(t.Context()).Result()
	if err != nil {
		t.Fatalf("redistest: what a node knows: %v", err)
	}
	return strings.Contains(info, fmt.Sprintf("cluster_slots_ok:%d", hashSlots))
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
