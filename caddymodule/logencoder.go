package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

func init() {
	caddy.RegisterModule(new(Encoder))
}

// Encoder is a log encoder that keeps webtask tokens and session cookies out
// of logs: Caddy logs a request as it came, and a token may come in its URL.
// In every message and field it replaces by `REDACTED`
//
//   - the values of the query parameter `key`, wherever a URL stands (`uri`,
//     `Referer`, `Location`, messages),
//   - whatever looks like a compact JWS (RFC 7515), in a path or elsewhere,
//   - the values of the headers `Authorization`, `Proxy-Authorization`,
//     `Cookie`, `Set-Cookie`, `X-Webtask-Token` and `X-Verified-Secret`, even
//     where `log_credentials` would show them.
//
// It also escapes the control characters that other encoders leave as they
// are.
//
// Every access log of a server that accepts webtask tokens should use it:
//
//	log {
//		format webtask
//	}
type Encoder struct {
	// The encoder that writes what is left. Default: `json`, or `console`
	// when the log goes to a terminal.
	WrappedRaw json.RawMessage `json:"wrap,omitempty" caddy:"namespace=caddy.logging.encoders inline_key=format"`

	zapcore.Encoder `json:"-"`
	ctx             caddy.Context
}

// CaddyModule returns the Caddy module information.
func (*Encoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.encoders.webtask",
		New: func() caddy.Module { return new(Encoder) },
	}
}

// Provision sets up the wrapped encoder.
func (e *Encoder) Provision(ctx caddy.Context) error {
	e.ctx = ctx
	if e.WrappedRaw == nil {
		return e.wrap(new(logging.JSONEncoder))
	}
	mod, err := ctx.LoadModule(e, "WrappedRaw")
	if err != nil {
		return fmt.Errorf("loading wrapped encoder: %w", err)
	}
	e.Encoder = mod.(zapcore.Encoder)
	return nil
}

// ConfigureDefaultFormat writes for people when the log goes to a terminal and
// no format was chosen.
func (e *Encoder) ConfigureDefaultFormat(opener caddy.WriterOpener) error {
	if e.WrappedRaw != nil {
		if wrapped, ok := e.Encoder.(caddy.ConfiguresFormatterDefault); ok {
			return wrapped.ConfigureDefaultFormat(opener)
		}
		return nil
	}
	if caddy.IsWriterStandardStream(opener) && term.IsTerminal(int(os.Stderr.Fd())) {
		return e.wrap(new(logging.ConsoleEncoder))
	}
	return nil
}

type provisionedEncoder interface {
	zapcore.Encoder
	caddy.Provisioner
}

func (e *Encoder) wrap(encoder provisionedEncoder) error {
	if err := encoder.Provision(e.ctx); err != nil {
		return fmt.Errorf("provisioning default encoder: %w", err)
	}
	e.Encoder = encoder
	return nil
}

// UnmarshalCaddyfile sets up the encoder. Syntax:
//
//	webtask {
//		wrap <encoder>
//	}
func (e *Encoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume encoder name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if d.Val() != "wrap" {
			return d.Errf("unknown option %q of the log format webtask; it has: wrap", d.Val())
		}
		if e.WrappedRaw != nil {
			return d.Err("wrap is already specified")
		}
		if !d.NextArg() {
			return d.ArgErr()
		}
		name := d.Val()
		id := "caddy.logging.encoders." + name
		mod, err := caddyfile.UnmarshalModule(d, id)
		if err != nil {
			return err
		}
		if _, ok := mod.(zapcore.Encoder); !ok {
			return d.Errf("module %s (%T) is not a log encoder", id, mod)
		}
		e.WrappedRaw = caddyconfig.JSONModuleObject(mod, "format", name, nil)
	}
	return nil
}

// Clone is part of zapcore.Encoder.
func (e *Encoder) Clone() zapcore.Encoder {
	return &Encoder{Encoder: e.Encoder.Clone()}
}

// EncodeEntry is part of zapcore.Encoder.
func (e *Encoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	// Fields go through a clone of the wrapped encoder one by one: handed to
	// its EncodeEntry they would pass us by.
	clone := e.Encoder.Clone()
	clean := redactingObject{clone}
	for _, field := range fields {
		field.AddTo(clean)
	}
	entry.Message = redact(entry.Message)
	encoded, err := clone.EncodeEntry(entry, nil)
	if err == nil {
		escapeControls(encoded)
	}
	return encoded, err
}

// The fields that may hold text are redacted; the rest are the wrapped
// encoder's.

// AddString is part of zapcore.ObjectEncoder.
func (e *Encoder) AddString(key, value string) { redactingObject{e.Encoder}.AddString(key, value) }

// AddByteString is part of zapcore.ObjectEncoder.
func (e *Encoder) AddByteString(key string, value []byte) {
	redactingObject{e.Encoder}.AddByteString(key, value)
}

// AddArray is part of zapcore.ObjectEncoder.
func (e *Encoder) AddArray(key string, m zapcore.ArrayMarshaler) error {
	return redactingObject{e.Encoder}.AddArray(key, m)
}

// AddObject is part of zapcore.ObjectEncoder.
func (e *Encoder) AddObject(key string, m zapcore.ObjectMarshaler) error {
	return redactingObject{e.Encoder}.AddObject(key, m)
}

// AddReflected is part of zapcore.ObjectEncoder.
func (e *Encoder) AddReflected(key string, value any) error {
	return redactingObject{e.Encoder}.AddReflected(key, value)
}

// Interface guards
var (
	_ caddy.Provisioner                = (*Encoder)(nil)
	_ caddy.ConfiguresFormatterDefault = (*Encoder)(nil)
	_ caddyfile.Unmarshaler            = (*Encoder)(nil)
	_ zapcore.Encoder                  = (*Encoder)(nil)
)
