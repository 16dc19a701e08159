package docs

import "testing"

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		want, got string
		ok        bool
	}{
		{"a\nb\n", "a\nb", true},
		{"a", "b", false},
		{"a", "a\nb", false},
		{`{"id":"…","n":1}`, `{"id":"x7","n":1}`, true},
		{`{"id":"…","n":1}`, `{"id":"x7","n":2}`, false},
		{"…b…", "abc", true},
		{"a…", "ba", false},
	} {
		if err := matches(test.want, test.got); (err == nil) != test.ok {
			t.Errorf("matches(%q, %q) = %v", test.want, test.got, err)
		}
	}
}

func TestParse(t *testing.T) {
	blocks, err := parse("text\n```js a.js\nx\n```\n\n  ````sh\n```\n  ````\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []block{{2, "js", "a.js", "x\n"}, {6, "sh", "", "```\n"}}
	if len(blocks) != len(want) || blocks[0] != want[0] || blocks[1] != want[1] {
		t.Errorf("got %+v, want %+v", blocks, want)
	}
	if _, err := parse("```\nx"); err == nil {
		t.Error("a block that is never closed passes")
	}
}
