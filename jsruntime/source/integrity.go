package source

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Integrity pins the files of a task. names are their URLs (for files of the
// disk, slash paths relative to the entry's folder), sums the sha256 of their
// bytes as fetched.
//
// For one file the result is its digest as in W3C Subresource Integrity:
// "sha256-" and standard base64, what
//
//	openssl dgst -sha256 -binary hello.js | base64
//
// prints. For several it is the digest, in the same form, of the text that has
// a line "<name> sha256-<base64>\n" for each, sorted bytewise.
func Integrity(sums map[string][sha256.Size]byte) string {
	lines := make([]string, 0, len(sums))
	for name, sum := range sums {
		if len(sums) == 1 {
			return digestText(sum)
		}
		lines = append(lines, name+" "+digestText(sum)+"\n")
	}
	slices.Sort(lines)
	return digestText(sha256.Sum256([]byte(strings.Join(lines, ""))))
}

func digestText(sum [sha256.Size]byte) string {
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// sameIntegrity compares a wanted integrity, which may be written in hex,
// base64url or without padding, with one that Integrity made.
func sameIntegrity(want, got string) bool {
	if want == got {
		return true
	}
	sum, ok := parseIntegrity(want)
	return ok && digestText(sum) == got
}

// CheckIntegrity reports whether text can be the integrity of anything.
func CheckIntegrity(text string) error {
	if _, ok := parseIntegrity(text); !ok {
		return fmt.Errorf("%q is no digest; write sha256- and 44 characters of base64 (or 64 of hex), as `caddy webtask run --integrity FILE` prints it", text)
	}
	return nil
}

func parseIntegrity(text string) (sum [sha256.Size]byte, ok bool) {
	text, ok = strings.CutPrefix(text, "sha256-")
	if !ok {
		return sum, false
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		if raw, err = base64.RawStdEncoding.Strict().DecodeString(text); err != nil {
			return sum, false
		}
	}
	return sum, copy(sum[:], raw) == len(raw) && len(raw) == len(sum)
}
