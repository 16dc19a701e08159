package nodeapi_test

import "testing"

// TestURLFormat strips URLs as the adapters of the webtask family do, by the
// format that req.x_wt names.
func TestURLFormat(t *testing.T) {
	for url, want := range map[string]string{
		"https://example.com/api/run/acme/hello/a/b?x=1": "1 /a/b?x=1",
		"https://example.com/api/run/acme/hello":         "1 /",
		"https://example.com/api/run/acme?x=1":           "1 /?x=1",
		"https://example.com/api/run/acme/x":             "1 /x",
		"https://tasks.example.com/acme/hello/a":         "2 /a",
		"https://tasks.example.com/acme":                 "2 /",
		"https://acme.run.example.com/hello/a":           "3 /a",
		"https://acme.run.example.com/acme/a":            "3 /acme/a",
		"https://example.com/hello":                      "3 /",
		"https://example.com/a/b":                        "3 /a/b",
		"https://example.com/api/run/acme2/a":            "3 /api/run/acme2/a",
		"https://example.com/acme-docs/a":                "3 /acme-docs/a",
		"https://example.com/":                           "3 /",
	} {
		_, got, err := newTask(t, `
			const { container, jtn, url_format } = req.x_wt;
			let rest = req.url.slice({ 1: '/api/run/' + container, 2: '/' + container, 3: '' }[url_format].length);
			if (rest === '/' + jtn || rest.startsWith('/' + jtn + '/')) rest = rest.slice(jtn.length + 1);
			res.end(url_format + ' ' + (rest.startsWith('/') ? rest : '/' + rest))`).do(request("GET", url, ""))
		if err != nil || got != want {
			t.Errorf("%s is %q, %v, not %q", url, got, err, want)
		}
	}
}
