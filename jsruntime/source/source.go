// Package source turns a code reference into bundled source that the runtime
// can compile: it fetches by URL, reads files, resolves imports, bundles and
// lowers with esbuild, checks integrity over every byte that runs, and caches
// in memory and on disk, so that a restart survives a dead origin.
package source

// Bundle is code ready to be compiled: one script, no imports left.
type Bundle struct {
	Name      string   // the author's entry: URL, file path or "inline"
	Code      string   // a CommonJS body: it assigns module.exports
	Map       []byte   // source map (version 3) from Code to the author's files
	ESM       bool     // the entry uses import/export (or __esModule): the Web model
	Digest    string   // sha256 of Code, hex: the identity of the program
	Integrity string   // "sha256-…" of the author's bytes, as `--integrity auto` pins them
	Files     []string // every file or URL that went in, the entry first
	Stale     bool     // served from the cache because the origin could not be reached
}
