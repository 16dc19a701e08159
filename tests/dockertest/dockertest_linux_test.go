package dockertest

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

func TestRestartKeepsImages(t *testing.T) {
	e := Start(t)
	image := e.Import(t, harness.Program(t, "testbackend"))
	e.Stop(t)
	e.Restart(t)
	created, err := e.API.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config:     &container.Config{Image: image, Cmd: []string{"exits"}, Labels: map[string]string{"a": "b"}},
		HostConfig: &container.HostConfig{NetworkMode: "host"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.API.ContainerStart(t.Context(), created.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	end := e.API.ContainerWait(t.Context(), created.ID, client.ContainerWaitOptions{})
	select {
	case result := <-end.Result:
		if result.StatusCode != 3 {
			t.Errorf("it exited with status %d", result.StatusCode)
		}
	case err := <-end.Error:
		t.Error(err)
	}
	if found := e.Containers(t, "a=b"); len(found) != 1 || found[0].ID != created.ID {
		t.Errorf("there are %v", found)
	}
}

func TestMissingProgramSaysHowToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := dockerd(); err == nil || !strings.Contains(err.Error(), "apt-get install docker.io") {
		t.Errorf("error %v names no remedy", err)
	}
}
