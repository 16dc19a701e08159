package caddymodule

import "testing"

// TestAdminIsOutOfReach has a task ask for the configuration: no rule opens
// the administration endpoint by the way, wherever it listens, while the
// site's own server is reached by any rule that covers it.
func TestAdminIsOutOfReach(t *testing.T) {
	s := newServer(t, map[string]string{"ask.js": `module.exports = async (ctx, cb) => {
		try {
			const response = await fetch(ctx.query.url, { headers: { Origin: new URL(ctx.query.url).origin } });
			return response.status;
		} catch (error) {
			return String(error.message);
		}
	}`})
	site := "webtask /ask {\n code ask.js\n}\nrespond /page page"
	urls := []string{"http://127.0.0.1:" + s.admin + "/config/", "http://localhost:" + s.admin + "/config/", "http://[::ffff:127.0.0.1]:" + s.admin + "/config/"}
	for _, rules := range []string{"127.0.0.0/8 ::1", "127.0.0.1:* localhost:*", "localhost:" + s.admin + " 127.0.0.0/8"} {
		s.mustLoad("egress allow "+rules, site)
		for _, url := range urls {
			s.want("/ask?url="+url, 200, "only a rule with that very address and port opens it")
		}
		s.want("/ask?url=http://127.0.0.1:"+s.port+"/page", 200, "200")
	}
	s.mustLoad("egress allow 127.0.0.1:"+s.admin, site)
	s.want("/ask?url="+urls[0], 200, "200")
}
