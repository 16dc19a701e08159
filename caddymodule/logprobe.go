package caddymodule

import (
	"reflect"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logProbe is a log field that finds out whether the encoder it reaches
// redacts tokens: our encoder counts it. zap encodes the fields of With at
// once, into an encoder that nothing is ever written from, so a probe leaves
// no trace in any log.
type logProbe struct {
	redacted int
}

// MarshalJSON writes nothing of interest; encoders call it.
func (*logProbe) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// unredactedLogs returns the names, among names, of access loggers whose
// entries reach a log that does not redact tokens. A name is what follows
// "http.log.access" in the logger's, or empty.
func unredactedLogs(ctx caddy.Context, names []string) []string {
	core := ctx.Logger(new(caddyhttp.App)).Core()
	var unredacted []string
	for _, name := range names {
		full := "http.log.access"
		if name != "" {
			full += "." + name
		}
		entry := zapcore.Entry{Level: zapcore.ErrorLevel, LoggerName: full}
		for _, log := range coresOf(core) {
			if log.Check(entry, nil) == nil {
				continue // this log excludes the logger
			}
			probe := new(logProbe)
			log.With([]zapcore.Field{zap.Reflect("probe", probe)})
			if probe.redacted == 0 {
				unredacted = append(unredacted, full)
				break
			}
		}
	}
	return unredacted
}

// coresOf returns what zapcore.NewTee joined, one core per log. The type of a
// tee is not exported, but it is a slice.
func coresOf(core zapcore.Core) []zapcore.Core {
	v := reflect.ValueOf(core)
	if v.Kind() != reflect.Slice {
		return []zapcore.Core{core}
	}
	var cores []zapcore.Core
	for _, element := range v.Seq2() {
		if core, ok := element.Interface().(zapcore.Core); ok {
			cores = append(cores, core)
		}
	}
	return cores
}
