package process

import (
	"errors"
	"syscall"
)

type group struct{}

func newGroup(int64) (*group, error)      { return nil, errors.New("no cgroup") }
func (g *group) use(*syscall.SysProcAttr) {}
func (g *group) outOfMemory() bool        { return false }
func (g *group) remove()                  {}
