// Package vlq reads and writes the numbers of source maps: Base64 VLQ (ECMA-426).
//
//	text := vlq.Append(nil, -17) // "jB"
//	value, n := vlq.Decode("jBA") // -17, 2
package vlq

import "strings"

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// Each digit has five bits of the number, the lowest first, of which the very
// first is the sign; its sixth says whether more digits follow.
const (
	bits = 5
	mask = 1<<bits - 1
	more = 1 << bits
)

// Decode reads the number that text begins with, and how many bytes it takes;
// n is 0 when there is none, or one of more than 32 bits.
func Decode(text string) (value, n int) {
	for shift := 0; n < len(text) && shift <= 30; shift += bits {
		digit := strings.IndexByte(digits, text[n])
		if digit < 0 {
			return 0, 0
		}
		n++
		value |= (digit & mask) << shift
		if digit&more == 0 {
			if value&1 != 0 {
				return -(value >> 1), n
			}
			return value >> 1, n
		}
	}
	return 0, 0
}

// Append appends a number to text.
func Append(text []byte, value int) []byte {
	rest := value << 1
	if value < 0 {
		rest = -value<<1 | 1
	}
	for {
		digit := rest & mask
		if rest >>= bits; rest == 0 {
			return append(text, digits[digit])
		}
		text = append(text, digits[digit|more])
	}
}
