package edge

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// Serve serves a request as route says: it runs the task of the route, or the
// one that the request's token names, and writes its answer. A request without
// a token of ours passes to next in token mode, untouched. info takes what the
// edge found out.
//
// It returns what next returned; an *Answer under Route.ErrorsPass, logged and
// with nothing written but headers; else nil. When an answer breaks after its head was sent it
// panics with http.ErrAbortHandler, so that the client sees it is cut short.
func (e *Edge) Serve(w http.ResponseWriter, r *http.Request, route *Route, info *RequestInfo, next Next) error {
	start := e.opts.Now()
	token, err := findToken(r)
	if err == nil && route.Task == nil && token.in == carriedNot {
		if isPreflight(r) && asksForToken(r) {
			answerPreflight(w)
			info.Outcome, info.Status, info.Duration = OutcomePreflight, http.StatusNoContent, e.opts.Now().Sub(start)
			return nil
		}
		info.Outcome = OutcomePassed
		return next(w, r)
	}
	if err != nil {
		e.opts.Observer.TokenOpened("twice")
	}
	if info.ID == "" {
		info.ID = newRequestID()
	}
	// A call is one allocation with all that lives as long as the request.
	c := &call{edge: e, header: r.Header, secure: info.Secure}
	if err == nil {
		err = c.prepare(w, r, route, info, token, start)
	}
	if err == nil {
		err = c.run(w, r, route, info, token)
	}
	if err != nil {
		err = c.fail(w, r, route, info, token, err)
	}
	info.Duration = e.opts.Now().Sub(start)
	var broken *brokenBody
	if errors.As(err, &broken) {
		panic(http.ErrAbortHandler)
	}
	return err
}

// prepare decides what runs and what it may see of the request.
func (c *call) prepare(w http.ResponseWriter, r *http.Request, route *Route, info *RequestInfo, token carried, now time.Time) error {
	e := c.edge
	var err error
	if route.Task != nil {
		c.plan, err = e.routePlan(route)
	} else {
		c.plan, err = e.planFor(r, route, token.token, now)
	}
	if err != nil {
		return err
	}
	task := c.plan.task
	info.Task = task
	c.foreign = e.foreign(task, route, r.Host)
	if c.foreign && r.Header.Get("Service-Worker") != "" {
		return &tokenNotAllowed{why: "a webtask run by a token cannot be a service worker of this site."}
	}
	c.loop = r.Header[headerLoop]
	if err := checkLoop(c.loop); err != nil {
		return err
	}
	target, err := requestURL(r, info.URI, info.Secure, token.in == carriedQuery)
	if err != nil {
		return err
	}
	own := token.in != carriedNot && task.Token == token.token
	c.request = jsruntime.Request{
		ID:       info.ID,
		Method:   r.Method,
		URL:      target,
		Proto:    r.Proto,
		Header:   requestHeader(r.Header, token, own, c.foreign, info.AuthHeaders),
		Length:   r.ContentLength,
		RemoteIP: info.ClientIP,
		Host:     c,
		Deadline: now.Add(task.Limits.Timeout),

		ForceParseBody: forced(r.URL.RawQuery, "webtask_pb"),
		ForceMergeBody: forced(r.URL.RawQuery, "webtask_mb"),
	}
	// Caddy wraps a body that is none, so only its length tells.
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		c.body = newClientBody(w, r, task.Limits.Timeout)
		c.request.Body = c.body
	}
	return nil
}

// run loads the code, runs it, saves the session and writes the answer, in
// this order: what was answered is in the store.
func (c *call) run(w http.ResponseWriter, r *http.Request, route *Route, info *RequestInfo, token carried) error {
	ctx := r.Context()
	spec, err := c.edge.spec(ctx, c.plan)
	if err != nil {
		if c.body != nil {
			err = c.body.settle(w, r, err)
		}
		return err
	}
	resp, err := c.edge.opts.Runner.Do(ctx, spec, &c.request)
	info.QueueWait = c.request.QueueWait
	if c.body != nil {
		err = c.body.settle(w, r, err)
	}
	switch {
	case err != nil:
	case resp.Status < 200 || resp.Status > 599:
		err = statusError(resp.Status)
	default:
		err = c.commitSession(ctx, resp.Session)
	}
	if err != nil {
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		return err
	}
	id, used, cookie := c.sessionOutcome()
	info.SessionID, info.Status, info.Outcome = id, resp.Status, OutcomeOK
	return c.respond(ctx, w, r, resp, answerExtra{
		setCookie:  cookie,
		private:    used || token.in != carriedNot,
		anyOrigin:  callsAcrossOrigins(r, route),
		noReferrer: token.in == carriedQuery,
		carrier:    token.in.header(),
	})
}

// fail ends a request with an error: it is logged once and, while nothing was
// sent, answered.
func (c *call) fail(w http.ResponseWriter, r *http.Request, route *Route, info *RequestInfo, token carried, err error) error {
	if errors.Is(err, errClientGone) {
		// The answer was on its way; nobody is left to be told.
		info.Outcome = OutcomeCanceled
		return nil
	}
	answer := AnswerFor(err)
	answer.RequestID = info.ID
	c.explainLimit(answer, route)
	info.Outcome = answer.Outcome
	var broken *brokenBody
	if errors.As(err, &broken) {
		c.logError(answer, route, info, "webtask failed after its answer began")
		return err
	}
	info.Status = answer.Status
	if r.Context().Err() != nil && (answer.Outcome == OutcomeCanceled || errors.Is(err, context.Canceled) || errors.Is(err, jsruntime.ErrRequestEnded)) {
		info.Outcome, info.Status = OutcomeCanceled, StatusClientClosed
		w.WriteHeader(StatusClientClosed)
		return nil
	}
	cookie := ""
	if c.plan != nil {
		// A session that moved or ended before the script failed has done so
		// all the same.
		info.SessionID, _, cookie = c.sessionOutcome()
	}
	h := w.Header()
	if cookie != "" {
		h["Set-Cookie"] = append(h["Set-Cookie"], cookie)
	}
	if callsAcrossOrigins(r, route) {
		h["Access-Control-Allow-Origin"] = c.keep("*")
	}
	if token.in == carriedQuery {
		h["Referrer-Policy"] = c.keep("no-referrer")
	}
	message := "webtask failed"
	if answer.Outcome == OutcomeTokenRefused {
		message = "webtask token refused"
	}
	c.logError(answer, route, info, message)
	for name, values := range answer.Header() {
		// The body that an error route writes is of its own type.
		if !route.ErrorsPass || (name != "Content-Type" && name != "X-Content-Type-Options") {
			h[name] = values
		}
	}
	if route.ErrorsPass {
		if c.foreign {
			return answer.forPage()
		}
		return answer
	}
	w.WriteHeader(answer.Status)
	if r.Method != http.MethodHead {
		// A failed write means that the client is gone.
		_, _ = w.Write(answer.Body())
	}
	return nil
}

// logError writes the one log entry of a failed request.
func (c *call) logError(answer *Answer, route *Route, info *RequestInfo, message string) {
	level := zapcore.WarnLevel
	if answer.Status >= 500 {
		level = zapcore.ErrorLevel
	}
	checked := c.edge.opts.Logger.Check(level, message)
	if checked == nil {
		return
	}
	fields := make([]zap.Field, 0, 11)
	if info.Task != nil {
		fields = taskFields(fields, info.Task)
	}
	if route.Name != "" {
		fields = append(fields, zap.String("route", route.Name))
	}
	fields = append(fields, zap.String("request_id", info.ID), zap.Int("status", answer.Status),
		zap.String("outcome", string(answer.Outcome)), errorField(answer.Err))
	fields = append(fields, whereFields(answer.Err)...)
	checked.Write(fields...)
}
