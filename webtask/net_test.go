package webtask

import (
	"net/netip"
	"strings"
	"testing"
)

// netAllows is what a list means for one host and port, written apart from
// the code under test.
func netAllows(t *testing.T, patterns []string, host string, port uint16) bool {
	t.Helper()
	if patterns == nil {
		return true
	}
	for _, text := range patterns {
		p, err := parseNetPattern(text)
		if err != nil {
			t.Fatal(err)
		}
		if p.port != 0 && p.port != port {
			continue
		}
		addr, addrErr := netip.ParseAddr(host)
		switch {
		case p.prefix.IsValid():
			if addrErr == nil && p.prefix.Contains(addr) {
				return true
			}
		case strings.HasPrefix(p.name, "."):
			if strings.HasSuffix(host, p.name) {
				return true
			}
		case p.name == host:
			return true
		}
	}
	return false
}

func TestNetPatternCovers(t *testing.T) {
	for _, test := range []struct {
		wide, narrow string
		want         bool
	}{
		{"api.example.com", "api.example.com", true},
		{"api.example.com", "api.example.com:8443", true},
		{"api.example.com:8443", "api.example.com", false},
		{"api.example.com:8443", "api.example.com:443", false},
		{"api.example.com:8443", "api.example.com:8443", true},
		{"*.example.com", "api.example.com", true},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "*.b.example.com", true},
		{"*.example.com", "*.example.com:80", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "evilexample.com", false},
		{"*.b.example.com", "*.example.com", false},
		{"api.example.com", "*.api.example.com", false},
		{"10.0.0.0/8", "10.1.0.0/16", true},
		{"10.0.0.0/8", "10.1.2.3:9000", true},
		{"10.1.0.0/16", "10.0.0.0/8", false},
		{"10.1.2.3", "10.1.2.3/32", true},
		{"10.0.0.0/8", "11.0.0.1", false},
		{"10.0.0.0/8", "db.internal", false},
		{"db.internal", "10.1.2.3", false},
		{"0.0.0.0/0", "[::1]", false},
		{"::/0", "[::1]:80", true},
		{"[fd00::/8]:443", "[fd00::1]:443", true},
		{"[fd00::/8]:443", "fd00::1", false},
		{"public", "public:443", true},
		{"public", "api.example.com", false},
	} {
		wide, err := parseNetPattern(test.wide)
		if err != nil {
			t.Fatalf("%s: %v", test.wide, err)
		}
		narrow, err := parseNetPattern(test.narrow)
		if err != nil {
			t.Fatalf("%s: %v", test.narrow, err)
		}
		if got := wide.covers(narrow); got != test.want {
			t.Errorf("%s covers %s: %v, want %v", test.wide, test.narrow, got, test.want)
		}
	}
}

func TestNetPatternRefuses(t *testing.T) {
	for _, s := range []string{
		"", "*", "*.", ".", "a..b", "-a.com", "a-.com", "a.com.", "A.com", "ä.com", "a b", "a*.com", "*.*.com", "a_b.com/", "user@a.com",
		"https://a.com", "https://10.0.0.1/8", "a.com:", "a.com:0", "a.com:65536", "a.com:+80", "a.com:80:90", "a.com:*", "a.com:http",
		"127.1", "0x7f000001", "0x7f.1", "017700000001", "2130706433", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "a.1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
		"fe80::1%eth0", "10.0.0.1/8", "10.0.0.0/33", "::ffff:0:0/96", "10.0.0.0/", "[10.0.0.0/8", "[]", "[]:80", "[::1", "[::1]x", "[::1]:",
		"224.0.0.1", "0.0.0.0", "255.255.255.255", "ff02::1", "::", "[10.1.2.3]:80", "[10.0.0.0/8]", "[a.com]:80",
		strings.Repeat("a", 64) + ".com", strings.Repeat("a.", 130) + "com",
	} {
		if p, err := parseNetPattern(s); err == nil {
			t.Errorf("%q was read as %+v", s, p)
		} else if err.Problem == "" || err.Remedy == "" {
			t.Errorf("%q: error %v lacks problem or remedy", s, err)
		}
		if err := checkNet([]string{"ok.example.com", s}); err == nil {
			t.Errorf("checkNet takes %q", s)
		} else {
			wantField(t, err, ErrClaims, "net")
		}
	}
}
