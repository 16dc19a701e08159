// Package peer carries requests from the edge that has them to the edge that has
// the backend.
//
//	authority, err := peer.NewAuthority(secrets) // all edges derive the same
//
//	server, err := peer.NewServer(peer.ServerOptions{Self: self, Authority: authority, Serve: serve})
//	go server.Serve(listener)
//
//	client := peer.NewClient(peer.ClientOptions{Self: self, Authority: authority})
//	resp, err := client.RoundTrip(req, owner, peer.Request{Service: "docs", Key: "report.md", Backend: id})
//
// Connections are TLS 1.3, and both ends show certificates of one authority, whose
// keys the edges derive from what they share. A certificate says which edge it is
// of, and in which of its lives: whoever has an address that another edge has now
// is told so by the handshake. Requests go as they are, over HTTP/1.1, with a
// header that says what they are for.
package peer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Identity is an edge in one of its lives.
type Identity struct {
	Node string // its name
	Life string // that it began with, see sessionbackend.ClusterOptions
}

// Request says what a request of another edge is for.
type Request struct {
	Service string `json:"service"`
	Key     string `json:"key"`
	Backend string `json:"backend"` // id of the one that it knows of
	Client  string `json:"client"`  // address of the client

	// Pass says that the client has come with a token of that backend, of which these
	// are the user and the time of issue.
	Pass   bool   `json:"pass,omitempty"`
	User   string `json:"user,omitempty"`
	Issued int64  `json:"issued,omitempty"`
}

// requestHeader has the Request, as base64 of JSON.
const requestHeader = "Webtask-Peer-Request"

// answerHeader says whose the answer is: a backend's, or a Refusal.
const answerHeader = "Webtask-Peer-Answer"

const (
	ofBackend = "backend"
	ofEdge    = "edge"
)

func (r *Request) set(header http.Header) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("describing a request to another edge: %w", err)
	}
	header.Set(requestHeader, base64.RawURLEncoding.EncodeToString(text))
	return nil
}

func (r *Request) take(header http.Header) error {
	text, err := base64.RawURLEncoding.DecodeString(header.Get(requestHeader))
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	header.Del(requestHeader)
	return err
}

// Refusal is what an edge answers itself. It is an error.
type Refusal struct {
	// Status, Message and After are for the client; After is when to try again, 0:
	// unknown. With Status 0 the edge that asked is to look for the backend again.
	Status  int           `json:"status,omitempty"`
	Message string        `json:"message,omitempty"`
	After   time.Duration `json:"after,omitempty"`

	// Backend and Fence, if set, are of the process that has the key at that edge.
	Backend string `json:"backend,omitempty"`
	Fence   int64  `json:"fence,omitempty"`
}

func (r *Refusal) Error() string {
	if r.Status == 0 {
		return "the other edge does not have that session backend"
	}
	return "the other edge has no session backend for the request: " + r.Message
}

// RetryAfter is when to try again.
func (r *Refusal) RetryAfter() time.Duration { return r.After }

// LostError says that the other edge cannot be reached, or has not answered.
type LostError struct {
	Node  string
	Sent  bool // it may have got the request
	Cause error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the server %s, which has the session backend, cannot be reached: %v", e.Node, e.Cause)
}

func (e *LostError) Unwrap() error { return e.Cause }
