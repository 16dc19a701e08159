package sessionstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// RedisTLS names the files of a TLS configuration.
type RedisTLS struct {
	// CAFile has the PEM certificates that a server's certificate must chain
	// to. Default: the system's.
	CAFile string

	// CertFile and KeyFile, PEM, are shown to servers that ask for a client
	// certificate.
	CertFile, KeyFile string

	// ServerName is the name that a server's certificate must have. Default:
	// the host of its address.
	ServerName string
}

// Config reads the files. The result requires TLS 1.2.
func (t RedisTLS) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("redis store: reading the CA file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("redis store: CA file %s has no PEM certificate", t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("redis store: a client certificate needs both its certificate file and its key file")
	}
	if t.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("redis store: loading the client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}
