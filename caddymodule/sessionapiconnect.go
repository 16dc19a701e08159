package caddymodule

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// connectRequest is the body of POST /ctrl/connect.
type connectRequest struct {
	Key         *connectKey     `json:"key"`
	SpawnConfig *spawnConfig    `json:"spawn_config"`
	User        string          `json:"user"`
	Auth        json.RawMessage `json:"auth"`
	Pool        string          `json:"pool"` // here or in spawn_config
}

// connectKey is a key of Plane's.
type connectKey struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Tag       string `json:"tag"`
}

// connectAnswer is what both connects answer.
type connectAnswer struct {
	BackendID   string  `json:"backend_id"`
	Spawned     bool    `json:"spawned"`
	Status      string  `json:"status"`
	Token       string  `json:"token"`
	URL         string  `json:"url"`
	Subdomain   *string `json:"subdomain"` // backends have none
	SecretToken string  `json:"secret_token"`
	StatusURL   string  `json:"status_url"`
	Drone       *string `json:"drone"` // the server, if it has a name

	// Plane's answer has none of these.
	ReadyURL string `json:"ready_url"` // answers once the backend is ready
	Key      string `json:"key"`
	Fence    int64  `json:"fence,omitempty"` // known when the backend has started
	Pool     string `json:"pool"`
}

// maxConnectBody bounds the body of a call.
const maxConnectBody = 64 << 10

// readCall reads the body of a call.
func readCall(r *http.Request, into any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxConnectBody+1))
	switch {
	case err != nil:
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: "the body cannot be read"}
	case len(body) > maxConnectBody:
		return &fault{status: http.StatusRequestEntityTooLarge, kind: kindRequestTooLarge, message: fmt.Sprintf("the body has more than %d bytes", maxConnectBody)}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: fmt.Sprintf("the body is no JSON of this call: %v", err)}
	}
	return nil
}

// connect gets or starts a backend, and answers with a URL that leads to it.
func (a *SessionAPI) connect(w http.ResponseWriter, r *http.Request, _ []string) error {
	var request connectRequest
	if err := readCall(r, &request); err != nil {
		return err
	}
	return a.connectTo(w, r, &request)
}

func (a *SessionAPI) connectTo(w http.ResponseWriter, r *http.Request, request *connectRequest) error {
	if bytes.Equal(request.Auth, []byte("null")) {
		request.Auth = nil
	}
	if err := sessionbackend.CheckVisitor(request.User, request.Auth); err != nil {
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: err.Error()}
	}
	directive, err := a.directiveFor(request)
	if err != nil {
		return err
	}
	key, tag := request.key()
	if key == "" && request.SpawnConfig == nil {
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: "there is neither a key nor a spawn_config"}
	}
	spawn, err := request.SpawnConfig.spawn(directive)
	if err != nil {
		return err
	}
	backend, started, err := directive.service.Connect(r.Context(), cmp.Or(key, rand.Text()), tag, spawn)
	var held *sessionbackend.HeldError
	if errors.As(err, &held) {
		return a.connectElsewhere(w, r, directive, key, held.Owner, request)
	}
	if err != nil {
		return err
	}
	text, token, err := a.tokenFor(backend, request)
	if err != nil {
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: err.Error()}
	}
	base, statusURL := a.urls(r, backend.ID)
	answer := connectAnswer{
		BackendID: backend.ID, Spawned: started, Status: string(backend.Status()), Token: text, URL: base + "/" + text + "/",
		SecretToken: token.Secret, StatusURL: statusURL, Key: backend.Key, Fence: backend.Info().Fence, Pool: directive.Name,
	}
	if node := directive.host.nodeName(); node != "" {
		answer.Drone = &node
	}
	answer.ReadyURL = answer.URL // session_connect has requests wait
	return answerJSON(w, http.StatusOK, answer)
}

// connectElsewhere answers with a URL that leads to a backend of another edge, where
// its status is known.
func (a *SessionAPI) connectElsewhere(w http.ResponseWriter, r *http.Request, directive *SessionBackend, key string, owner webtask.LeaseOwner, request *connectRequest) error {
	if a.Tokens == tokensKept {
		return &fault{status: http.StatusConflict, kind: kindKeyHeld, message: "the server " + owner.Name + " has the session backend, and with `tokens kept` only that one can give out tokens of it"}
	}
	of := sessionbackend.Identity{Service: directive.Name, Key: key, ID: owner.Backend}
	token := sessionbackend.NewToken(of, request.User, request.Auth, cmp.Or(time.Duration(a.TokenLifetime), sessionbackend.DefaultTokenLifetime))
	text, err := a.app.tokens.Sign(token)
	if err != nil {
		return &fault{status: http.StatusBadRequest, kind: kindInvalidRequest, message: err.Error()}
	}
	base, statusURL := a.urls(r, owner.Backend)
	answer := connectAnswer{
		BackendID: owner.Backend, Status: string(sessionbackend.Waiting), Token: text, URL: base + "/" + text + "/", SecretToken: token.Secret,
		StatusURL: statusURL, Key: key, Fence: owner.Fence, Pool: directive.Name, Drone: &owner.Name,
	}
	answer.ReadyURL = answer.URL
	return answerJSON(w, http.StatusOK, answer)
}

// tokenFor makes a token for a backend. One that has a static token has no other, and
// that says nothing of users.
func (a *SessionAPI) tokenFor(backend *sessionbackend.Backend, request *connectRequest) (text string, token *sessionbackend.Token, err error) {
	if text, token := backend.Static(); text != "" {
		return text, token, nil
	}
	token = backend.Token(request.User, request.Auth, cmp.Or(time.Duration(a.TokenLifetime), sessionbackend.DefaultTokenLifetime))
	if a.Tokens == tokensKept {
		text, err = backend.Keep(token)
	} else {
		text, err = a.app.tokens.Sign(token)
	}
	return text, token, err
}

// key returns the key of a request, and its tag.
func (c *connectRequest) key() (key, tag string) {
	switch {
	case c.Key == nil:
		return "", ""
	case c.Key.Namespace == "":
		return c.Key.Name, c.Key.Tag
	}
	// No two namespaces share a key, whatever is in their names.
	return url.QueryEscape(c.Key.Namespace) + "/" + c.Key.Name, c.Key.Tag
}

// directiveFor returns the service that a request is for.
func (a *SessionAPI) directiveFor(request *connectRequest) (*SessionBackend, error) {
	pool, cluster := request.Pool, ""
	if config := request.SpawnConfig; config != nil {
		pool, cluster = cmp.Or(config.Pool, pool), config.Cluster
	}
	return a.directiveNamed(pool, cluster)
}

// directiveNamed returns the service of that name. Clusters are names too, where
// none is given and there are several services.
func (a *SessionAPI) directiveNamed(pool, cluster string) (*SessionBackend, error) {
	all := a.directives()
	if pool == "" && len(all) == 1 {
		return all[0], nil
	}
	names := make([]string, len(all))
	for i, directive := range all {
		names[i] = directive.Name
	}
	name := cmp.Or(pool, cluster)
	if i := slices.Index(names, name); i >= 0 {
		return all[i], nil
	}
	there := "this API is about " + strings.Join(names, ", ")
	if len(all) == 0 {
		there = "there is no session_backend"
	}
	if name == "" {
		return nil, &fault{status: http.StatusBadRequest, kind: kindNoCluster, message: "pool: is missing; " + there}
	}
	return nil, &fault{status: http.StatusBadRequest, kind: kindInvalidCluster, message: fmt.Sprintf("pool: there is no session_backend called %q; %s", name, there)}
}

// urls returns what the URLs of backends begin with, and where the status of one is.
func (a *SessionAPI) urls(r *http.Request, id string) (base, status string) {
	var info edge.RequestInfo
	describeRequest(&info, r)
	origin := "http://" + r.Host
	if info.Secure {
		origin = "https://" + r.Host
	}
	base = origin + "/s"
	if a.URL != "" {
		base = strings.TrimSuffix(a.URL, "/")
		if parsed, err := url.Parse(a.URL); err == nil { // as check has seen
			origin = parsed.Scheme + "://" + parsed.Host
		}
	}
	if isJamsocket(r) {
		return base, origin + "/v2/backend/" + id + "/status"
	}
	return base, origin + "/pub/b/" + id + "/status"
}
