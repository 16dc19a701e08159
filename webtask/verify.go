package webtask

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Verified is a token whose signature and form have been checked. Whether it
// is valid at some time, not revoked and allowed where it came, is asked of it
// for every request. It is shared by concurrent requests.
type Verified struct {
	claims     Claims
	token      string
	key        *ringKey
	containers containerPattern
	chain      []string

	secrets  func() (map[string]string, error)
	task     func() (*Task, error)
	attached atomic.Pointer[any]
}

// Open verifies a token and checks that it is valid at now. Errors wrap one of
// ErrTokenMalformed, ErrTokenUnverified, ErrTokenNotYetValid, ErrTokenExpired;
// they never hold the token. A Verifier does the same with a cache.
func (k *Keyring) Open(token string, now time.Time) (*Verified, error) {
	v, err := k.Verify(token)
	if err != nil {
		return nil, err
	}
	if err := v.ValidAt(now); err != nil {
		return nil, err
	}
	return v, nil
}

// Verify is Open for those who look at tokens, or revoke them: what it returns
// may have expired, or not be valid yet; ValidAt says.
func (k *Keyring) Verify(token string) (*Verified, error) {
	payload, key, err := k.openJWS(token)
	if err != nil {
		return nil, err
	}
	// The token may be a piece of a request's much larger buffer.
	v := &Verified{token: strings.Clone(token), key: key}
	if err := readClaims(&v.claims, payload, true); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenMalformed, err)
	}
	if err := v.claims.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenMalformed, err)
	}
	if !ValidID(v.claims.ID) {
		return nil, fmt.Errorf("%w: it has no id (jti) of 32 hex digits", ErrTokenMalformed)
	}
	v.containers, _ = parseContainers(v.claims.Container)
	v.chain = append(append(make([]string, 0, len(v.claims.Ancestors)+1), v.claims.ID), v.claims.Ancestors...)
	v.secrets = sync.OnceValues(func() (map[string]string, error) {
		if v.claims.sealed == "" {
			return nil, nil
		}
		return key.unseal(v.claims.sealed, v.claims.ID, v.claims.Container)
	})
	v.task = sync.OnceValues(v.makeTask)
	return v, nil
}

// ValidID reports whether id has the form of a token's id (jti).
func ValidID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
}

// ReadUnverified returns what a token says, and the id of the key that it says
// it is signed by. Nothing of it is verified: anybody may have written it. It is
// for showing a token whose key is gone, and for nothing that trusts it.
func ReadUnverified(token string) (claims *Claims, kid string, err error) {
	header, rest, _ := strings.Cut(token, ".")
	body, _, _ := strings.Cut(rest, ".")
	kid, ok := parseHeader(header)
	payload, err := base64.RawURLEncoding.DecodeString(body)
	if !ok || err != nil || len(token) > MaxTokenLength {
		return nil, "", fmt.Errorf("%w: it is not of the form that this edge issues", ErrTokenMalformed)
	}
	claims = new(Claims)
	if err := readClaims(claims, payload, true); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrTokenMalformed, err)
	}
	return claims, kid, nil
}

// ValidAt checks nbf and exp (RFC 7519 §4.1.4, §4.1.5): a token is valid from
// the second nbf to before the second exp. There is no leeway.
func (v *Verified) ValidAt(now time.Time) error {
	if !v.claims.Expires.IsZero() && !now.Before(v.claims.Expires) {
		return fmt.Errorf("%w: at %s; ask for a new one", ErrTokenExpired, v.claims.Expires.UTC().Format(time.RFC3339))
	}
	if !v.claims.NotBefore.IsZero() && now.Before(v.claims.NotBefore) {
		return fmt.Errorf("%w: it is from %s on", ErrTokenNotYetValid, v.claims.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// Claims returns what the token says, but for its secrets. It must not be
// changed.
func (v *Verified) Claims() *Claims { return &v.claims }

// Chain returns the ids whose revocation revokes the token: its own, then
// those of its ancestors. It must not be changed.
func (v *Verified) Chain() []string { return v.chain }

// Secrets decrypts the secrets, once. The map is nil if there are none and
// must not be changed; the error wraps ErrTokenSecrets.
func (v *Verified) Secrets() (map[string]string, error) { return v.secrets() }

// Inspect returns the claims as a JSON object. With decrypt, ectx holds the
// plaintext secrets instead of the ciphertext, and so does the member secrets:
// existing clients read the one and their documentation names the other.
func (v *Verified) Inspect(decrypt bool) ([]byte, error) {
	members := v.claims.members()
	if decrypt && v.claims.HasSecrets() {
		secrets, err := v.secrets()
		if err != nil {
			return nil, err
		}
		members["ectx"], members["secrets"] = secrets, secrets
	}
	return marshal(members)
}

// Task returns what the token runs, with its secrets decrypted; it is made
// once. A token that cannot run code is ErrTokenNotAllowed, one whose secrets
// do not open ErrTokenSecrets.
func (v *Verified) Task() (*Task, error) { return v.task() }

// Attach hangs a value on the token, in place of any other, for as long as it
// stays in the cache: what its holder made of it for one request and wants
// back for the next. It is safe for concurrent use; v must be too.
func (v *Verified) Attach(value any) { v.attached.Store(&value) }

// Attached returns what Attach last hung on the token, or nil.
func (v *Verified) Attached() any {
	if p := v.attached.Load(); p != nil {
		return *p
	}
	return nil
}

// Format writes the token's id, so that no verb of package fmt shows more.
func (v *Verified) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "webtask.Verified("+v.claims.ID+")")
}

// MarshalJSON writes the claims; secrets stay encrypted, the token is not in
// it.
func (v *Verified) MarshalJSON() ([]byte, error) { return v.claims.MarshalJSON() }
