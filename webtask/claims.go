package webtask

import (
	"fmt"
	"time"
)

// Claims is what a token says (RFC 7519): who may run what, for whom, until
// when. The names of the JSON members stand beside the fields. Times have a
// resolution of one second; the zero time means the claim is absent.
//
// Claims given to Issue or Derive leave ID, IssuedAt and Ancestors empty: the
// keyring sets them. Claims of a Verified token must not be changed.
type Claims struct {
	ID        string    // jti: 32 hex digits; what revocation names
	IssuedAt  time.Time // iat
	Ancestors []string  // ca: ids of the tokens it was derived from, the first one first

	Depth        int  // dd: how many generations may be derived from it
	NoSelfRevoke bool // dr (1): it may not revoke itself
	Master       bool // master: every container, every API; made by the command line only

	Container string   // ten: container, list "a,b" or expression "/^a[0-9]$/"; required unless Master
	Name      string   // jtn: webtask name; needs a ten that is one container
	Names     []string // jtnm: webtask names that API calls are restricted to; nil: all

	NotBefore time.Time // nbf
	Expires   time.Time // exp; absent: never

	URL       string            // url of the code, http or https; needs a ten that is one container
	Integrity string            // integrity: "sha256-" and 44 characters of base64, over every byte that runs
	Params    map[string]string // pctx: parameters, readable by whoever holds the token
	Secrets   map[string]string // ectx: secrets, to be encrypted; nil in Claims read from a token
	ParseBody *ParseBody        // pb: nil is ParseBodyByArity
	MergeBody bool              // mb
	Meta      map[string]string // meta; needs jtn
	Host      string            // host: the only host name the token works at

	RateLimit RateLimits // ls lm lh ld lw lo for the container, lts ltm lth ltd ltw lto for the token
	Net       []string   // net: host patterns that code may call; nil: what the edge allows; empty: none
	Limits    Limits     // lim

	sealed string // ectx as it stands in the token
}

// HasSecrets reports whether the token carries secrets, or will.
func (c *Claims) HasSecrets() bool { return c.sealed != "" || len(c.Secrets) > 0 }

// Format writes the claims as a token has them, so that no verb of package
// fmt shows a secret.
func (c Claims) Format(f fmt.State, _ rune) {
	text, err := c.MarshalJSON()
	if err != nil {
		text = []byte("webtask.Claims(" + err.Error() + ")")
	}
	_, _ = f.Write(text)
}

// MarshalJSON writes the claims as the payload of a token has them: secrets
// as ciphertext, and not at all before they are encrypted.
func (c Claims) MarshalJSON() ([]byte, error) {
	return marshal(c.members())
}

// members returns the claims that are present, by name.
func (c *Claims) members() map[string]any {
	members := map[string]any{}
	for _, claim := range claimTable {
		if v := claim.write(c); v != nil {
			members[claim.name] = v
		}
	}
	return members
}

// ParseClaims reads the claims that somebody asks a token to be issued with:
// a JSON object of the claims above, where numbers may be numeric strings, as
// existing clients send them, and ectx is an object of plaintext secrets.
// Without dd it asks for a depth of 1. Claims that the edge sets itself (jti,
// iat, ca), unknown, repeated or wrongly typed ones are errors that wrap
// ErrClaims and name the claim (*FieldError). The claims still have to pass
// the checks of Issue or Derive.
func ParseClaims(data []byte) (Claims, error) {
	c := Claims{Depth: 1}
	err := readClaims(&c, data, false)
	if err != nil {
		return Claims{}, err
	}
	return c, nil
}
