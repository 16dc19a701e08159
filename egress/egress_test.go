package egress

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func mustPolicy(t testing.TB, rules ...string) *Policy {
	t.Helper()
	p, err := ParsePolicy(rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// allows decides as a request does: by host first, then by each address.
func allows(p *Policy, host string, port uint16, addr string) error {
	d, err := parseDestination(host, port)
	if err != nil {
		return err
	}
	if _, err := p.checkHost(d); err != nil {
		return err
	}
	if addr == "" {
		return nil
	}
	return p.checkAddr(d, netip.MustParseAddr(addr), nil)
}

func TestBadRules(t *testing.T) {
	for rule, want := range map[string]string{
		"":                        "it is empty",
		"*":                       "too wide",
		"https://example.com":     "it is a URL",
		"example.com:":            "port after the colon is missing",
		"example.com:http":        `port "http" is not a number`,
		"example.com:0":           `port "0" is not a number`,
		"example.com:65536":       `port "65536" is not a number`,
		"exa mple.com":            `' ' cannot stand in it`,
		"a.*.com":                 `'*' cannot stand in it`,
		"a..com":                  "each label has 1 to 63",
		strings.Repeat("a.", 150): "1 to 253 characters",
		"10.1.2.3/16":             "write 10.1.0.0/16 for the range, or 10.1.2.3",
		"10.1.0.0/33":             "not a range",
		"127.1":                   "ends in a number",
		"0x7f.1":                  "ends in a number",
		"2130706433":              "ends in a number",
		"0x7f000001":              "ends in a number",
		"0177.0.0.1":              "ends in a number",
		"127.0.0.01":              "ends in a number",
		"::ffff:10.0.0.1":         "write that as IPv4",
		"[::ffff:0:0/96]:80":      "write that as IPv4",
		"64:ff9b::a00:1":          "write that as IPv4",
		"fe80::1%eth0":            "leave %eth0 out",
		"[::1":                    "brackets",
		"[::1]80":                 "only :port may follow",
		"[127.0.0.1]:80":          "brackets",
		"0.0.0.0":                 "nothing can be dialled",
		"224.0.0.1":               "nothing can be dialled",
		"255.255.255.255:80":      "nothing can be dialled",
		"ff02::1":                 "nothing can be dialled",
		"::":                      "nothing can be dialled",
		"\xff.com":                "not a valid host name",
	} {
		_, err := ParsePolicy([]string{"public", rule})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "egress rule ") {
			t.Errorf("rule %q: %v", rule, err)
		}
		if _, err := mustPolicy(t).Narrow([]string{rule}); err == nil {
			t.Errorf("rule %q narrows", rule)
		}
	}
}

func TestSpecialAddressesAreDenied(t *testing.T) {
	addrs := []string{
		// Both ends of every range, and forms that carry one of them.
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.255",
		"169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.1",
		"192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "192.175.48.1", "198.18.0.0", "198.19.255.255",
		"198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "100.100.100.200",
		"::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
		"64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "100::1", "100:0:0:1::1", "2001::1",
		"2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:1ff:ffff::", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "2620:4f:8000::1",
		"3fff::1", "3fff:fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1",
	}
	policies := map[string]*Policy{"default": mustPolicy(t), "public": mustPolicy(t, "public:*"), "everything": mustPolicy(t, "0.0.0.0/0", "::/0")}
	for name, p := range policies {
		for _, addr := range addrs {
			for _, host := range []string{addr, "rebind.example.com"} {
				err := allows(p, host, 80, addr)
				var denied *DeniedError
				if !errors.As(err, &denied) {
					t.Errorf("%s: %s at %s: %v", name, host, addr, err)
				}
			}
		}
	}
	for _, addr := range []string{"fe80::1%lo", "::1%lo"} {
		if err := allows(mustPolicy(t, "::1", "fe80::/10"), "x.internal", 80, addr); err == nil {
			t.Errorf("%s: allowed", addr)
		}
		if err := allows(mustPolicy(t, "::1", "fe80::/10"), addr, 80, ""); err == nil {
			t.Errorf("%s: allowed as a host", addr)
		}
	}
}

func TestPublicAddressesAreAllowed(t *testing.T) {
	p := mustPolicy(t)
	for _, addr := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
		"192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2a00::1", "2001:4860::8888",
		"64:ff9b::8.8.8.8", "::ffff:8.8.8.8",
	} {
		for _, host := range []string{addr, "example.com"} {
			for _, port := range []uint16{80, 443} {
				if err := allows(p, host, port, addr); err != nil {
					t.Errorf("%s at %s: %v", host, addr, err)
				}
			}
			if err := allows(p, host, 22, addr); err == nil {
				t.Errorf("%s at %s: port 22 is open", host, addr)
			}
		}
	}
}

func TestRules(t *testing.T) {
	tests := []struct {
		rules []string
		host  string
		port  uint16
		addr  string
		ok    bool
	}{
		{[]string{"api.example.com"}, "api.example.com", 443, "8.8.8.8", true},
		{[]string{"api.example.com"}, "API.Example.com.", 443, "8.8.8.8", true},
		{[]string{"api.example.com"}, "api.example.com", 8443, "8.8.8.8", false},
		{[]string{"api.example.com"}, "api.example.com", 443, "10.0.0.1", false},
		{[]string{"api.example.com"}, "api.example.com", 443, "127.0.0.1", false},
		{[]string{"api.example.com"}, "www.api.example.com", 443, "8.8.8.8", false},
		{[]string{"api.example.com"}, "8.8.8.8", 443, "8.8.8.8", false},
		{[]string{"api.example.com:8443"}, "api.example.com", 8443, "8.8.8.8", true},
		{[]string{"api.example.com:8443"}, "api.example.com", 443, "8.8.8.8", false},
		{[]string{"api.example.com:*"}, "api.example.com", 22, "8.8.8.8", true},
		{[]string{"BÜCHER.example"}, "xn--bcher-kva.example", 443, "8.8.8.8", true},
		{[]string{"*.example.com"}, "a.b.example.com", 443, "8.8.8.8", true},
		{[]string{"*.example.com"}, "example.com", 443, "8.8.8.8", false},
		{[]string{"*.example.com"}, "evilexample.com", 443, "8.8.8.8", false},
		{[]string{"*.example.com"}, "a.example.com", 443, "192.168.1.1", false},
		{[]string{"*.internal:8080"}, "app.internal", 8080, "10.2.3.4", true},
		{[]string{"*.internal:8080"}, "app.internal", 8080, "127.0.0.1", true},
		{[]string{"*.internal:8080"}, "app.internal", 8080, "fd00::7", true},
		{[]string{"*.internal:8080"}, "app.internal", 80, "10.2.3.4", false},
		{[]string{"*.internal:*"}, "metadata.internal", 80, "169.254.169.254", false},
		{[]string{"*.internal:*"}, "metadata.internal", 80, "fd00:ec2::254", false},
		{[]string{"*.internal:*"}, "metadata.internal", 80, "100.100.100.200", false},
		{[]string{"*.internal:*"}, "x.internal", 80, "224.0.0.1", false},
		{[]string{"localhost:9000"}, "localhost", 9000, "::1", true},
		{[]string{"redis:6379"}, "redis", 6379, "172.18.0.2", true},
		{[]string{"my_service:3000"}, "my_service", 3000, "172.18.0.2", true},
		{[]string{"10.1.0.0/16"}, "10.1.255.255", 5432, "10.1.255.255", true},
		{[]string{"10.1.0.0/16"}, "10.2.0.0", 5432, "10.2.0.0", false},
		{[]string{"10.1.0.0/16"}, "db.corp.example.com", 5432, "10.1.2.3", true},
		{[]string{"10.1.0.0/16"}, "::ffff:10.1.2.3", 5432, "::ffff:10.1.2.3", true},
		{[]string{"10.1.0.0/16:5432"}, "10.1.2.3", 5433, "10.1.2.3", false},
		{[]string{"10.0.0.0/7"}, "10.1.2.3", 80, "10.1.2.3", false},
		{[]string{"10.0.0.0/7"}, "11.1.2.3", 80, "11.1.2.3", true},
		{[]string{"127.0.0.1:9000"}, "127.0.0.1", 9000, "127.0.0.1", true},
		{[]string{"127.0.0.1:9000"}, "127.0.0.1", 9001, "127.0.0.1", false},
		{[]string{"127.0.0.1:9000"}, "127.0.0.2", 9000, "127.0.0.2", false},
		{[]string{"127.0.0.1:9000"}, "1.1.1.1", 443, "1.1.1.1", false},
		{[]string{"[::1]:80"}, "::1", 80, "::1", true},
		{[]string{"::1"}, "::1", 8080, "::1", true},
		{[]string{"[fd00::/8]:443"}, "fd12::1", 443, "fd12::1", true},
		{[]string{"fd00::/8"}, "fd00:ec2::254", 80, "fd00:ec2::254", false},
		{[]string{"fd00:ec2::254"}, "fd00:ec2::254", 80, "fd00:ec2::254", true},
		{[]string{"169.254.0.0/16"}, "169.254.7.7", 80, "169.254.7.7", true},
		{[]string{"169.254.0.0/16"}, "169.254.169.254", 80, "169.254.169.254", false},
		{[]string{"169.254.169.254:80"}, "169.254.169.254", 80, "169.254.169.254", true},
		{[]string{"public", "127.0.0.1:9000"}, "1.1.1.1", 443, "1.1.1.1", true},
		{[]string{"public:8443"}, "example.com", 8443, "1.1.1.1", true},
		{[]string{"public:8443"}, "example.com", 443, "1.1.1.1", false},
	}
	for _, test := range tests {
		err := allows(mustPolicy(t, test.rules...), test.host, test.port, test.addr)
		if (err == nil) != test.ok {
			t.Errorf("%q: %s:%d at %s: %v", test.rules, test.host, test.port, test.addr, err)
		}
	}
}

func TestOddNotationsAreNoHosts(t *testing.T) {
	p := mustPolicy(t, "public:*", "127.0.0.1", "*.internal")
	for _, host := range []string{"0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.1", "127.0.0.01", "1.2.3.4.5", "127.0.0.1.", "0x", "a.1", "", ".", "a b", "exa%6dple.com", "x\x00.com", "[::1]"} {
		var denied *DeniedError
		if err := allows(p, host, 80, ""); !errors.As(err, &denied) {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestNarrow(t *testing.T) {
	tests := []struct {
		edge, net []string
		host      string
		port      uint16
		addr      string
		ok        bool
	}{
		{nil, nil, "example.com", 443, "8.8.8.8", true},
		{nil, []string{}, "example.com", 443, "8.8.8.8", false},
		{nil, []string{"example.com"}, "example.com", 443, "8.8.8.8", true},
		{nil, []string{"example.com"}, "example.org", 443, "8.8.8.8", false},
		{nil, []string{"example.com:443"}, "example.com", 80, "8.8.8.8", false},
		{nil, []string{"127.0.0.1"}, "127.0.0.1", 80, "127.0.0.1", false},
		{nil, []string{"localhost"}, "localhost", 80, "127.0.0.1", false},
		{nil, []string{"example.com:8443"}, "example.com", 8443, "8.8.8.8", false},
		{[]string{"app.internal:8080"}, []string{"app.internal"}, "app.internal", 8080, "10.0.0.1", true},
		{[]string{"app.internal:8080"}, []string{"*.internal"}, "app.internal", 8080, "10.0.0.1", true},
		{[]string{"app.internal:8080"}, []string{"10.0.0.0/8"}, "app.internal", 8080, "10.0.0.1", true},
		{[]string{"app.internal:8080"}, []string{"10.1.0.0/16"}, "app.internal", 8080, "10.0.0.1", false},
		{[]string{"app.internal:8080"}, []string{"public"}, "app.internal", 8080, "10.0.0.1", false},
		{[]string{"10.0.0.0/8"}, []string{"10.0.0.1"}, "10.0.0.1", 5432, "10.0.0.1", true},
		{[]string{"10.0.0.0/8"}, []string{"10.0.0.1"}, "10.0.0.2", 5432, "10.0.0.2", false},
		{[]string{"10.0.0.1"}, []string{"0.0.0.0/0"}, "10.0.0.1", 80, "10.0.0.1", true},
	}
	for _, test := range tests {
		p, err := mustPolicy(t, test.edge...).Narrow(test.net)
		if err != nil {
			t.Fatal(err)
		}
		if err := allows(p, test.host, test.port, test.addr); (err == nil) != test.ok {
			t.Errorf("%q narrowed by %q: %s:%d at %s: %v", test.edge, test.net, test.host, test.port, test.addr, err)
		}
	}
	// Two lists narrowed from one do not mix.
	base, err := mustPolicy(t).Narrow([]string{"*.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := base.Narrow([]string{"a.example.com"})
	b, _ := base.Narrow([]string{"b.example.com"})
	if allows(a, "b.example.com", 443, "") == nil || allows(b, "a.example.com", 443, "") == nil || allows(a, "a.example.com", 443, "") != nil || allows(b, "b.example.com", 443, "") != nil {
		t.Error("two narrowed policies share a list")
	}
}

func TestDenialsNameTheRemedy(t *testing.T) {
	p := mustPolicy(t, "public", "api.example.com:8443")
	narrowed, err := p.Narrow([]string{"api.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		policy *Policy
		host   string
		port   uint16
		addr   string
		want   string
	}{
		{p, "127.0.0.1", 9000, "127.0.0.1", "egress to 127.0.0.1:9000 is not allowed: it is a loopback address; the operator can open it: egress allow 127.0.0.1:9000"},
		{p, "app.internal", 80, "10.0.0.1", "egress to app.internal:80 is not allowed: it resolves to a private address; the operator can open it: egress allow app.internal:80"},
		{p, "api.example.com", 8443, "10.0.0.1", "it resolves to a private address, which a name never opens; the operator can open the address itself: egress allow ADDRESS:8443"},
		{p, "example.com", 22, "", "egress to example.com:22 is not allowed: no rule of this edge opens that host and port; the operator can open it: egress allow example.com:22"},
		{p, "::1", 80, "::1", "egress allow [::1]:80"},
		{p, "169.254.169.254", 80, "169.254.169.254", "it is the address of a cloud metadata service"},
		{narrowed, "example.org", 443, "", "(claim `net`)"},
	}
	for _, test := range tests {
		err := allows(test.policy, test.host, test.port, test.addr)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s:%d: %v", test.host, test.port, err)
		}
		if err != nil && test.addr != test.host && test.addr != "" && strings.Contains(err.Error(), test.addr) {
			t.Errorf("the message tells what a name resolves to: %v", err)
		}
	}
}

// FuzzRules: what parses means the same when it is read again, and never opens
// a special address by a name of public DNS or by a range that is not wholly
// special.
func FuzzRules(f *testing.F) {
	for _, seed := range []string{"public", "api.example.com:443", "*.internal:*", "10.1.0.0/16", "[::1]:80", "fd00::/8", "0x7f.1", "0.0.0.0/0:80", "::ffff:1.2.3.4", "127.0.0.1:"} {
		f.Add(seed, "rebind.example.com", uint16(80), []byte{127, 0, 0, 1})
	}
	f.Fuzz(func(t *testing.T, text, host string, port uint16, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		p, err := ParsePolicy([]string{text})
		if err != nil {
			return
		}
		d, err := parseDestination(host, port)
		if err != nil {
			return
		}
		if p.checkAddr(d, addr, nil) != nil {
			return
		}
		real := effective(addr)
		class, _ := classify(real)
		r := p.rules[0]
		switch {
		case class == classPublic:
		case r.kind == ruleRange:
			if !r.prefix.Contains(real) || r.prefix.Bits() == 0 {
				t.Errorf("rule %q opens %s", text, addr)
			}
		case r.kind == rulePublic || !ownName(d.name) || class == classMetadata || class == classSpecial:
			t.Errorf("rule %q opens %s for %q", text, addr, host)
		}
	})
}

// FuzzAddress: every IPv6 form of an IPv4 address is judged as that address.
func FuzzAddress(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte{8, 8, 8, 8})
	f.Add([]byte{169, 254, 169, 254})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) != 4 {
			return
		}
		v4 := netip.AddrFrom4([4]byte(raw))
		want, _ := classify(v4)
		mapped := netip.AddrFrom16(v4.As16())
		translated := netip.MustParseAddr("64:ff9b::").As16()
		copy(translated[12:], raw)
		for _, form := range []netip.Addr{mapped, netip.AddrFrom16(translated)} {
			if got, _ := classify(effective(form)); got != want {
				t.Errorf("%s is judged %d, %s is judged %d", form, got, v4, want)
			}
		}
		var sixToFour, compatible [16]byte
		copy(sixToFour[:], []byte{0x20, 0x02, raw[0], raw[1], raw[2], raw[3]})
		copy(compatible[12:], raw)
		for _, form := range [][16]byte{sixToFour, compatible} {
			if got, _ := classify(effective(netip.AddrFrom16(form))); got == classPublic {
				t.Errorf("%s is judged public", netip.AddrFrom16(form))
			}
		}
	})
}
