package source

import (
	"errors"
	"fmt"
)

// ErrClosed is returned by a Loader after Close.
var ErrClosed = errors.New("code loader is closed")

// ErrRedirects is the cause of a FetchError whose URL redirects on and on.
var ErrRedirects = errors.New("too many redirects")

// CompileError reports code that cannot be bundled: a syntax error, an import
// that does not resolve, an HTML page. Error's text is for callers; Frame
// shows the author's source and is for the log.
type CompileError struct {
	File    string // as Bundle.Files names it
	Line    int    // 1-based; 0: no place
	Column  int    // 1-based, in characters
	Message string // what is wrong, and what to do where that is known
	Frame   string // the lines around the place, with a caret; may be empty

	// Exhausted says that the compiler was ended since it took too much time or
	// memory. On a machine with less to do it may get through.
	Exhausted bool
}

func (e *CompileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// FetchError reports code that could not be had: the origin does not answer,
// answers an error or too slowly; a file cannot be read.
type FetchError struct {
	URL    string // less its query, or the file's path
	Status int    // the origin's answer; 0: none
	Err    error  // what happened instead of an answer, or nil
}

func (e *FetchError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("cannot load %s: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("cannot load %s: the origin answered %d", e.URL, e.Status)
}

func (e *FetchError) Unwrap() error { return e.Err }

// IntegrityError reports code that is not what its integrity pins.
type IntegrityError struct {
	Name      string // the entry
	Want, Got string // "sha256-…"
}

func (e *IntegrityError) Error() string {
	return fmt.Sprintf("%s is not the code that was pinned: integrity is %s, want %s; pin the new code with a new token or route", e.Name, e.Got, e.Want)
}

// NotAllowedError reports a URL that code may not come from.
type NotAllowedError struct {
	URL    string // less its query
	Reason string // why, and the remedy
}

func (e *NotAllowedError) Error() string {
	return fmt.Sprintf("code may not come from %s: %s", e.URL, e.Reason)
}

// TooLargeError reports code beyond its size limit, all files of a task
// together.
type TooLargeError struct {
	Name  string // the entry
	Limit int64  // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the code of %s is larger than code_size allows (%d bytes); make it smaller, or raise code_size", e.Name, e.Limit)
}
