package webtask

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

// Keyring is the set of keys that sign and verify tokens: the first signs, all
// verify. It is immutable; a changed one is given to Verifier.SetKeyring.
//
// A key is never used itself. HMAC-SHA-256 signs with
//
//	HKDF-SHA-256(key, salt: none, info: "webtask/sign/1", 32 bytes)
//
// and the secrets of the token jti are encrypted with
//
//	HKDF-SHA-256(key, salt: none, info: "webtask/ectx/1" 0x00 jti, 32 bytes)
//
// (RFC 5869), so that neither use can help to break the other and no two
// tokens share an encryption key.
//
// No verb of package fmt, and no JSON encoder, shows the keys; only JWKS does.
type Keyring struct {
	keys    []*ringKey
	byID    map[string]*ringKey
	headers map[string]string // kid by header segment as Issue writes it
}

// ringKey is one key and what is derived from it.
type ringKey struct {
	id     string
	secret []byte
	sign   []byte
	signer jose.Signer
}

const (
	signLabel  = "webtask/sign/1"
	ectxLabel  = "webtask/ectx/1"
	minKeySize = 32 // bytes; RFC 7518 §3.2 for HS256
	maxKeySize = 1024
)

// GenerateKeyring returns a keyring of one new key of 256 bits.
func GenerateKeyring(rand io.Reader) (*Keyring, error) {
	return new(Keyring).Rotate(rand)
}

// Rotate returns a keyring that signs with a new key, and still verifies with
// all keys of k. Tokens of a key stay valid until it is dropped from the set.
func (k *Keyring) Rotate(rand io.Reader) (*Keyring, error) {
	random := make([]byte, minKeySize+12)
	if _, err := io.ReadFull(rand, random); err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	id := KeyIDPrefix + base64.RawURLEncoding.EncodeToString(random[minKeySize:])
	key, err := newRingKey(id, random[:minKeySize:minKeySize])
	if err != nil {
		return nil, err
	}
	return newKeyring(append([]*ringKey{key}, k.keys...)), nil
}

func newKeyring(keys []*ringKey) *Keyring {
	k := &Keyring{keys: keys, byID: map[string]*ringKey{}, headers: map[string]string{}}
	for _, key := range keys {
		k.byID[key.id] = key
		header := headerStart + strings.TrimPrefix(key.id, KeyIDPrefix) + headerEnd
		k.headers[base64.RawURLEncoding.EncodeToString([]byte(header))] = key.id
	}
	return k
}

func newRingKey(id string, secret []byte) (*ringKey, error) {
	key := &ringKey{id: id, secret: secret}
	var err error
	if key.sign, err = hkdf.Key(sha256.New, secret, nil, signLabel, 32); err != nil {
		return nil, fmt.Errorf("deriving the signing key: %w", err)
	}
	key.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.HS256, Key: key.sign},
		(&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		return nil, fmt.Errorf("preparing the signing key: %w", err)
	}
	return key, nil
}

// ectxKey returns the key that encrypts the secrets of one token.
func (key *ringKey) ectxKey(jti string) ([]byte, error) {
	return hkdf.Key(sha256.New, key.secret, nil, ectxLabel+"\x00"+jti, 32)
}

// Secrets returns a secret of each key for a use of its own, that which signs first:
//
//	HKDF-SHA-256(key, salt: none, info: label, 32 bytes)
func (k *Keyring) Secrets(label string) ([][]byte, error) {
	secrets := make([][]byte, len(k.keys))
	for i, key := range k.keys {
		var err error
		if secrets[i], err = hkdf.Key(sha256.New, key.secret, nil, label, 32); err != nil {
			return nil, fmt.Errorf("deriving the key of %s: %w", label, err)
		}
	}
	return secrets, nil
}

// ParseKeyring reads a JWK Set (RFC 7517 §5) of oct keys (RFC 7518 §6.4), each
// of at least 256 bits, with a kid of "wt1-" and 16 characters of base64url,
// and, if it has them, use "sig" and alg "HS256". Errors wrap ErrKeyring, name
// the member (*FieldError) and never hold a key.
func ParseKeyring(data []byte) (*Keyring, error) {
	members, ok := readObject(data)
	var sets []json.RawMessage
	if !ok || json.Unmarshal(members["keys"], &sets) != nil || len(sets) == 0 {
		return nil, keyringError("keys", "are not the keys of a JWK Set", `make one with "caddy webtask keygen"`)
	}
	keys := make([]*ringKey, 0, len(sets))
	for i, raw := range sets {
		key, err := parseKey(raw)
		if err != nil {
			return nil, err.of(ErrKeyring, fmt.Sprintf("keys[%d]", i))
		}
		if slices.ContainsFunc(keys, func(k *ringKey) bool { return k.id == key.id }) {
			return nil, keyringError(fmt.Sprintf("keys[%d].kid", i), quote(key.id)+" is another key's too", "give every key a kid of its own")
		}
		keys = append(keys, key)
	}
	return newKeyring(keys), nil
}

func parseKey(raw []byte) (*ringKey, *FieldError) {
	wrong := func(member, problem, remedy string) (*ringKey, *FieldError) {
		return nil, &FieldError{Field: member, Problem: problem, Remedy: remedy}
	}
	members, ok := readObject(raw)
	if !ok {
		return wrong("", "is not an object with each member once", "write a JSON Web Key")
	}
	text := func(member string) string {
		s, _ := readString(members[member])
		return s
	}
	if text("kty") != "oct" {
		return wrong("kty", "is not oct", "use symmetric keys only")
	}
	for member, want := range map[string]string{"alg": string(jose.HS256), "use": "sig"} {
		if _, given := members[member]; given && text(member) != want {
			return wrong(member, "is not "+want, "write "+want+", or leave it out")
		}
	}
	kid := text("kid")
	tail, ok := strings.CutPrefix(kid, KeyIDPrefix)
	if !ok || len(kid) != keyIDLength || !isKeyIDTail([]byte(tail)) {
		return wrong("kid", "is not a key id of this edge", "write "+KeyIDPrefix+" and 16 random characters of A-Z a-z 0-9 - _")
	}
	encoded := text("k")
	secret, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || !isCanonical(encoded) {
		return wrong("k", "is not base64url without padding", "write at least 256 random bits")
	}
	if len(secret) < minKeySize || len(secret) > maxKeySize {
		return wrong("k", fmt.Sprintf("has %d bits", len(secret)*8), fmt.Sprintf("use %d to %d random bits", minKeySize*8, maxKeySize*8))
	}
	key, err := newRingKey(kid, secret)
	if err != nil {
		return wrong("k", err.Error(), "make another key")
	}
	return key, nil
}

func keyringError(field, problem, remedy string) error {
	return &FieldError{Field: field, Problem: problem, Remedy: remedy, kind: ErrKeyring}
}

// JWKS returns the keyring as ParseKeyring reads it: the keys themselves. It
// is for the file or storage that keeps them and for nothing else.
func (k *Keyring) JWKS() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, len(k.keys))}
	for i, key := range k.keys {
		set.Keys[i] = jose.JSONWebKey{Key: key.secret, KeyID: key.id, Algorithm: string(jose.HS256), Use: "sig"}
	}
	data, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the keyring: %w", err)
	}
	return append(data, '\n'), nil
}

// KeyIDs returns the kid of every key, the signing one first.
func (k *Keyring) KeyIDs() []string {
	ids := make([]string, len(k.keys))
	for i, key := range k.keys {
		ids[i] = key.id
	}
	return ids
}

// Format writes the key ids, so that no verb of package fmt shows a key.
func (k Keyring) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "webtask.Keyring("+strings.Join(k.KeyIDs(), " ")+")")
}

// MarshalJSON writes the key ids only: a keyring may end up in a config dump
// or a log field. See JWKS.
func (k Keyring) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string][]string{"kids": k.KeyIDs()})
}
