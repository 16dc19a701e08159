package webtask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

// Signer signs and verifies texts of one use, with keys that a keyring has for
// that use alone, see Keyring.Secrets. What it
// makes is a JWS in compact serialization whose header has alg, kid and typ, and
// so is no token of a webtask (see IsToken). It is safe for concurrent use.
type Signer struct {
	signer  jose.Signer
	keys    map[string]signerKey // by header segment as Sign writes it
	longest int
}

// signerKey is what is derived from one key of the keyring.
type signerKey struct {
	sign, companion []byte
}

// SignerOptions tell one use from another.
type SignerOptions struct {
	Label   string // of the derivation, such as "webtask/backend/1"
	Type    string // member typ of the header
	Longest int    // bytes of what it verifies; what is longer is refused unread
}

// Signer returns a signer that signs with the first key, and verifies with all.
func (k *Keyring) Signer(o SignerOptions) (*Signer, error) {
	s := &Signer{keys: make(map[string]signerKey, len(k.keys)), longest: o.Longest}
	signing, err := k.Secrets(o.Label)
	if err != nil {
		return nil, err
	}
	companions, err := k.Secrets(o.Label + "\x00companion")
	if err != nil {
		return nil, err
	}
	for i, key := range k.keys {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: signing[i]},
			(&jose.SignerOptions{}).WithHeader("kid", key.id).WithType(jose.ContentType(o.Type)))
		if err != nil {
			return nil, fmt.Errorf("preparing the key of %s: %w", o.Label, err)
		}
		if i == 0 {
			s.signer = signer
		}
		header := fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":%q}`, key.id, o.Type)
		s.keys[base64.RawURLEncoding.EncodeToString([]byte(header))] = signerKey{signing[i], companions[i]}
	}
	return s, nil
}

// Format writes nothing of the keys, whatever the verb.
func (s Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "webtask.Signer") }

// Sign returns payload, signed.
func (s *Signer) Sign(payload []byte) (string, error) {
	jws, err := s.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return jws.CompactSerialize()
}

// Companion returns a text that belongs to what Sign made, the same each time. Who
// has no keys can neither find nor guess it.
func (s *Signer) Companion(signed string) (string, error) {
	header, _, _ := strings.Cut(signed, ".")
	key, ok := s.keys[header]
	if !ok {
		return "", fmt.Errorf("%w: its header is not of this edge", ErrTokenUnverified)
	}
	mac := hmac.New(sha256.New, key.companion)
	_, _ = io.WriteString(mac, signed) // a hash takes everything
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

// Verify returns the payload of what Sign made; nothing but that has the header it
// wants. Its errors wrap ErrTokenMalformed and ErrTokenUnverified.
func (s *Signer) Verify(signed string) ([]byte, error) {
	if len(signed) > s.longest {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrTokenMalformed, len(signed), s.longest)
	}
	header, rest, _ := strings.Cut(signed, ".")
	body, signature, _ := strings.Cut(rest, ".")
	if !isCanonical(header) || !isCanonical(body) || !isCanonical(signature) {
		return nil, fmt.Errorf("%w: it is not three segments of canonical base64url with dots between", ErrTokenMalformed)
	}
	key, ok := s.keys[header]
	if !ok {
		return nil, fmt.Errorf("%w: its header is of another kind, or names a key that is not in the keyring", ErrTokenUnverified)
	}
	jws, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenMalformed, err)
	}
	payload, err := jws.Verify(key.sign)
	if err != nil {
		return nil, fmt.Errorf("%w: its signature does not match", ErrTokenUnverified)
	}
	return payload, nil
}
