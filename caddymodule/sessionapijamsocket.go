package caddymodule

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// jamsocketCalls are those of Jamsocket's API that are of session backends. There
// is one account, called whatever callers call it, and services are those of
// session_backend.
func (a *SessionAPI) jamsocketCalls() []call {
	return []call{
		{http.MethodPost, "service/{}/{}/connect", a.jamsocketConnect},
		{http.MethodPost, "service/{}/{}/{}/connect", a.jamsocketConnect},
		{http.MethodGet, "account/{}/backends", a.jamsocketList},
		{http.MethodGet, "backend/{}", a.jamsocketShow},
		{http.MethodPost, "backend/{}/terminate", a.jamsocketTerminate},
	}
}

// jamsocketEnvironment is the only environment that services have.
const jamsocketEnvironment = "default"

func (a *SessionAPI) jamsocketConnect(w http.ResponseWriter, r *http.Request, args []string) error {
	if len(args) == 3 && args[2] != jamsocketEnvironment {
		return &fault{status: http.StatusNotFound, kind: kindNotFound, message: "services have no environments but default; leave it out"}
	}
	var body struct {
		Key   *string         `json:"key"`
		Spawn json.RawMessage `json:"spawn"`
		User  string          `json:"user"`
		Auth  json.RawMessage `json:"auth"`
	}
	if err := readCall(r, &body); err != nil {
		return err
	}
	request := connectRequest{User: body.User, Auth: body.Auth, Pool: args[1], SpawnConfig: new(spawnConfig)}
	if body.Key != nil {
		request.Key = &connectKey{Name: *body.Key}
	}
	switch spawn := bytes.TrimSpace(body.Spawn); {
	case bytes.Equal(spawn, []byte("false")):
		request.SpawnConfig = nil
	case len(spawn) == 0, bytes.Equal(spawn, []byte("true")), bytes.Equal(spawn, []byte("null")):
	default:
		if err := json.Unmarshal(spawn, request.SpawnConfig); err != nil {
			return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: "spawn: it is neither false, true nor an object that says how"}
		}
	}
	return a.connectTo(w, r, &request)
}

// jamsocketInfo is a backend, as Jamsocket's API has it.
type jamsocketInfo struct {
	ID          string         `json:"id"`
	CreatedAt   string         `json:"created_at"`
	Service     string         `json:"service_name"`
	Cluster     string         `json:"cluster_name"`
	Account     string         `json:"account_name"`
	Environment string         `json:"environment_name"`
	Image       string         `json:"image_digest"` // nothing is known of what runs
	Key         string         `json:"key"`
	Status      *backendState  `json:"status,omitempty"`   // in a list
	Statuses    []backendState `json:"statuses,omitempty"` // of one
}

func jamsocketInfoOf(b *sessionbackend.Backend, host string) jamsocketInfo {
	return jamsocketInfo{
		ID: b.ID, CreatedAt: b.Info().Since.UTC().Format(jamsocketTime), Service: b.Service, Cluster: host, Environment: jamsocketEnvironment, Key: b.Key,
	}
}

func (a *SessionAPI) jamsocketList(w http.ResponseWriter, r *http.Request, args []string) error {
	running := []jamsocketInfo{}
	for _, directive := range a.directives() {
		for _, info := range directive.service.List() {
			backend := directive.service.ByID(info.ID)
			if backend == nil {
				continue // it ended just now, and a thousand others did
			}
			one, state := jamsocketInfoOf(backend, r.Host), lastState(backend, true)
			one.Account, one.Status = args[0], &state
			running = append(running, one)
		}
	}
	return answerJSON(w, http.StatusOK, map[string][]jamsocketInfo{"running_backends": running})
}

func (a *SessionAPI) jamsocketShow(w http.ResponseWriter, r *http.Request, args []string) error {
	_, backend := a.find(args[0])
	if backend == nil {
		return errNoBackend
	}
	info := jamsocketInfoOf(backend, r.Host)
	events, _ := backend.History()
	for _, event := range events {
		info.Statuses = append(info.Statuses, stateOf(event, true))
	}
	return answerJSON(w, http.StatusOK, info)
}

func (a *SessionAPI) jamsocketTerminate(w http.ResponseWriter, r *http.Request, args []string) error {
	var request struct {
		Hard bool `json:"hard"`
	}
	if err := readCall(r, &request); err != nil {
		return err
	}
	_, backend := a.find(args[0])
	switch {
	case backend == nil:
		return errNoBackend
	case backend.Status() == sessionbackend.Terminated:
		return &fault{status: http.StatusConflict, kind: kindBackendNotRunning, message: "the session backend has ended"}
	}
	kind := sessionbackend.Soft
	if request.Hard {
		kind = sessionbackend.Hard
	}
	backend.Terminate(kind)
	return answerJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}
