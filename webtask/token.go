package webtask

import (
	"encoding/base64"
	"fmt"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

// A token is a JWS in compact serialization (RFC 7515 §7.1):
//
//	base64url({"alg":"HS256","kid":"wt1-…"}) . base64url(claims) . base64url(HMAC)
//
// Its header has these two members and no other. Above all it has no typ:
// existing clients take a token with typ JWT for one of another kind.

// MaxTokenLength is the length in bytes of the longest token.
const MaxTokenLength = 16 << 10

// KeyIDPrefix starts the id of every key (kid) of a keyring, and so tells our
// tokens from other JWTs that a site may use.
const KeyIDPrefix = "wt1-"

// keyIDLength is the length of a kid: the prefix and 16 characters.
const keyIDLength = len(KeyIDPrefix) + 16

// Every header that Issue writes has this form and size.
const (
	headerStart = `{"alg":"HS256","kid":"` + KeyIDPrefix
	headerEnd   = `"}`
	headerSize  = len(headerStart) + keyIDLength - len(KeyIDPrefix) + len(headerEnd)
)

var headerEncodedLen = base64.RawURLEncoding.EncodedLen(headerSize)

// IsToken reports whether s has the shape of one of our tokens: its first
// segment is a JOSE header with exactly alg HS256 and a kid that starts wt1-.
// It says nothing about the rest, so that a token that was cut, padded or
// tampered with is still recognised as one of ours, and refused instead of
// passed on.
func IsToken(s string) bool {
	dot := strings.IndexByte(s, '.')
	if dot < 0 {
		return false
	}
	header := strings.TrimRight(s[:dot], "=")
	if isIssuedHeader(header) {
		return true
	}
	_, ok := parseHeader(header)
	return ok
}

// isIssuedHeader recognises a header as Issue writes it, without allocating.
func isIssuedHeader(segment string) bool {
	var text [(headerSize + 2) / 3 * 4]byte
	var header [headerSize]byte
	if len(segment) != headerEncodedLen {
		return false
	}
	n, err := base64.RawURLEncoding.Decode(header[:], text[:copy(text[:], segment)])
	return err == nil && n == headerSize &&
		string(header[:len(headerStart)]) == headerStart &&
		string(header[headerSize-len(headerEnd):]) == headerEnd &&
		isKeyIDTail(header[len(headerStart):headerSize-len(headerEnd)])
}

func isKeyIDTail(tail []byte) bool {
	for _, c := range tail {
		isAlnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !isAlnum && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// parseHeader reads a header that may be written in another way, as by
// another JOSE library that holds the keys.
func parseHeader(segment string) (kid string, ok bool) {
	const longest = 256 // far more than two members need
	if len(segment) > longest {
		return "", false
	}
	data, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return "", false
	}
	members, ok := readObject(data)
	if !ok || len(members) != 2 {
		return "", false
	}
	alg, _ := readString(members["alg"])
	kid, _ = readString(members["kid"])
	return kid, alg == string(jose.HS256) && strings.HasPrefix(kid, KeyIDPrefix)
}

// openJWS verifies a token and returns its payload, and the key that signed
// it. It is strict where RFC 7515 leaves room, so that a token has exactly one
// spelling: compact form, canonical base64url, nothing besides.
func (k *Keyring) openJWS(token string) (payload []byte, key *ringKey, err error) {
	if len(token) > MaxTokenLength {
		return nil, nil, fmt.Errorf("%w: it has %d bytes, more than %d; give it fewer or shorter claims", ErrTokenMalformed, len(token), MaxTokenLength)
	}
	header, rest, _ := strings.Cut(token, ".")
	body, signature, _ := strings.Cut(rest, ".")
	for _, segment := range []string{header, body, signature} {
		if !isCanonical(segment) {
			return nil, nil, fmt.Errorf("%w: it is not three segments of canonical base64url with dots between; pass it whole and unchanged", ErrTokenMalformed)
		}
	}
	kid, ok := k.headers[header]
	if !ok {
		if kid, ok = parseHeader(header); !ok {
			return nil, nil, fmt.Errorf("%w: its header is not exactly alg HS256 and a kid that starts %s", ErrTokenMalformed, KeyIDPrefix)
		}
	}
	key, ok = k.byID[kid]
	if !ok {
		return nil, nil, fmt.Errorf("%w: key %s is not in the keyring; ask for a new token", ErrTokenUnverified, quote(kid))
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrTokenMalformed, err)
	}
	payload, err = jws.Verify(key.sign)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: its signature does not match; pass it whole and unchanged", ErrTokenUnverified)
	}
	return payload, key, nil
}

// isCanonical reports whether s is what base64url without padding (RFC 4648
// §5, §3.5) makes of some bytes: no other alphabet, padding, line breaks,
// which Go's decoder skips, or bits set that no byte needs.
func isCanonical(s string) bool {
	if s == "" || len(s)%4 == 1 {
		return false
	}
	for i := range len(s) {
		if base64urlBits[s[i]] == notBase64url {
			return false
		}
	}
	unused := [4]byte{0, 0, 0b1111, 0b0011}[len(s)%4]
	return base64urlBits[s[len(s)-1]]&unused == 0
}

const notBase64url = 0xff

// base64urlBits holds the six bits that each character stands for.
var base64urlBits = func() (table [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range table {
		table[i] = notBase64url
	}
	for i := range len(alphabet) {
		table[alphabet[i]] = byte(i)
	}
	return table
}()
