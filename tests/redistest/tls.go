package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

const caFile = "ca.pem"

// StartTLS starts a standalone server that speaks TLS only, by a certificate
// for 127.0.0.1 that it signed itself: CAPath. It asks clients for no certificate. args are as those of Start.
func StartTLS(t testing.TB, args ...string) *Server {
	t.Helper()
	certPEM, keyPEM := selfSigned(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	dir := t.TempDir()
	cert := writeFile(t, dir, caFile, string(certPEM))
	key := writeFile(t, dir, "key.pem", string(keyPEM))
	return start(t, kind{
		ready: readyLine,
		args: append([]string{
			"--save", "", "--appendonly", "no",
			"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no",
		}, args...),
		caPath: cert,
		tls:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	})
}

// CAPath is the PEM file with the certificate that the certificate of a server
// of StartTLS chains to.
func (s *Server) CAPath() string { return s.caPath }

func selfSigned(t testing.TB) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "redistest"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}
