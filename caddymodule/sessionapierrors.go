package caddymodule

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// Kinds of errors of session_api. The names are Plane's, where it has one.
const (
	kindNotFound           = "NotFound"
	kindKeyHeld            = "KeyHeld"
	kindKeyHeldUnhealthy   = "KeyHeldUnhealthy"
	kindUnheld             = "KeyUnheldNoSpawnConfig"
	kindNoDrone            = "NoDroneAvailable"
	kindNoCluster          = "NoClusterProvided"
	kindInvalidCluster     = "InvalidClusterName"
	kindOther              = "Other"
	kindUnauthorized       = "Unauthorized"
	kindForbidden          = "Forbidden"
	kindBackendNotRunning  = "BackendNotRunning" // Jamsocket's
	kindMethodNotAllowed   = "MethodNotAllowed"
	kindInvalidRequest     = "InvalidRequest"
	kindRequestTooLarge    = "RequestTooLarge"
	kindInvalidSpawnConfig = "InvalidSpawnConfig"
)

// fault is an error of session_api, as its callers are told.
type fault struct {
	status  int
	kind    string
	message string
	retry   time.Duration // when to try again; 0: that is not said
}

func (f *fault) Error() string { return f.message }

// faultOf maps errors of services.
func faultOf(err error) *fault {
	var (
		known *fault
		key   *sessionbackend.KeyError
		later interface{ RetryAfter() time.Duration }
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &key):
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: err.Error()}
	case errors.Is(err, sessionbackend.ErrHeld):
		return &fault{status: http.StatusConflict, kind: kindKeyHeld, message: err.Error()}
	case errors.Is(err, sessionbackend.ErrUnheld):
		return &fault{status: http.StatusConflict, kind: kindUnheld, message: err.Error() + ", and there is no spawn_config to start one"}
	}
	f := &fault{retry: time.Second}
	f.status, f.message = backendStatus(err)
	if errors.As(err, &later) {
		f.retry = later.RetryAfter()
	}
	switch {
	case errors.As(err, new(*sessionbackend.BackoffError)):
		f.kind = kindKeyHeldUnhealthy
	case f.status == http.StatusServiceUnavailable:
		f.kind = kindNoDrone
	case errors.Is(err, context.Canceled):
		f.kind, f.retry = kindOther, 0
	default:
		f.kind = kindKeyHeldUnhealthy // the one before does not end
	}
	return f
}

// answerFault answers with {id, kind, message}. Callers of Jamsocket's API find the
// same in a member error.
func (a *SessionAPI) answerFault(w http.ResponseWriter, r *http.Request, err error) error {
	f := faultOf(err)
	type answer struct {
		ID      string `json:"id"`
		Kind    string `json:"kind"`
		Message string `json:"message"`
	}
	type inner struct {
		ID      string `json:"id"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Status  int    `json:"status"`
	}
	body := struct {
		answer
		Error *inner `json:"error,omitempty"`
	}{answer: answer{ID: strings.ToLower(rand.Text()[:10]), Kind: f.kind, Message: f.message}}
	if isJamsocket(r) {
		body.Error = &inner{ID: body.ID, Code: f.kind, Message: f.message, Status: f.status}
	}
	if c := a.logger.Check(zap.DebugLevel, "session_api refused a call"); c != nil {
		c.Write(zap.String("id", body.ID), zap.String("kind", f.kind), zap.Int("status", f.status), zap.Error(err))
	}
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(max(int64((f.retry+time.Second-1)/time.Second), 1), 10))
	}
	return answerJSON(w, f.status, body)
}

// answerJSON writes an answer of session_api.
func answerJSON(w http.ResponseWriter, status int, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text) // who does not read it is gone
	return nil
}
