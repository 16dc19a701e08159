package webtask

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// IssueOptions say when and how a token is issued.
type IssueOptions struct {
	Now  time.Time // required: becomes iat
	Rand io.Reader // of the token's id; nil: crypto/rand

	// AllowMaster lets Issue make a master token. Only the command line, whose
	// user holds the keys anyway, sets it. Derive never makes one.
	AllowMaster bool
}

// Issue signs a token that descends from no other: whoever calls it holds the
// keys. Errors of the claims wrap ErrClaims and are *FieldError.
func (k *Keyring) Issue(c Claims, o IssueOptions) (string, error) {
	if c.Master && !o.AllowMaster {
		return "", claimError("master", "cannot be asked for", "make master tokens with the command line: --master")
	}
	c.Ancestors = nil
	return k.issue(c, o)
}

// issue completes, checks, seals and signs claims.
func (k *Keyring) issue(c Claims, o IssueOptions) (string, error) {
	if o.Now.Unix() <= 0 {
		return "", fmt.Errorf("issuing a token: IssueOptions.Now is not set")
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if c.sealed != "" {
		return "", claimError("ectx", "belongs to the token it was read from", "give the secrets again")
	}
	c.NotBefore, c.Expires, o.Now = wholeSecond(c.NotBefore), wholeSecond(c.Expires), wholeSecond(o.Now)
	if err := c.check(); err != nil {
		return "", err
	}
	if !c.Expires.IsZero() && !c.Expires.After(o.Now) {
		return "", claimError("exp", "has passed", "write a later time, or leave it out")
	}
	var id [16]byte
	if _, err := io.ReadFull(o.Rand, id[:]); err != nil {
		return "", fmt.Errorf("issuing a token: %w", err)
	}
	c.ID, c.IssuedAt = hex.EncodeToString(id[:]), o.Now

	key := k.keys[0]
	if len(c.Secrets) > 0 {
		sealed, err := key.seal(c.Secrets, c.ID, c.Container)
		if err != nil {
			return "", fmt.Errorf("encrypting the secrets: %w", err)
		}
		c.sealed = sealed
	}
	payload, err := c.MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("writing the claims: %w", err)
	}
	jws, err := key.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing the token: %w", err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("writing the token: %w", err)
	}
	if len(token) > MaxTokenLength {
		return "", claimError("claims", fmt.Sprintf("make a token of %d bytes, more than %d", len(token), MaxTokenLength), "shorten the values of ectx, pctx or meta, or let the code fetch them")
	}
	return token, nil
}

// wholeSecond cuts t to the resolution of a claim.
func wholeSecond(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Unix(t.Unix(), 0)
}
