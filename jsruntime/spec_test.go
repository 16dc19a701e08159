package jsruntime_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

func TestSpecShowsNoSecrets(t *testing.T) {
	options := jsruntime.SpecOptions{Container: "acme", Name: "hello", ID: "1", Token: "hunter2", Secrets: map[string]string{"a": "hunter2"}}
	spec := jsruntime.NewSpec("key", nil, options)
	asJSON, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x", options, options, options, options, options, options),
		fmt.Sprintf("%v %+v %#v", spec, spec, struct{ Spec *jsruntime.Spec }{spec}),
		string(asJSON),
	} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "acme") {
			t.Errorf("written as %s", text)
		}
	}
}
