package vlq

import "testing"

func TestNumbers(t *testing.T) {
	for value, text := range map[int]string{0: "A", 1: "C", -1: "D", 15: "e", 16: "gB", -16: "hB", -17: "jB", 1 << 20: "ggggC", -(1 << 20): "hgggC", 1<<30 - 1: "+/////B"} {
		if got := string(Append([]byte("x"), value)); got != "x"+text {
			t.Errorf("%d is written %s, not %s", value, got, text)
		}
		if got, n := Decode(text + "C;"); got != value || n != len(text) {
			t.Errorf("%s is read as %d, %d bytes", text, got, n)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{"", "?", ";A", "g", "g?", "ggggggggggggA", "é"} {
		if _, n := Decode(text); n != 0 {
			t.Errorf("%q was accepted", text)
		}
	}
}
