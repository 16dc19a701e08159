package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// serveControl serves the part control.
func (a *SessionAPI) serveControl(w http.ResponseWriter, r *http.Request) error {
	if err := a.authorize(w, r); err != nil {
		return err
	}
	root, path := callPath(r, "ctrl", jamsocketRoot)
	if root == jamsocketRoot {
		return dispatch(w, r, path, a.jamsocketCalls())
	}
	if len(path) > 2 && path[0] == "c" {
		path = path[2:] // the cluster: this is one
	}
	return dispatch(w, r, path, []call{
		{http.MethodGet, "status", a.status},
		{http.MethodPost, "connect", a.connect},
		{http.MethodGet, "sessions", a.list},
		{http.MethodGet, "k/{…}", a.show},
		{http.MethodDelete, "k/{…}", a.terminateKey},
		{http.MethodPost, "b/{}/soft-terminate", a.terminate(sessionbackend.Soft)},
		{http.MethodPost, "b/{}/hard-terminate", a.terminate(sessionbackend.Hard)},
		{http.MethodPost, "b/revoke", a.revoke},
		{http.MethodPost, "revoke", a.revoke}, // where a client of Plane looks
		{http.MethodPost, "node/drain", a.cordon(true)},
		{http.MethodDelete, "node/drain", a.cordon(false)},
		{http.MethodPost, "d/{}/drain", a.cordon(true)},
	})
}

func (a *SessionAPI) status(w http.ResponseWriter, _ *http.Request, _ []string) error {
	version, _ := caddy.Version()
	return answerJSON(w, http.StatusOK, struct {
		Status  string  `json:"status"`
		Version string  `json:"version"`
		Hash    *string `json:"hash"`
	}{"ok", version, nil})
}

// sessionInfo is a backend, as callers of the API see it.
type sessionInfo struct {
	BackendID   string       `json:"backend_id"`
	Pool        string       `json:"pool"`
	Key         string       `json:"key"`
	Fence       int64        `json:"fence,omitempty"`
	Connections int          `json:"connections"`
	Idle        float64      `json:"idle_seconds"`
	CreatedAt   int64        `json:"created_at"` // milliseconds since 1970
	State       backendState `json:"state"`
}

func infoOf(b *sessionbackend.Backend) sessionInfo {
	info := b.Info()
	return sessionInfo{
		BackendID: info.ID, Pool: info.Service, Key: info.Key, Fence: info.Fence, Connections: info.Connections,
		Idle: info.Idle.Seconds(), CreatedAt: info.Since.UnixMilli(), State: lastState(b, false),
	}
}

// list answers with the backends there are, of keys with a prefix, and of one
// service if it is named.
func (a *SessionAPI) list(w http.ResponseWriter, r *http.Request, _ []string) error {
	query := r.URL.Query()
	sessions := []sessionInfo{}
	for _, directive := range a.directives() {
		if pool := query.Get("pool"); pool != "" && pool != directive.Name {
			continue
		}
		for _, info := range directive.service.List() {
			if backend := directive.service.ByID(info.ID); backend != nil && strings.HasPrefix(info.Key, query.Get("prefix")) {
				sessions = append(sessions, infoOf(backend))
			}
		}
	}
	return answerJSON(w, http.StatusOK, map[string][]sessionInfo{"sessions": sessions})
}

// byKey returns the backend of a key that takes requests.
func (a *SessionAPI) byKey(r *http.Request, key string) (*sessionbackend.Backend, error) {
	directive, err := a.directiveNamed(r.URL.Query().Get("pool"), "")
	if err != nil {
		return nil, err
	}
	if backend := directive.service.ByKey(key); backend != nil {
		return backend, nil
	}
	return nil, &fault{status: http.StatusNotFound, kind: kindNotFound, message: "the key has no session backend"}
}

func (a *SessionAPI) show(w http.ResponseWriter, r *http.Request, args []string) error {
	backend, err := a.byKey(r, args[0])
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusOK, infoOf(backend))
}

// terminateKey ends the backend of a key, softly unless ?kind=hard.
func (a *SessionAPI) terminateKey(w http.ResponseWriter, r *http.Request, args []string) error {
	kind := sessionbackend.Soft
	switch given := r.URL.Query().Get("kind"); given {
	case "", string(sessionbackend.Soft):
	case string(sessionbackend.Hard):
		kind = sessionbackend.Hard
	default:
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: "kind: it is soft or hard"}
	}
	backend, err := a.byKey(r, args[0])
	if err != nil {
		return err
	}
	backend.Terminate(kind)
	return answerJSON(w, http.StatusOK, nil)
}

// terminate asks for the end of a backend, and does not wait for it. One that has
// ended is no error.
func (a *SessionAPI) terminate(kind sessionbackend.Kind) func(http.ResponseWriter, *http.Request, []string) error {
	return func(w http.ResponseWriter, _ *http.Request, args []string) error {
		_, backend := a.find(args[0])
		if backend == nil {
			return errNoBackend
		}
		backend.Terminate(kind)
		return answerJSON(w, http.StatusOK, nil)
	}
}

// revoke ends the tokens of a user for a backend, and the connections that were
// made with them.
func (a *SessionAPI) revoke(w http.ResponseWriter, r *http.Request, _ []string) error {
	var request struct {
		BackendID string `json:"backend_id"`
		User      string `json:"user"`
	}
	if err := readCall(r, &request); err != nil {
		return err
	}
	if request.User == "" {
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: "user: is missing; it is the one that the tokens were made for"}
	}
	_, backend := a.find(request.BackendID)
	if backend == nil {
		return errNoBackend
	}
	backend.Revoke(request.User)
	return answerJSON(w, http.StatusOK, nil)
}

// cordon has the services start no more backends, or start them again.
func (a *SessionAPI) cordon(on bool) func(http.ResponseWriter, *http.Request, []string) error {
	return func(w http.ResponseWriter, _ *http.Request, _ []string) error {
		updated := false
		for _, directive := range a.directives() {
			updated = directive.service.Cordon(on) || updated
		}
		return answerJSON(w, http.StatusOK, map[string]bool{"updated": updated})
	}
}
