package harness

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// Answer is a response, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// JSON decodes the body.
func (a Answer) JSON(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), into); err != nil {
		t.Fatalf("the answer is no JSON that fits: %v\n%d %s", err, a.Status, a.Body)
	}
}

// Want fails the test unless the answer has this status and, where text is
// not empty, a body that contains it.
func (a Answer) Want(t testing.TB, status int, text string) Answer {
	t.Helper()
	if a.Status != status || !strings.Contains(a.Body, text) {
		t.Fatalf("got %d %q, want %d and %q", a.Status, a.Body, status, text)
	}
	return a
}

// Client is one visitor: cookies of its own, connections of its own, and no
// redirect followed.
type Client struct {
	http *http.Client
}

// NewClient returns a visitor without cookies.
func NewClient(t testing.TB) *Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{&http.Client{
		Jar:           jar,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Try sends a request; header lines are given as "Name: value".
func (c *Client) Try(method, url, body string, header ...string) (Answer, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, string(data)}, err
}

// Do is Try for a request that must be answered.
func (c *Client) Do(t testing.TB, method, url, body string, header ...string) Answer {
	t.Helper()
	answer, err := c.Try(method, url, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return answer
}

// Get is Do for GET.
func (c *Client) Get(t testing.TB, url string, header ...string) Answer {
	t.Helper()
	return c.Do(t, http.MethodGet, url, "", header...)
}

// Cookies are those that the client would send to a URL.
func (c *Client) Cookies(t testing.TB, to string) []*http.Cookie {
	t.Helper()
	parsed, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return c.http.Jar.Cookies(parsed)
}

// Bearer is the header line that carries a token.
func Bearer(token string) string { return "Authorization: Bearer " + token }
