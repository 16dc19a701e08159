package webtask

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
)

// makeTask is what Verified.Task returns.
func (v *Verified) makeTask() (*Task, error) {
	c := &v.claims
	if !v.CanRun() {
		return nil, fmt.Errorf("%w: it names no code to run; use one that was issued with a url", ErrTokenNotAllowed)
	}
	secrets, err := v.secrets()
	if err != nil {
		return nil, err
	}
	task := &Task{
		Container: c.Container,
		Name:      c.Name,
		ID:        c.ID,
		Code:      CodeRef{Kind: CodeURL, Value: c.URL},
		Integrity: c.Integrity,
		Secrets:   secrets,
		Params:    c.Params,
		Meta:      c.Meta,
		Net:       c.Net,
		Limits:    c.Limits,
		RateLimit: c.RateLimit,
		ParseBody: ParseBodyByArity,
		MergeBody: c.MergeBody,
		Token:     v.token,
		Expires:   c.Expires,
		FromToken: true,
	}
	if c.ParseBody != nil {
		task.ParseBody = *c.ParseBody
	}
	return task, nil
}

// Key returns the isolation key of the task when it runs the program of the
// given digest: tasks of equal keys may be served by the same isolate, one
// after the other, and no others. It is the container, "/" and a digest
//
//	base64url(SHA-256(program, name, secrets, params, meta, net, lim))
//
// where each string is preceded by its length (64 bits, big-endian), each map
// and list by its size, maps are in order of their names, an absent net differs
// from an empty one, and lim is its JSON. No two different tasks encode alike.
func (t *Task) Key(programDigest string) string {
	h := keyHash{sha256.New()}
	h.text(programDigest)
	h.text(t.Name)
	h.strings(t.Secrets)
	h.strings(t.Params)
	h.strings(t.Meta)
	h.net(t.Net)
	for _, f := range limitFields {
		h.text(f.get(&t.Limits))
	}
	return t.Container + "/" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Group is the digest of what webtasks of one container must have in common to
// run in one worker process: hosts that they may call, limits, and whether the
// code came with the request. Whoever breaks out of an isolate has then gained
// nothing that its own token did not give.
func (t *Task) Group() string {
	h := keyHash{sha256.New()}
	if t.FromToken {
		h.size(1)
	} else {
		h.size(0)
	}
	h.net(t.Net)
	for _, f := range limitFields {
		h.text(f.get(&t.Limits))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// keyHash feeds values to a hash unambiguously.
type keyHash struct{ hash.Hash }

func (h keyHash) size(n int) {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], uint64(n))
	_, _ = h.Write(buf[:])
}

// net tells hosts that were not limited from none at all.
func (h keyHash) net(patterns []string) {
	if patterns == nil {
		h.size(-1)
		return
	}
	h.size(len(patterns))
	for _, pattern := range patterns {
		h.text(pattern)
	}
}

func (h keyHash) text(s string) {
	h.size(len(s))
	_, _ = io.WriteString(h, s)
}

func (h keyHash) strings(m map[string]string) {
	h.size(len(m))
	for _, name := range sortedKeys(m) {
		h.text(name)
		h.text(m[name])
	}
}

// Format writes which task it is, so that no verb of package fmt shows its
// secrets or token.
func (t Task) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "webtask.Task(%s/%s %s)", t.Container, t.Name, t.ID)
}
