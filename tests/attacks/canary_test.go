package attacks

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// canaries are texts that only their owners may see, by what they are.
type canaries struct {
	mark   string            // what the made ones begin with
	made   map[string]string // what the stage made, each with the mark
	others map[string]string // what the edge made: keys, session cookies
}

func newCanaries() *canaries {
	c := &canaries{mark: "cAnArY" + rand.Text()[:10], made: map[string]string{}, others: map[string]string{}}
	for _, what := range []string{"secret", "session", "environment", "file", "internal", "private", "config", "cookie", "sibling"} {
		c.made[what] = c.mark + "-" + what
	}
	return c
}

// passwd begins the first line of a file that every Unix has.
const passwd = "root:x:0:0:"

// find names the canaries in a text.
func (c *canaries) find(text string) []string {
	var found []string
	if strings.Contains(text, c.mark) {
		for _, what := range slices.Sorted(maps.Keys(c.made)) {
			if strings.Contains(text, c.made[what]) {
				found = append(found, "the canary "+what)
			}
		}
		if found == nil {
			found = append(found, "a part of a canary")
		}
	}
	if strings.Contains(text, passwd) {
		found = append(found, "a file of the host")
	}
	return append(found, find(text, c.others)...)
}

// inLog names those that no log may hold either. What came in ordinary
// headers of a request may stand in an access log.
func (c *canaries) inLog(text string) []string {
	found := find(text, c.others)
	for _, what := range []string{"secret", "session", "sibling", "environment", "file", "internal"} {
		if strings.Contains(text, c.made[what]) {
			found = append(found, "the canary "+what)
		}
	}
	return found
}

func find(text string, by map[string]string) []string {
	var found []string
	for _, what := range slices.Sorted(maps.Keys(by)) {
		if strings.Contains(text, by[what]) {
			found = append(found, what)
		}
	}
	return found
}

// basic is a canary as the credentials of Basic authentication.
func (c *canaries) basic() string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "ann:%s", c.made["cookie"]))
}
