package wire

import (
	"errors"
	"math"
	"slices"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	b := PutUint(nil, math.MaxUint64)
	b = PutInt(b, math.MinInt64)
	b = PutBool(PutBool(b, true), false)
	b = PutBytes(PutString(b, "text"), []byte{0, 255})
	b = PutString(PutString(PutUint(b, 2), "a"), "")
	b = PutUint(b, math.MaxUint32)

	d := Decoder{Rest: b}
	if v := d.Uint(); v != math.MaxUint64 {
		t.Error(v)
	}
	if v := d.Int(); v != math.MinInt64 {
		t.Error(v)
	}
	if yes, no := d.Bool(), d.Bool(); !yes || no {
		t.Error(yes, no)
	}
	if s, p := d.String(), d.Bytes(); s != "text" || !slices.Equal(p, []byte{0, 255}) {
		t.Errorf("%q %q", s, p)
	}
	if list := d.Strings(2); !slices.Equal(list, []string{"a", ""}) {
		t.Errorf("%q", list)
	}
	if v := d.Uint32(); v != math.MaxUint32 {
		t.Error(v)
	}
	if err := d.End(); err != nil {
		t.Error(err)
	}
}

// TestViolations reads payloads that no peer sends, each of which is an error
// that nothing read later takes back.
func TestViolations(t *testing.T) {
	tooLarge := PutUint(nil, math.MaxUint32+1)
	for name, test := range map[string]struct {
		payload []byte
		read    func(d *Decoder)
	}{
		"nothing":             {nil, func(d *Decoder) { d.Uint() }},
		"number cut short":    {[]byte{0x80}, func(d *Decoder) { d.Uint() }},
		"number too long":     {slices.Repeat([]byte{0xff}, 11), func(d *Decoder) { d.Uint() }},
		"signed cut short":    {[]byte{0x80}, func(d *Decoder) { d.Int() }},
		"beyond 32 bits":      {tooLarge, func(d *Decoder) { d.Uint32() }},
		"neither 0 nor 1":     {[]byte{2}, func(d *Decoder) { d.Bool() }},
		"text cut short":      {[]byte{5, 'a'}, func(d *Decoder) { _ = d.String() }},
		"more texts than may": {[]byte{3, 0, 0, 0}, func(d *Decoder) { d.Strings(2) }},
		"more texts than are": {[]byte{9, 0}, func(d *Decoder) { d.Strings(math.MaxUint64) }},
		"something left over": {[]byte{0, 0}, func(d *Decoder) { d.Uint() }},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decoder{Rest: test.payload}
			test.read(&d)
			if err := d.End(); !errors.Is(err, ErrProtocol) {
				t.Errorf("%v is no violation", err)
			}
			if v, s := d.Uint(), d.String(); v != 0 || s != "" || !errors.Is(d.End(), ErrProtocol) {
				t.Errorf("after an error: %d, %q, %v", v, s, d.End())
			}
		})
	}
}
