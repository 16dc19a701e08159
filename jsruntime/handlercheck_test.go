package jsruntime_test

import (
	"errors"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

func TestCheckHandler(t *testing.T) {
	for name, test := range map[string]struct {
		code    string
		esm, ok bool
	}{
		"empty":               {"", false, false},
		"blank":               {" \n\t", false, false},
		"exports nothing":     {"const a = 1;\nfunction f() {}", false, false},
		"exports":             {"module.exports = cb => cb()", false, true},
		"throws":              {"throw new Error('first')", false, true},
		"exports later":       {"exports.a = 1", false, true},
		"returns":             {"return function (cb) { cb() }", false, true},
		"by its arguments":    {"arguments[2]['ex' + 'ports'] = cb => cb()", false, true},
		"by eval":             {"eval('mod' + 'ule.exp' + 'orts = cb => cb()')", false, true},
		"by a constructor":    {"(() => {}).constructor('m', 'm.x = 1')", false, true},
		"module":              {"__export(a_exports, {\n  default: () => a\n});\nmodule.exports = __toCommonJS(a_exports);", true, true},
		"module of another's": {"__reExport(a_exports, b_exports, module.exports);", true, true},
		"no default":          {"__export(a_exports, {\n  fetch: () => fetch\n});\nmodule.exports = __toCommonJS(a_exports);", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := jsruntime.CheckHandler(jsruntime.Script{Name: "a.js", Code: test.code, ESM: test.esm})
			var failure *jsruntime.ScriptError
			if (err == nil) != test.ok || (err != nil && (!errors.As(err, &failure) || failure.Kind != jsruntime.KindNoHandler || failure.Status != 400)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
