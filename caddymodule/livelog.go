package caddymodule

import (
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// sharedLog is where the parts that outlive a configuration log to: the logs
// of the configuration that started last. A logger of their first one would
// write to files that a later one may have closed.
var sharedLog liveLog

// liveLog is a target of loggers that can be exchanged under them.
type liveLog struct {
	target atomic.Pointer[zap.Logger]
}

// use makes logger the target.
func (l *liveLog) use(logger *zap.Logger) { l.target.Store(logger) }

// logger returns a logger that writes to the target under name.
func (l *liveLog) logger(name string) *zap.Logger {
	return zap.New(&liveCore{log: l}).Named(name)
}

// liveCore is the zapcore.Core of the loggers of a liveLog.
type liveCore struct {
	log    *liveLog
	fields []zapcore.Field
}

func (c *liveCore) core() zapcore.Core {
	if logger := c.log.target.Load(); logger != nil {
		return logger.Core()
	}
	return zapcore.NewNopCore()
}

// Enabled implements zapcore.Core.
func (c *liveCore) Enabled(level zapcore.Level) bool { return c.core().Enabled(level) }

// With implements zapcore.Core.
func (c *liveCore) With(fields []zapcore.Field) zapcore.Core {
	return &liveCore{log: c.log, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements zapcore.Core.
func (c *liveCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c *liveCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	// The name of the target comes first, as loggers made from it would have.
	if logger := c.log.target.Load(); logger != nil && logger.Name() != "" {
		entry.LoggerName = logger.Name() + "." + entry.LoggerName
	}
	if checked := c.core().Check(entry, nil); checked != nil {
		checked.Write(append(c.fields[:len(c.fields):len(c.fields)], fields...)...)
	}
	return nil
}

// Sync implements zapcore.Core.
func (c *liveCore) Sync() error { return c.core().Sync() }
