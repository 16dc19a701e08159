package webapi

import "github.com/dop251/goja"

// userAgent is navigator.userAgent (ECMA-429 asks for one).
const userAgent = "webtask-edge"

// navigatorState is the state of the global navigator: it has none.
type navigatorState struct{ slot }

func navigatorClass() *classDef {
	return &classDef{
		name: "Navigator",
		accessors: []accessor{
			{"userAgent", get(func(r *realm, _ *navigatorState) goja.Value { return r.rt.ToValue(userAgent) }), nil},
		},
	}
}
