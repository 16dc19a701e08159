package caddymodule

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestTracing gives the handler a request whose context has a span, as the
// handler of the directive tracing does, and wants a child of it.
func TestTracing(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": `module.exports = (ctx, cb) => { if (ctx.query.fail) throw new Error('no'); cb(null, 1) }`})
	s.mustLoad("", "webtask {\n code a.js\n name traced\n}")
	app, err := caddy.ActiveContext().App("webtask")
	if err != nil {
		t.Fatal(err)
	}
	handler := app.(*App).handlers[0]
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	for query, status := range map[string]codes.Code{"": codes.Unset, "?fail=1": codes.Error} {
		spans.Reset()
		ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
		request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/"+query, http.NoBody)
		next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
		if err := handler.ServeHTTP(httptest.NewRecorder(), request, next); err != nil {
			t.Fatal(err)
		}
		ended := spans.GetSpans()
		if len(ended) != 1 {
			t.Fatalf("%d spans, want one", len(ended))
		}
		span := ended[0]
		if span.Name != "webtask" || span.Parent.SpanID() != parent.SpanContext().SpanID() || span.Status.Code != status {
			t.Errorf("the span of %q is %s of %s with status %v", query, span.Name, span.Parent.SpanID(), span.Status)
		}
		attributes := map[string]string{}
		for _, attribute := range span.Attributes {
			attributes[string(attribute.Key)] = attribute.Value.AsString()
		}
		if attributes["webtask.container"] != "@127.0.0.1" || attributes["webtask.name"] != "traced" || attributes["webtask.outcome"] == "" {
			t.Errorf("the attributes of %q are %v", query, attributes)
		}
		parent.End()
	}
}

// TestUnderAnotherPlugin serves a request with a handler that no walk found,
// as inside the routes of another plugin.
func TestUnderAnotherPlugin(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": helloJS})
	s.mustLoad("", "webtask /other {\n code a.js\n}")
	ctx := caddy.ActiveContext()
	mod, err := ctx.LoadModuleByID("http.handlers.webtask", []byte(`{"code": {"file": "`+s.folder+`/a.js"}}`))
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return errors.New("was passed on") })
	if err := mod.(*Handler).ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody), next); err != nil {
		t.Error(err)
	}
	if recorder.Code != http.StatusOK {
		t.Errorf("the task answered %d %s", recorder.Code, recorder.Body)
	}
}
