package peer

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
)

// forwarded are headers that an httputil.ReverseProxy removes, and that the edge
// which has the client has set.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// Forward sends a request of another edge to a backend by a transport, and answers
// as that does. When it returns an error, nothing was answered.
func Forward(w http.ResponseWriter, r *http.Request, transport http.RoundTripper) (err error) {
	proxy := httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // the other edge decides how it sends on
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "backend"
			p.Out.URL.RawQuery = p.In.URL.RawQuery // also one that cannot be parsed
			for _, name := range forwarded {
				if values := p.In.Header[name]; values != nil {
					p.Out.Header[name] = values
				}
			}
			p.Out.Header.Del("Expect") // it was meant for this edge
			p.Out.Trailer = p.In.Trailer
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Set(answerHeader, ofBackend)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, cause error) { err = cause },
	}
	proxy.ServeHTTP(w, r)
	return err
}
