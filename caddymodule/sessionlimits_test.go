package caddymodule

import (
	"strings"
	"testing"
)

// TestSessionLimitsAreSaidAsDocumented holds docs/sessions.md to what limits of
// sessions do: which call rejects, and which request is answered otherwise than
// its handler would have it.
func TestSessionLimitsAreSaidAsDocumented(t *testing.T) {
	s := newServer(t, map[string]string{"set.js": `
		module.exports = async (ctx, cb) => {
			try {
				await ctx.session.set(ctx.query.key, "x".repeat(ctx.query.size));
			} catch (error) {
				return error.name;
			}
			return "taken";
		}`})
	s.mustLoad("sessions 1\n session_size 100B", "webtask {\n code set.js\n}")

	header := s.want("/?key=a&size=60", 200, `"taken"`)
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	s.want("/?key=b&size=200", 200, `"SessionTooLarge"`, "Cookie: "+cookie)
	s.want("/?key=b&size=60", 413, "`session_size`", "Cookie: "+cookie)
	s.want("/?key=a&size=70", 200, `"taken"`, "Cookie: "+cookie)

	header = s.want("/?key=a&size=1", 503, "`sessions`")
	if header.Get("Retry-After") == "" || header.Get("Set-Cookie") != "" {
		t.Errorf("a visitor for whom there is no room gets %v", header)
	}
}
