package edge

import (
	"errors"
	"strings"
)

// headerLoop lists the edges that a request came through (RFC 8586, CDN-Loop).
// Every fetch() carries it on, whatever the script sets, so that tasks which
// call each other in a circle come to an end.
const headerLoop = "Cdn-Loop"

// maxLoop is how many fetch() calls of this kind of edge one may stand behind
// another.
const maxLoop = 3

// errLoop reports a request that came through more than maxLoop of them.
var errLoop = errors.New("webtasks call each other in a circle")

// checkLoop returns errLoop when the header of a request says that it has gone
// round too often.
func checkLoop(lines []string) error {
	passed := 0
	for _, line := range lines {
		for entry := range strings.SplitSeq(line, ",") {
			id, _, _ := strings.Cut(entry, ";")
			if strings.TrimSpace(id) == userAgent {
				passed++
			}
		}
	}
	if passed > maxLoop {
		return errLoop
	}
	return nil
}
