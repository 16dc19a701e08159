// Command logbook is a session backend: one process for each document, in which
// everybody writes at once. It keeps the document in memory, tells all who are
// connected of each change, and saves it to a file.
//
//	LOGBOOKS=/var/lib/logbooks SOCKET=/run/logbook.sock SESSION_BACKEND_KEY=harbour SESSION_BACKEND_FENCING_TOKEN=1 logbook
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	fence, err := strconv.ParseInt(os.Getenv("SESSION_BACKEND_FENCING_TOKEN"), 10, 64)
	if err != nil {
		log.Fatal("this is a session backend: SESSION_BACKEND_FENCING_TOKEN is not set")
	}
	file, err := open(os.Getenv("LOGBOOKS"), os.Getenv("SESSION_BACKEND_KEY"), fence)
	if err != nil {
		log.Fatal(err)
	}
	document, err := load(file)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", os.Getenv("SOCKET"))
	if err != nil {
		log.Fatal(err)
	}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: document, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(listener); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	<-asked.Done()
	// No more changes come after this.
	if err := document.close(); err != nil {
		log.Fatal(err)
	}
}
