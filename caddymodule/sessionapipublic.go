package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// backendState is a status of a backend, as callers see it.
type backendState struct {
	Status    string `json:"status"`
	Time      any    `json:"time"` // milliseconds since 1970, or RFC 3339 as Jamsocket has it
	Reason    string `json:"termination_reason,omitempty"`
	Kind      string `json:"termination_kind,omitempty"`
	ExitError *bool  `json:"exit_error,omitempty"`
}

func stateOf(event sessionbackend.Event, jamsocket bool) backendState {
	state := backendState{Status: string(event.Status), Time: event.Time.UnixMilli(), Reason: string(event.Reason), Kind: string(event.Kind)}
	if jamsocket {
		state.Time = event.Time.UTC().Format(jamsocketTime)
	}
	if event.Status == sessionbackend.Terminated {
		state.ExitError = &event.ExitError
	}
	return state
}

// jamsocketTime is RFC 3339 with as many digits each time: callers sort them as text.
const jamsocketTime = "2006-01-02T15:04:05.000000Z07:00"

// lastState is the status of a backend now.
func lastState(b *sessionbackend.Backend, jamsocket bool) backendState {
	events, _ := b.History()
	return stateOf(events[len(events)-1], jamsocket)
}

// servePublic serves the part public. leave gives the configuration back: a stream
// of statuses needs nothing of it.
func (a *SessionAPI) servePublic(w http.ResponseWriter, r *http.Request, leave func()) error {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		header.Set("Access-Control-Allow-Methods", "GET")
		header.Set("Access-Control-Allow-Headers", "Content-Type, Last-Event-ID, Cache-Control")
		header.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	status := func(w http.ResponseWriter, r *http.Request, args []string) error {
		_, b := a.find(args[0])
		if b == nil {
			return errNoBackend
		}
		return answerJSON(w, http.StatusOK, lastState(b, isJamsocket(r)))
	}
	stream := func(w http.ResponseWriter, r *http.Request, args []string) error {
		_, b := a.find(args[0])
		if b == nil {
			return errNoBackend
		}
		leave()
		return streamStates(w, r, b)
	}
	root, path := callPath(r, "pub", jamsocketRoot)
	if root == jamsocketRoot {
		return dispatch(w, r, path, []call{
			{http.MethodGet, "backend/{}/status", status},
			{http.MethodGet, "backend/{}/status/stream", stream},
		})
	}
	return dispatch(w, r, path, []call{
		{http.MethodGet, "health", func(w http.ResponseWriter, _ *http.Request, _ []string) error {
			return answerJSON(w, http.StatusOK, map[string]string{"status": "ok"})
		}},
		{http.MethodGet, "b/{}/status", status},
		{http.MethodGet, "b/{}/status-stream", stream},
		{http.MethodGet, "b/{}/status/stream", stream}, // where Jamsocket's client looks
	})
}

var errNoBackend = &fault{status: http.StatusNotFound, kind: kindNotFound, message: "there is no session backend of that id, nor was there one within the last hour"}

// streamStates sends the statuses of a backend as server-sent events, from the
// first on, or from the one after Last-Event-ID, to the last there can be.
func streamStates(w http.ResponseWriter, r *http.Request, b *sessionbackend.Backend) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if r.Header.Get("Last-Event-ID") == string(sessionbackend.Terminated) {
		w.WriteHeader(http.StatusNoContent) // which keeps an EventSource from coming again
		return nil
	}
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no")
	controller := http.NewResponseController(w)
	seen := r.Header.Get("Last-Event-ID")
	jamsocket := isJamsocket(r)
	for sent := 0; ; {
		events, changed := b.History()
		if sent == 0 {
			// What a client has not seen of this backend begins after what it says.
			sent = 1 + slices.IndexFunc(events, func(event sessionbackend.Event) bool { return string(event.Status) == seen })
		}
		for ; sent < len(events); sent++ {
			text, err := json.Marshal(stateOf(events[sent], jamsocket))
			if err != nil {
				return err
			}
			id := fmt.Sprintf("id: %s\n", events[sent].Status)
			if jamsocket {
				id = "" // its client warns of each line that is no data
			}
			if _, err := fmt.Fprintf(w, "%sdata: %s\n\n", id, text); err != nil {
				return nil // the client is gone
			}
		}
		if err := controller.Flush(); err != nil {
			return nil // likewise
		}
		if events[len(events)-1].Status == sessionbackend.Terminated {
			return nil
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return nil
		}
	}
}
