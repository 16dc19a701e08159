package webtask_test

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// A token is issued, opened and turned into what a request runs.
func Example() {
	ring, err := webtask.GenerateKeyring(rand.Reader)
	if err != nil {
		panic(err)
	}
	token, err := ring.Issue(webtask.Claims{
		Container: "acme",
		URL:       "https://example.com/hello.js",
		Secrets:   map[string]string{"API_KEY": "s3cret"},
		Expires:   time.Now().Add(time.Hour),
	}, webtask.IssueOptions{Now: time.Now()})
	if err != nil {
		panic(err)
	}

	verified, err := ring.Open(token, time.Now())
	if err != nil {
		panic(err)
	}
	task, err := verified.Task()
	if err != nil {
		panic(err)
	}
	fmt.Println(task.Container, task.Code.Value, task.Secrets["API_KEY"])
	// Output: acme https://example.com/hello.js s3cret
}

// A tenant's token makes another within its rights, and never beyond them.
func ExampleKeyring_Derive() {
	ring, err := webtask.GenerateKeyring(rand.Reader)
	if err != nil {
		panic(err)
	}
	now := webtask.IssueOptions{Now: time.Now()}
	token, err := ring.Issue(webtask.Claims{Container: "acme", Depth: 1}, now)
	if err != nil {
		panic(err)
	}
	tenant, err := ring.Open(token, time.Now())
	if err != nil {
		panic(err)
	}

	asked, err := webtask.ParseClaims([]byte(`{"url":"https://example.com/hello.js","exp":"4102444800"}`))
	if err != nil {
		panic(err)
	}
	if _, err = ring.Derive(tenant, asked, now); err != nil {
		panic(err)
	}

	asked.Container = "beta"
	_, err = ring.Derive(tenant, asked, now)
	fmt.Println(err)
	// Output: invalid claims: ten: reaches beyond that of the token it is derived from; name only containers of "acme"
}
