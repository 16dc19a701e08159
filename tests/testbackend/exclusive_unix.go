//go:build unix

package main

import (
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// held is kept open: the kernel gives the lock back when the process has ended.
var held *os.File

// exclusive has a file in dir say when this backend is not the only one of its key
// that is alive, or does not have a larger token than those before.
func exclusive(dir, key, fence string) {
	var err error
	held, err = os.OpenFile(filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256([]byte(key)))), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		complain(dir, "two backends of the key %s are alive, this one with the token %s: %v", key, fence, err)
	}
	text := make([]byte, 64)
	n, _ := held.ReadAt(text, 0) // it ends before
	last, _ := strconv.ParseInt(strings.TrimSpace(string(text[:n])), 10, 64)
	token, err := strconv.ParseInt(fence, 10, 64)
	if err != nil || token <= last {
		complain(dir, "a backend of the key %s has the token %s after %d", key, fence, last)
	}
	if _, err := held.WriteAt(fmt.Appendf(nil, "%32d\n", token), 0); err != nil {
		log.Fatal(err)
	}
	note(dir, "starts", "%s %s", key, fence)
}

func complain(dir, format string, args ...any) { note(dir, "complaints", format, args...) }

// note appends a line to a file.
func note(dir, name, format string, args ...any) {
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	if _, err := fmt.Fprintf(file, format+"\n", args...); err != nil {
		log.Fatal(err)
	}
}
