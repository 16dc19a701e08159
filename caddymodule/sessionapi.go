package caddymodule

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

func init() {
	caddy.RegisterModule(new(SessionAPI))
}

// SessionAPI is an HTTP API for session backends, with the calls and the JSON of
// Plane's and, under `/v2`, of Jamsocket's. It has two parts: `control` starts and
// ends backends and gives out URLs that lead to them; `public` tells whoever knows
// the id of a backend how far it has come.
//
// Calls are found by what follows `/ctrl`, `/pub` or `/v2` in the path, whatever
// stands before.
type SessionAPI struct {
	// `control` or `public`. Required.
	Part string `json:"part,omitempty"`

	// Who may call `control`: `bearer`, who sends the secret as `Authorization: Bearer
	// …`; `upstream`, who an authentication handler before it has let through, as a
	// user that has a name. Required for `control`, which lets nobody in without.
	Auth string `json:"auth,omitempty"`

	// The secret of `bearer`, of at least 16 characters. It should be a global
	// placeholder, {env.NAME} or {file./absolute/path}, which is replaced when the server
	// starts and appears in no configuration.
	Secret string `json:"secret,omitempty"`

	// Where `session_connect` is: what the URLs that `control` gives out begin with,
	// such as `https://example.com/s`. Default: `/s` at the host of the call.
	URL string `json:"url,omitempty"`

	// How long tokens are valid for new requests. Default: 1h; at most 720h.
	TokenLifetime caddy.Duration `json:"token_lifetime,omitempty"`

	// What tokens are: `signed`, which say themselves what they are for; `kept`, random
	// ones that are short and say nothing, of which the server keeps a list.
	// Default: `signed`.
	Tokens string `json:"tokens,omitempty"`

	// The services that it is about. Default: all of this configuration.
	Services []string `json:"services,omitempty"`

	app    *App
	secret [sha256.Size]byte // a digest, to be compared in constant time
	logger *zap.Logger
}

// Parts of the API.
const (
	partControl = "control"
	partPublic  = "public"
)

// How callers of the part control are known.
const (
	apiAuthBearer   = "bearer"
	apiAuthUpstream = "upstream"
)

// What tokens are.
const (
	tokensSigned = "signed"
	tokensKept   = "kept"
)

// CaddyModule returns the Caddy module information.
func (*SessionAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.session_api",
		New: func() caddy.Module { return new(SessionAPI) },
	}
}

// Provision checks the configuration.
func (a *SessionAPI) Provision(ctx caddy.Context) error {
	at := placeUnderway(ctx.Modules())
	if err := a.provision(ctx, at); err != nil {
		return a.at(at, err)
	}
	return nil
}

// at adds to an error which directive it is about.
func (a *SessionAPI) at(at place, err error) error {
	return fmt.Errorf("%s: %w", strings.TrimSpace("the directive session_api "+a.Part+" at "+at.String()), err)
}

func (a *SessionAPI) provision(ctx caddy.Context, at place) error {
	a.logger = ctx.Logger()
	if err := a.check(); err != nil {
		return err
	}
	if at.processors != nil {
		return errProcessed(at)
	}
	app, err := ctx.App("webtask")
	if err != nil {
		return err
	}
	a.app = app.(*App)
	if a.Part == partPublic {
		return nil
	}
	if a.Auth == apiAuthBearer {
		if err := a.resolveSecret(); err != nil {
			return err
		}
	}
	return a.app.needBackendTokens()
}

// minSecret is how many characters a secret has at least.
const minSecret = 16

func (a *SessionAPI) resolveSecret() error {
	secret := a.Secret
	if err := ResolvePlaceholders(caddy.NewReplacer(), &secret); err != nil {
		return fmt.Errorf("auth bearer: %w", err)
	}
	if len(secret) < minSecret {
		return fmt.Errorf("auth bearer: the secret has %d characters; take %d random ones at least", len(secret), minSecret)
	}
	if !isReference(a.Secret) {
		a.logger.Warn("the configuration itself holds the secret of session_api; anyone who can read the configuration sees it",
			zap.String("instead", "{env.NAME} or {file./absolute/path}"))
	}
	a.secret = sha256.Sum256([]byte(secret))
	return nil
}

// check reports what is wrong with the configuration by itself.
func (a *SessionAPI) check() error {
	switch a.Part {
	case partControl:
	case partPublic:
		if a.Auth != "" || a.Secret != "" || a.URL != "" || a.TokenLifetime != 0 || a.Tokens != "" {
			return errors.New("auth, url, token_lifetime and tokens: are for session_api control; leave them out")
		}
		return nil
	default:
		return fmt.Errorf("the part is %q; write `session_api control` or `session_api public`", a.Part)
	}
	switch a.Auth {
	case apiAuthBearer:
		if a.Secret == "" {
			return errors.New("auth bearer: the secret is missing, as in `auth bearer {env.SESSION_API_SECRET}`")
		}
	case apiAuthUpstream:
		if a.Secret != "" {
			return errors.New("auth upstream: takes no secret; a handler before it, such as basic_auth, knows who may call")
		}
	case "":
		return errors.New("auth: is missing; whoever can call session_api control can start and reach all backends. " +
			"Write `auth bearer {env.SESSION_API_SECRET}`, or `auth upstream` behind a handler such as basic_auth")
	default:
		return fmt.Errorf("auth: %q is unknown; it is bearer <secret> or upstream", a.Auth)
	}
	if a.URL != "" {
		base, err := url.Parse(a.URL)
		if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
			return fmt.Errorf("url: %q is not where session_connect can be; write scheme, host and path, such as https://example.com/s", a.URL)
		}
	}
	if a.Tokens != "" && a.Tokens != tokensSigned && a.Tokens != tokensKept {
		return fmt.Errorf("tokens: %q is unknown; it is signed or kept", a.Tokens)
	}
	if a.TokenLifetime < 0 || time.Duration(a.TokenLifetime) > sessionbackend.MaxTokenLifetime {
		return fmt.Errorf("token_lifetime: it is at most %v", sessionbackend.MaxTokenLifetime)
	}
	return nil
}

// bind tells the handler where it stands, when all services are known.
func (a *SessionAPI) bind(at place) error {
	if at.processors != nil {
		return a.at(at, errProcessed(at))
	}
	for _, name := range a.Services {
		if a.app.directiveOf(name) == nil {
			return a.at(at, fmt.Errorf("services: there is no session_backend called %q", name))
		}
	}
	return nil
}

// directives returns the services that the API is about, by name.
func (a *SessionAPI) directives() []*SessionBackend {
	a.app.mu.Lock()
	defer a.app.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(a.app.backends), func(b *SessionBackend) bool {
		return len(a.Services) > 0 && !slices.Contains(a.Services, b.Name)
	})
	slices.SortFunc(all, func(a, b *SessionBackend) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// find returns the backend of an id, also one that has ended, and its service.
func (a *SessionAPI) find(id string) (*SessionBackend, *sessionbackend.Backend) {
	for _, directive := range a.directives() {
		if backend := directive.service.ByID(id); backend != nil {
			return directive, backend
		}
	}
	return nil, nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*SessionAPI)(nil)
	_ caddyhttp.MiddlewareHandler = (*SessionAPI)(nil)
)
