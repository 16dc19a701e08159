package docker

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"go.uber.org/zap"
)

// pull is an image that an engine is pulling.
type pull struct {
	done chan struct{} // closed when err is set
	err  error
}

// provide sees to it that an engine has an image. A pull that takes longer than
// ctx goes on: a later start finds it done, or further.
func (e *engine) provide(ctx, life context.Context, image, when string) error {
	if when != PullAlways {
		_, err := e.api.ImageInspect(ctx, image)
		switch {
		case err == nil:
			return nil
		case !errdefs.IsNotFound(err):
			return e.failed("looking for the image "+image, err)
		case when == PullNever:
			return fmt.Errorf("driver docker: the engine does not have the image %s, and the option pull is never; load it there (docker pull, docker load), or write pull if_not_present", image)
		}
	}
	p := e.pull(life, image)
	select {
	case <-p.done:
	case <-ctx.Done():
		e.logger.Warn("pulling an image takes longer than a session backend may take to start; it goes on", zap.String("image", image))
		return fmt.Errorf("driver docker: pulling the image %s: %w", image, context.Cause(ctx))
	}
	if p.err != nil {
		return e.failed("the image "+image+" cannot be pulled; see that its name is right, and pull one that takes a login beforehand (docker pull)", p.err)
	}
	return nil
}

// pull returns the pull of an image that goes on, or a new one.
func (e *engine) pull(life context.Context, image string) *pull {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pulls[image]
	if p != nil {
		return p
	}
	p = &pull{done: make(chan struct{})}
	e.pulls[image] = p
	go func() {
		if answer, err := e.api.ImagePull(life, image, client.ImagePullOptions{}); err != nil {
			p.err = err
		} else {
			p.err = answer.Wait(life)
		}
		e.mu.Lock()
		delete(e.pulls, image)
		e.mu.Unlock()
		close(p.done)
	}()
	return p
}
