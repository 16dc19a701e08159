package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"path"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// module is a Module with what the edge alone needs to know of it.
type module struct {
	Module
	pin  string            // how integrity names it
	sum  [sha256.Size]byte // of the bytes as fetched
	size int64             // of the same
}

// origin finds the modules of one task, for one attempt at loading it. Its
// methods may be called concurrently.
type origin interface {
	// entry returns the module that the task names.
	entry(ctx context.Context) (*module, error)

	// resolve returns the module that a specifier means within importer. A nil
	// module says that the specifier is bare.
	resolve(ctx context.Context, importer *module, specifier string) (*module, error)
}

// newModule takes the bytes of a file.
func newModule(name, pin string, raw []byte, loader api.Loader) (*module, error) {
	m := &module{
		Module: Module{Name: name, Code: string(bytes.TrimPrefix(raw, []byte("\ufeff"))), Loader: loader},
		pin:    pin,
		sum:    sha256.Sum256(raw),
		size:   int64(len(raw)),
	}
	if loader == api.LoaderText {
		return m, nil
	}
	if err := CheckNesting(m.Code); err != nil {
		if ce, ok := err.(*CompileError); ok {
			ce.File = name
		}
		return nil, err
	}
	return m, nil
}

// loaderOf chooses how a file is read by its extension, else by the media type
// it came with.
func loaderOf(name, mediaType string) api.Loader {
	switch strings.ToLower(path.Ext(name)) {
	case ".ts", ".mts", ".cts":
		return api.LoaderTS
	case ".tsx":
		return api.LoaderTSX
	case ".jsx":
		return api.LoaderJSX
	case ".json":
		return api.LoaderJSON
	case ".txt":
		return api.LoaderText
	case ".js", ".mjs", ".cjs":
		return api.LoaderJS
	}
	switch mediaType {
	case "application/typescript", "text/typescript", "application/x-typescript":
		return api.LoaderTS
	case "application/json":
		return api.LoaderJSON
	}
	return api.LoaderJS
}

// candidates lists what a relative specifier may mean, the path itself first:
// with an extension added, an index file of a folder, or the TypeScript source
// behind the name of its output.
func candidates(p string) []string {
	list := []string{p}
	switch ext := path.Ext(p); ext {
	case ".js", ".mjs", ".cjs":
		stem := strings.TrimSuffix(p, ext)
		list = append(list, stem+"."+strings.Replace(ext[1:], "j", "t", 1))
		if ext == ".js" {
			list = append(list, stem+".tsx", stem+".jsx")
		}
	case ".ts", ".mts", ".cts", ".tsx", ".jsx", ".json", ".txt":
	default:
		for _, ext := range []string{".js", ".ts", ".json", ".mjs", ".tsx", ".jsx", "/index.js", "/index.ts"} {
			list = append(list, strings.TrimSuffix(p, "/")+ext)
		}
	}
	return list
}

// isRelative reports whether a specifier is a path and not the name of a
// package.
func isRelative(specifier string) bool {
	return strings.HasPrefix(specifier, "./") || strings.HasPrefix(specifier, "../") ||
		specifier == "." || specifier == ".." || strings.HasPrefix(specifier, "/")
}

// htmlPage is the error for a page where code was expected: an error page, a
// login, a repository's file viewer.
func htmlPage(name string) error {
	return &CompileError{File: name, Message: "the URL answers an HTML page, not JavaScript; use the address of the file itself (the raw file, not the page that shows it)"}
}

// isHTML recognises a page whatever type it was served with. No script starts
// like this.
func isHTML(raw []byte) bool {
	head := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(raw[:min(len(raw), 512)], []byte("\ufeff")), " \t\r\n"))
	for _, start := range []string{"<!doctype html", "<html", "<head", "<body", "<?xml"} {
		if bytes.HasPrefix(head, []byte(start)) {
			return true
		}
	}
	return false
}

// inline is the origin of code that is written in the configuration.
type inline struct {
	code   string
	loader api.Loader
}

func (o *inline) entry(context.Context) (*module, error) {
	return newModule("inline", "inline", []byte(o.code), o.loader)
}

func (o *inline) resolve(_ context.Context, _ *module, specifier string) (*module, error) {
	if isRelative(specifier) {
		return nil, fmt.Errorf("inline code cannot import %q: it has no folder; put the code into a file", specifier)
	}
	return nil, nil
}
