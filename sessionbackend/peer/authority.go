package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"
)

// Authority certifies edges, and tells those of the same authority from others. It
// is the same wherever it is made of the same secrets.
type Authority struct {
	roots  *x509.CertPool // one of each secret
	issuer *x509.Certificate
	key    ed25519.PrivateKey // of the issuer
}

// Certificates do not end while there are edges: what ends them is that the keyring
// of all edges has other keys.
var (
	validFrom = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	validTill = time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
)

// NewAuthority returns the authority of secrets of 32 bytes each: the first
// certifies, certificates of all are accepted.
func NewAuthority(secrets [][]byte) (*Authority, error) {
	if len(secrets) == 0 {
		return nil, errors.New("the authority of edges: there is no secret")
	}
	a := &Authority{roots: x509.NewCertPool()}
	for i, secret := range secrets {
		if len(secret) != ed25519.SeedSize {
			return nil, fmt.Errorf("the authority of edges: a secret has %d bytes, not %d", len(secret), ed25519.SeedSize)
		}
		key := ed25519.NewKeyFromSeed(secret)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "session backends"},
			NotBefore: validFrom, NotAfter: validTill,
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return nil, fmt.Errorf("the authority of edges: %w", err)
		}
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("the authority of edges: %w", err)
		}
		a.roots.AddCert(root)
		if i == 0 {
			a.issuer, a.key = root, key
		}
	}
	return a, nil
}

const uriScheme = "webtask-edge"

// certify returns a certificate of an edge, with a key that is made for it and kept
// nowhere.
func (a *Authority) certify(of Identity) (*tls.Certificate, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certifying an edge: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("certifying an edge: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: of.Node},
		NotBefore: validFrom, NotAfter: validTill,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{{Scheme: uriScheme, Host: of.Life, Path: "/" + of.Node}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.issuer, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("certifying an edge: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// verify returns whose certificate was shown on a connection.
func (a *Authority) verify(state tls.ConnectionState, usage x509.ExtKeyUsage) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, errors.New("the other end has shown no certificate")
	}
	shown := state.PeerCertificates[0]
	if _, err := shown.Verify(x509.VerifyOptions{Roots: a.roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return Identity{}, fmt.Errorf("the other end has other keys: %w", err)
	}
	if len(shown.URIs) != 1 || shown.URIs[0].Scheme != uriScheme {
		return Identity{}, errors.New("the certificate of the other end is of no edge")
	}
	return Identity{Node: strings.TrimPrefix(shown.URIs[0].Path, "/"), Life: shown.URIs[0].Host}, nil
}

// serverTLS is how an edge is talked to.
func (a *Authority) serverTLS(self Identity) (*tls.Config, error) {
	certificate, err := a.certify(self)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*certificate}, NextProtos: []string{"http/1.1"},
		ClientAuth: tls.RequireAnyClientCert, // which is verified below, also of resumed connections
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := a.verify(state, x509.ExtKeyUsageClientAuth)
			return err
		},
	}, nil
}

// clientTLS is how an edge talks to another.
func (a *Authority) clientTLS(certificate *tls.Certificate, other Identity) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*certificate}, NextProtos: []string{"http/1.1"},
		InsecureSkipVerify: true, //nolint:gosec // names of hosts say nothing here; VerifyConnection looks at who it is
		VerifyConnection: func(state tls.ConnectionState) error {
			found, err := a.verify(state, x509.ExtKeyUsageServerAuth)
			if err == nil && found != other {
				err = fmt.Errorf("it is %s in its life %s now, and not %s in %s", found.Node, found.Life, other.Node, other.Life)
			}
			return err
		},
	}
}
