package docker

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/environ"
)

// Labels of a backend's container.
const (
	LabelNode    = labelPrefix + "node" // whose it is
	LabelService = labelPrefix + "service"
	LabelKey     = labelPrefix + "key"
	LabelID      = labelPrefix + "id"
	LabelFence   = labelPrefix + "fence"
	labelPrefix  = "dev.webtask.backend."
)

// namePrefix begins the name of a backend's container. Its ID follows.
const namePrefix = "webtask-"

// container is what the engine is told of a backend. The key is in a variable and
// in a label, where it is data.
func (s *Spec) container(node string, identity *sessionbackend.Identity, port int) client.ContainerCreateOptions {
	grace := int(math.Ceil(s.grace().Seconds()))
	initial := true
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(cmp.Or(s.Network, DefaultNetwork)),
		Init:        &initial,
		CapDrop:     []string{"ALL"},
		SecurityOpt: []string{"no-new-privileges"},
		Runtime:     s.Runtime,
		// The edge reads what it writes; a file of the engine's would grow.
		LogConfig: container.LogConfig{Type: "none"},
		// Without swap: a backend that needs more is to be killed, not to be slow.
		Resources: container.Resources{Memory: s.Limits.Memory, MemorySwap: s.Limits.Memory, NanoCPUs: nanoCPUs(s.Limits.CPUs)},
	}
	if s.Limits.Processes > 0 {
		host.PidsLimit = &s.Limits.Processes
	}
	for _, m := range s.Mounts {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	all := maps.Clone(s.Env)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, identity.Env)
	env := make([]string, 0, len(all))
	for name, value := range all {
		env = append(env, name+"="+value)
	}
	env = append(append(env, environ.About(*identity)...), ownName+"="+strconv.Itoa(port))
	return client.ContainerCreateOptions{
		Name: namePrefix + identity.ID,
		Config: &container.Config{
			Image: s.Image, Cmd: s.Args, User: s.User, Env: env,
			AttachStdout: true, AttachStderr: true,
			StopTimeout: &grace, // for who ends it by hand
			Labels: map[string]string{
				LabelNode: node, LabelService: identity.Service, LabelKey: identity.Key, LabelID: identity.ID,
				LabelFence: strconv.FormatInt(identity.Fence, 10),
			},
		},
		HostConfig: host,
	}
}

func (s *Spec) grace() time.Duration { return cmp.Or(s.Grace, sessionbackend.DefaultStopGrace) }

// addressOf returns where a container listens.
func (s *Spec) addressOf(c *container.InspectResponse, port int) (sessionbackend.Address, error) {
	if s.Network == HostNetwork {
		return sessionbackend.Address{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", port)}, nil
	}
	if c.NetworkSettings != nil {
		for _, endpoint := range c.NetworkSettings.Networks {
			if endpoint.IPAddress.IsValid() {
				return sessionbackend.Address{Network: "tcp", Address: fmt.Sprintf("%s:%d", endpoint.IPAddress, port)}, nil
			}
			if endpoint.GlobalIPv6Address.IsValid() {
				return sessionbackend.Address{Network: "tcp", Address: fmt.Sprintf("[%s]:%d", endpoint.GlobalIPv6Address, port)}, nil
			}
		}
	}
	return sessionbackend.Address{}, fmt.Errorf("driver docker: network %s: gives its containers no address; name a bridge network of the engine, or host", cmp.Or(s.Network, DefaultNetwork))
}
