package caddymodule

import (
	"bytes"
	"fmt"

	"go.uber.org/zap/buffer"
)

// escapeControls replaces, in an encoded log entry, what encoders leave as it
// is and a reader may obey: DEL and the C1 control characters, which some
// terminals take for escape sequences, and the separators U+2028 and U+2029,
// which some readers take for ends of lines. The escapes are JSON's; encoders
// write such characters within strings only. What callers send gets into
// access logs.
func escapeControls(entry *buffer.Buffer) {
	text := entry.Bytes()
	if !bytes.ContainsFunc(text, isLeftByEncoders) {
		return
	}
	clean := make([]byte, 0, len(text)+16)
	for _, r := range string(text) {
		if isLeftByEncoders(r) {
			clean = fmt.Appendf(clean, `\u%04x`, r)
		} else {
			clean = append(clean, string(r)...)
		}
	}
	entry.Reset()
	_, _ = entry.Write(clean) // of a buffer in memory
}

func isLeftByEncoders(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r == '\u2028' || r == '\u2029'
}
