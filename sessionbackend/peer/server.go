package peer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// ServerOptions configure a Server. All but Logger are needed.
type ServerOptions struct {
	Self      Identity
	Authority *Authority

	// Serve answers a request of another edge with Forward, or returns why not: a
	// *Refusal, or an error that is logged.
	Serve func(w http.ResponseWriter, r *http.Request, request Request) error

	Logger *zap.Logger // default: none
}

// Server serves other edges. It is safe for concurrent use.
type Server struct {
	options ServerOptions
	tls     atomic.Pointer[tls.Config]
	http    *http.Server
}

// NewServer returns a server.
func NewServer(options ServerOptions) (*Server, error) {
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	s := &Server{options: options}
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: headerTimeout, IdleTimeout: serverIdle,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(logWriter{options.Logger}, "", 0),
	}
	return s, s.SetAuthority(options.Authority)
}

const (
	headerTimeout = 10 * time.Second
	serverIdle    = 2 * clientIdle // the client closes first, and meets no closed connection
	maxHeader     = 2 << 20        // the client's own server has bounded them
)

// SetAuthority changes the authority for connections made from now on.
func (s *Server) SetAuthority(a *Authority) error {
	config, err := a.serverTLS(s.options.Self)
	if err != nil {
		return err
	}
	s.tls.Store(config)
	return nil
}

// Serve takes connections until Close.
func (s *Server) Serve(listener net.Listener) error {
	err := s.http.Serve(tls.NewListener(listener, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.tls.Load(), nil },
	}))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends all connections, at once when ctx ends.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	return errors.Join(err, s.http.Close())
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(requestHeader) == "" { // it is asked whether it is there
		w.Header().Set(answerHeader, ofEdge)
		return
	}
	var request Request
	err := request.take(r.Header)
	if err != nil {
		err = &Refusal{Status: http.StatusBadRequest, Message: "the other edge does not understand the request"}
	} else {
		err = s.options.Serve(w, r, request)
	}
	if err == nil {
		return
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		s.options.Logger.Error("serving a request of another edge", zap.String("service", request.Service), zap.Error(err))
		refusal = &Refusal{Status: http.StatusBadGateway, Message: "the session backend cannot be reached"}
	}
	header := w.Header()
	clear(header)
	header.Set(answerHeader, ofEdge)
	header.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusMisdirectedRequest)
	_ = json.NewEncoder(w).Encode(refusal) // to an edge that may be gone
}

// logWriter has the errors of connections logged: a stranger's are no trouble.
type logWriter struct{ logger *zap.Logger }

func (l logWriter) Write(line []byte) (int, error) {
	l.logger.Debug("a connection of another edge", zap.ByteString("problem", line))
	return len(line), nil
}
