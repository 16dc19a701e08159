package sessionbackend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Token lets whoever has it reach one backend until it expires, and says who
// that is. Signed, it can be read by whoever has it, but for its secret.
type Token struct {
	Service string          `json:"svc"`
	Key     string          `json:"key"`
	Backend string          `json:"bid"`
	User    string          `json:"usr,omitempty"`
	Auth    json.RawMessage `json:"aut,omitempty"` // a JSON object, or nothing
	Issued  int64           `json:"iat"`           // microseconds since 1970
	Expires int64           `json:"exp"`           // seconds since 1970

	// Secret is known to the edge, to whoever had the token made, and to the backend,
	// not to who has the token.
	Secret string `json:"-"`
}

// Bounds of what a token holds.
const (
	maxUser  = 256
	maxAuth  = 2 << 10
	maxToken = 8 << 10
)

// MaxTokenLifetime is how long a token may be valid.
const MaxTokenLifetime = 30 * 24 * time.Hour

// DefaultTokenLifetime is how long tokens are valid otherwise.
const DefaultTokenLifetime = time.Hour

// Tokens makes and opens tokens, with keys of its own that are derived from those
// of a keyring.
type Tokens struct {
	signer *webtask.Signer
}

// NewTokens returns the tokens of a keyring.
func NewTokens(ring *webtask.Keyring) (*Tokens, error) {
	signer, err := ring.Signer(webtask.SignerOptions{Label: "webtask/backend/1", Type: "backend", Longest: maxToken})
	if err != nil {
		return nil, fmt.Errorf("tokens of session backends: %w", err)
	}
	return &Tokens{signer}, nil
}

// CheckVisitor reports what is wrong with the user and the data that a token is
// to hold.
func CheckVisitor(user string, auth json.RawMessage) error {
	if len(user) > maxUser {
		return fmt.Errorf("user: it has %d bytes; %d are the most", len(user), maxUser)
	}
	for _, c := range []byte(user) {
		if c < ' ' || c == 0x7f {
			return errors.New("user: it has a control character in it, which headers cannot carry")
		}
	}
	if len(auth) == 0 {
		return nil
	}
	if len(auth) > maxAuth {
		return fmt.Errorf("auth: it has %d bytes; %d are the most, since it is a part of the token", len(auth), maxAuth)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(auth), []byte("{")) || !json.Valid(auth) {
		return errors.New("auth: it is no JSON object")
	}
	return nil
}

// Token returns a token for the backend, which lasts for a time.
func (b *Backend) Token(user string, auth json.RawMessage, lifetime time.Duration) *Token {
	token := NewToken(b.Identity, user, auth, lifetime)
	token.Issued = b.visitors.issue(user, token.Issued)
	return token
}

// NewToken returns a token for a backend of another edge, which lasts for a time.
func NewToken(of Identity, user string, auth json.RawMessage, lifetime time.Duration) *Token {
	now := time.Now()
	return &Token{
		Service: of.Service, Key: of.Key, Backend: of.ID, User: user, Auth: inHeader(auth),
		Issued: now.UnixMicro(), Expires: now.Add(lifetime).Unix(),
	}
}

// inHeader returns JSON as a header can carry it, whatever the backend takes the
// bytes of one for: in one line, and in ASCII.
func inHeader(text json.RawMessage) json.RawMessage {
	var compact bytes.Buffer
	if json.Compact(&compact, text) != nil {
		return nil // there is none: CheckVisitor has seen to that
	}
	var ascii []byte
	for _, r := range compact.String() {
		switch {
		case r < 0x7f:
			ascii = append(ascii, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			ascii = fmt.Appendf(ascii, `\u%04x\u%04x`, high, low)
		default:
			ascii = fmt.Appendf(ascii, `\u%04x`, r)
		}
	}
	return ascii
}

// Sign returns a token as text, and sets its secret.
func (t *Tokens) Sign(token *Token) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(token); err != nil {
		return "", fmt.Errorf("writing the token of a session backend: %w", err)
	}
	signed, err := t.signer.Sign(bytes.TrimSpace(text.Bytes()))
	if err != nil {
		return "", fmt.Errorf("the token of a session backend: %w", err)
	}
	if len(signed) > maxToken {
		return "", fmt.Errorf("the token of a session backend would have %d bytes, and %d are the most; shorten its key, user or auth", len(signed), maxToken)
	}
	token.Secret, err = t.signer.Companion(signed)
	return signed, err
}

// Open returns the token that a text is. Its errors wrap those of package webtask.
// Whether its backend is there, and whether it is revoked, Backend.Admit knows.
func (t *Tokens) Open(signed string, now time.Time) (*Token, error) {
	payload, err := t.signer.Verify(signed)
	if err != nil {
		return nil, err
	}
	token := new(Token)
	if err := json.Unmarshal(payload, token); err != nil {
		return nil, fmt.Errorf("%w: %w", webtask.ErrTokenMalformed, err)
	}
	if now.Unix() >= token.Expires {
		return nil, fmt.Errorf("%w at %s", webtask.ErrTokenExpired, time.Unix(token.Expires, 0).UTC().Format(time.RFC3339))
	}
	if token.Secret, err = t.signer.Companion(signed); err != nil {
		return nil, err
	}
	return token, nil
}
