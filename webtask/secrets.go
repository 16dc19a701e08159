package webtask

import (
	"fmt"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

// The claim ectx is a JWE in compact serialization (RFC 7516 §7.1), alg dir,
// enc A256GCM, over the JSON object of secrets. Its protected header repeats
// jti and ten and is authenticated; together with a key of each jti's own this
// ties it to one token, even for somebody who can sign.

// seal encrypts the secrets of the token jti for the container ten.
func (key *ringKey) seal(secrets map[string]string, jti, ten string) (string, error) {
	cek, err := key.ectxKey(jti)
	if err != nil {
		return "", err
	}
	encrypter, err := jose.NewEncrypter(jose.A256GCM,
		jose.Recipient{Algorithm: jose.DIRECT, Key: cek},
		(&jose.EncrypterOptions{}).WithHeader("jti", jti).WithHeader("ten", ten))
	if err != nil {
		return "", err
	}
	plaintext, err := marshal(secrets)
	if err != nil {
		return "", err
	}
	jwe, err := encrypter.Encrypt(plaintext)
	if err != nil {
		return "", err
	}
	return jwe.CompactSerialize()
}

// unseal decrypts what seal made. The error wraps ErrTokenSecrets.
func (key *ringKey) unseal(sealed, jti, ten string) (map[string]string, error) {
	segments := strings.Split(sealed, ".")
	for i, segment := range segments {
		// The encrypted key, the second of five, is empty under dir.
		if segment != "" && !isCanonical(segment) || (segment == "") != (i == 1) {
			return nil, fmt.Errorf("%w: they are no compact JWE", ErrTokenSecrets)
		}
	}
	jwe, err := jose.ParseEncryptedCompact(sealed,
		[]jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		return nil, fmt.Errorf("%w: they are no compact JWE of dir and A256GCM", ErrTokenSecrets)
	}
	extra := jwe.Header.ExtraHeaders
	if extra["jti"] != jti || extra["ten"] != ten {
		return nil, fmt.Errorf("%w: they were made for another token", ErrTokenSecrets)
	}
	cek, err := key.ectxKey(jti)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenSecrets, err)
	}
	plaintext, err := jwe.Decrypt(cek)
	if err != nil {
		return nil, fmt.Errorf("%w: they were made for another token, or with another key", ErrTokenSecrets)
	}
	secrets, _, ok := readStringMap(plaintext)
	if !ok {
		return nil, fmt.Errorf("%w: they are no object of strings", ErrTokenSecrets)
	}
	return secrets, nil
}
