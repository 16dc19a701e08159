package caddymodule

import (
	"net/http"
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// backendInfo is a session backend, as operators see it.
type backendInfo struct {
	Service     string    `json:"service"`
	Key         string    `json:"key"`
	ID          string    `json:"id"`
	Fence       int64     `json:"fence"`
	Status      string    `json:"status"`
	Since       time.Time `json:"since"`
	Connections int       `json:"connections"`
	Idle        float64   `json:"idle,omitempty"` // seconds
}

// serveBackends lists session backends, or ends some and waits until they are
// gone.
func serveBackends(w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodGet:
		list := []backendInfo{}
		eachService(func(service *sessionbackend.Service) {
			for _, info := range service.List() {
				list = append(list, backendInfo{
					Service: info.Service, Key: info.Key, ID: info.ID, Fence: info.Fence, Status: string(info.Status),
					Since: info.Since, Connections: info.Connections, Idle: info.Idle.Seconds(),
				})
			}
		})
		return writeJSON(w, list)
	case http.MethodDelete:
		return endBackends(w, r)
	}
	return apiError(http.StatusMethodNotAllowed, "method %s is not allowed; use GET or DELETE", r.Method)
}

// endedBackends is the answer of DELETE.
type endedBackends struct {
	Ended int `json:"ended"`
}

func endBackends(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	kind := sessionbackend.Kind(query.Get("kind"))
	switch kind {
	case "":
		kind = sessionbackend.Soft
	case sessionbackend.Soft, sessionbackend.Hard:
	default:
		return apiError(http.StatusBadRequest, "kind: %q is unknown; it is soft or hard", kind)
	}
	var found *sessionbackend.Service
	eachService(func(service *sessionbackend.Service) {
		if service.Name() == query.Get("service") {
			found = service
		}
	})
	if found == nil {
		return apiError(http.StatusNotFound, "service: there is none called %q; GET /webtask/backends lists those that have backends", query.Get("service"))
	}
	var ending []<-chan struct{}
	for _, info := range found.List() {
		if query.Has("key") && info.Key != query.Get("key") {
			continue
		}
		if gone := found.Terminate(info.Key, kind); gone != nil {
			ending = append(ending, gone)
		}
	}
	for _, gone := range ending {
		select {
		case <-gone:
		case <-r.Context().Done():
			return apiError(http.StatusServiceUnavailable, "the caller did not wait")
		}
	}
	return writeJSON(w, endedBackends{len(ending)})
}
