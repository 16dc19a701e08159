package caddymodule

import (
	"bytes"
	"encoding/json"

	"go.uber.org/zap/zapcore"
)

// redactingObject passes the fields of an object on, redacted.
type redactingObject struct {
	zapcore.ObjectEncoder
}

func (o redactingObject) AddString(key, value string) {
	if isSecretHeader(key) {
		value = redacted
	}
	o.ObjectEncoder.AddString(key, redact(value))
}

func (o redactingObject) AddByteString(key string, value []byte) {
	o.AddString(key, string(value))
}

func (o redactingObject) AddArray(key string, m zapcore.ArrayMarshaler) error {
	if isSecretHeader(key) {
		return o.ObjectEncoder.AddArray(key, redactedArray)
	}
	return o.ObjectEncoder.AddArray(key, redactingArrayMarshaler{m})
}

func (o redactingObject) AddObject(key string, m zapcore.ObjectMarshaler) error {
	return o.ObjectEncoder.AddObject(key, redactingObjectMarshaler{m})
}

func (o redactingObject) AddReflected(key string, value any) error {
	if probe, ok := value.(*logProbe); ok {
		probe.redacted++
	}
	if isSecretHeader(key) {
		value = redacted
	}
	return o.ObjectEncoder.AddReflected(key, redactValue(value))
}

// redactedArray stands for the values of a secret header.
var redactedArray = zapcore.ArrayMarshalerFunc(func(a zapcore.ArrayEncoder) error {
	a.AppendString(redacted)
	return nil
})

// redactingArray passes the elements of an array on, redacted.
type redactingArray struct {
	zapcore.ArrayEncoder
}

func (a redactingArray) AppendString(value string) {
	a.ArrayEncoder.AppendString(redact(value))
}

func (a redactingArray) AppendByteString(value []byte) {
	a.AppendString(string(value))
}

func (a redactingArray) AppendArray(m zapcore.ArrayMarshaler) error {
	return a.ArrayEncoder.AppendArray(redactingArrayMarshaler{m})
}

func (a redactingArray) AppendObject(m zapcore.ObjectMarshaler) error {
	return a.ArrayEncoder.AppendObject(redactingObjectMarshaler{m})
}

func (a redactingArray) AppendReflected(value any) error {
	return a.ArrayEncoder.AppendReflected(redactValue(value))
}

type redactingObjectMarshaler struct{ wrapped zapcore.ObjectMarshaler }

func (m redactingObjectMarshaler) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	return m.wrapped.MarshalLogObject(redactingObject{enc})
}

type redactingArrayMarshaler struct{ wrapped zapcore.ArrayMarshaler }

func (m redactingArrayMarshaler) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	return m.wrapped.MarshalLogArray(redactingArray{enc})
}

// redactValue returns value as the encoder would write it, redacted; value
// itself when there is nothing to redact or it cannot be written at all.
func redactValue(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return value
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		return value
	}
	if clean, changed := redactDecoded(decoded); changed {
		return clean
	}
	return value
}

func redactDecoded(value any) (clean any, changed bool) {
	switch value := value.(type) {
	case string:
		clean := redact(value)
		return clean, clean != value
	case []any:
		for i, element := range value {
			clean, did := redactDecoded(element)
			value[i], changed = clean, changed || did
		}
	case map[string]any:
		for key, element := range value {
			if isSecretHeader(key) {
				value[key], changed = redacted, true
				continue
			}
			clean, did := redactDecoded(element)
			value[key], changed = clean, changed || did
		}
	}
	return value, changed
}
