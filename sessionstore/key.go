package sessionstore

import (
	"crypto/sha256"
	"encoding/base64"
)

// plainMax is the longest name that keys show as it is.
const plainMax = 64

// keyPart writes a name chosen by others, as a container, a session id or a
// rate key, so that it can be a part of a store's key: the result has no
// separator, brace or zero byte, is short, and is different for different
// names. Names of the usual kind stay readable for whoever looks into the
// store; of all others the key has the SHA-256 digest.
func keyPart(name string) string {
	if isPlain(name) {
		return "n." + name
	}
	sum := sha256.Sum256([]byte(name))
	return "h." + base64.RawURLEncoding.EncodeToString(sum[:])
}

func isPlain(name string) bool {
	if len(name) > plainMax {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == '@':
		default:
			return false
		}
	}
	return true
}
