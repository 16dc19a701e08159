//go:build unix

package process_test

import (
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

func init() { process.Register("echo", echo) }

// echo sends back what it gets.
func echo(fd int) error {
	var buffer [4096]byte
	for {
		n, err := unix.Read(fd, buffer[:])
		if n <= 0 || err != nil {
			return err
		}
		if _, err := unix.Write(fd, buffer[:n]); err != nil {
			return err
		}
	}
}

func TestEcho(t *testing.T) {
	p, err := process.Start(process.Options{Kind: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Socket().WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	var buffer [16]byte
	if n, err := p.Socket().Read(buffer[:]); err != nil || string(buffer[:n]) != "hello" {
		t.Fatalf("read %q, %v", buffer[:n], err)
	}
	p.Kill()
	<-p.Done()
	if n, err := p.Socket().Read(buffer[:]); n != 0 || err != io.EOF {
		t.Fatalf("after the end: %d bytes, %v", n, err)
	}
}
