package dockertest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Registry is a registry of images with one image in it, as far as an engine needs
// one to pull it.
type Registry struct {
	Image string // as the engine is to pull it

	mu    sync.Mutex
	pulls int
	held  chan struct{} // nil: layers are sent at once
}

const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	configType   = "application/vnd.docker.container.image.v1+json"
	layerType    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// StartRegistry starts a registry with an image of one statically linked program.
func StartRegistry(t testing.TB, program string) *Registry {
	t.Helper()
	archive := archiveOf(t, program)
	var layer bytes.Buffer
	compressed := gzip.NewWriter(&layer)
	if _, err := compressed.Write(archive); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	config := encoded(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + filepath.Base(program)}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(archive)}},
	})
	manifest := encoded(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": map[string]any{"mediaType": configType, "size": len(config), "digest": digest(config)},
		"layers": []any{map[string]any{"mediaType": layerType, "size": layer.Len(), "digest": digest(layer.Bytes())}},
	})
	blobs := map[string][]byte{digest(config): config, digest(layer.Bytes()): layer.Bytes()}
	r := &Registry{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		switch kind := path.Base(path.Dir(request.URL.Path)); {
		case request.URL.Path == "/v2/":
		case kind == "manifests":
			if request.Method == http.MethodHead {
				r.count()
			}
			w.Header().Set("Content-Type", manifestType)
			w.Header().Set("Docker-Content-Digest", digest(manifest))
			_, _ = w.Write(manifest) // the engine may have gone
		case kind == "blobs":
			name := path.Base(request.URL.Path)
			blob, ok := blobs[name]
			if !ok {
				http.NotFound(w, request)
				return
			}
			if name != digest(config) {
				r.wait(request)
			}
			_, _ = w.Write(blob) // the engine may have gone
		default:
			http.NotFound(w, request)
		}
	}))
	t.Cleanup(server.Close)
	r.Image = strings.TrimPrefix(server.URL, "http://") + "/" + filepath.Base(program) + ":1"
	return r
}

func digest(text []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(text)) }

func encoded(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (r *Registry) count() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulls++
}

// Pulls returns how often the image was asked for.
func (r *Registry) Pulls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pulls
}

// Hold has layers wait until release is called.
func (r *Registry) Hold() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := make(chan struct{})
	r.held = held
	return func() { close(held) }
}

func (r *Registry) wait(request *http.Request) {
	r.mu.Lock()
	held := r.held
	r.mu.Unlock()
	if held == nil {
		return
	}
	select {
	case <-held:
	case <-request.Context().Done():
	}
}
