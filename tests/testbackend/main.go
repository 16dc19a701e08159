// Command testbackend is a session backend for tests: it says who it is, and
// does what a request asks for.
//
//	testbackend [never | exits | slow | stubborn]
//
// It listens at $SOCKET or, where there is none, at $PORT. A request that asks for
// an upgrade, a WebSocket or any other, gets what it sends back; the last part of
// another's path says what to do: events, wait, upload, crash, eat, hello, or else
// to tell who answers. The backend of the key "a" listens at $ALSO as well. With
// $EXCLUSIVE, a folder, it is noted there when there are two of a key.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// Who is what the backend knows of itself and of a request.
type Who struct {
	PID      int
	Key      string
	ID       string
	Fence    string
	Env      []string
	URI      string
	Header   http.Header
	Trailers http.Header
}

func main() {
	if dir := os.Getenv("EXCLUSIVE"); dir != "" {
		exclusive(dir, os.Getenv("SESSION_BACKEND_KEY"), os.Getenv("SESSION_BACKEND_FENCING_TOKEN"))
	}
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "never":
		<-time.After(24 * time.Hour)
	case "exits":
		fmt.Println("I do not want to")
		os.Exit(3)
	case "slow":
		<-time.After(500 * time.Millisecond)
	}
	network, address := "unix", os.Getenv("SOCKET")
	if address == "" {
		network, address = "tcp", ":"+os.Getenv("PORT")
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("serving", os.Getenv("SESSION_BACKEND_KEY"))
	if also := os.Getenv("ALSO"); also != "" && os.Getenv("SESSION_BACKEND_KEY") == "a" {
		second, err := net.Listen("unix", also)
		if err != nil {
			log.Fatal(err)
		}
		go func() { log.Fatal(http.Serve(second, http.HandlerFunc(serve))) }()
	}
	go func() {
		log.Fatal(http.Serve(listener, http.HandlerFunc(serve)))
	}()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	<-asked
	if mode == "stubborn" {
		select {}
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	switch r.Header.Get("Upgrade") {
	case "":
	case "websocket":
		echoMessages(w, r)
		return
	default:
		echo(w)
		return
	}
	switch path.Base(r.URL.Path) {
	case "events":
		w.Header().Set("Content-Type", "text/event-stream")
		for range time.Tick(20 * time.Millisecond) {
			if _, err := fmt.Fprintf(w, "data: %d\n\n", os.Getpid()); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
		}
	case "wait":
		<-r.Context().Done()
	case "upload":
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	case "hello":
		_, _ = io.WriteString(w, "hello")
	case "crash":
		os.Exit(1)
	case "eat":
		for eaten := [][]byte{}; ; {
			eaten = append(eaten, bytes.Repeat([]byte{1}, 1<<20))
		}
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		_ = json.NewEncoder(w).Encode(Who{
			PID: os.Getpid(), Key: os.Getenv("SESSION_BACKEND_KEY"), ID: os.Getenv("SESSION_BACKEND_ID"), Fence: os.Getenv("SESSION_BACKEND_FENCING_TOKEN"),
			Env: os.Environ(),
			URI: r.RequestURI, Header: r.Header, Trailers: r.Trailer,
		})
	}
}

// echoMessages sends the messages of a WebSocket back.
func echoMessages(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// echo speaks a protocol in which everything is sent back.
func echo(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(conn, buffered)
}
