package edge

import "net/http"

// Serve serves a request as route says: it runs the task of the route, or the
// one that the request's token names, and writes its answer. A request without
// a token of ours passes to next in token mode, untouched. info takes what the
// edge found out.
//
// It returns what next returned; an *Answer under Route.ErrorsPass, with
// nothing written; else nil. When an answer breaks after its head was sent it
// panics with http.ErrAbortHandler, so that the client sees it is cut short.
func (e *Edge) Serve(w http.ResponseWriter, r *http.Request, route *Route, info *RequestInfo, next Next) error {
	return next(w, r)
}

// Match reports whether the request carries one token of ours that passes
// every check that needs no counting: signature, time, revocation, host, and,
// unless it is empty, the container. The error says that it cannot be told.
func (e *Edge) Match(r *http.Request, container string) (bool, error) {
	return false, nil
}
