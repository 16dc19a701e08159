// Package source turns a code reference into bundled source that the runtime
// can compile: it fetches by URL, reads files, resolves imports, bundles and
// lowers with esbuild, checks integrity over every byte that runs, and caches
// in memory and on disk, so that a restart survives a dead origin.
//
//	loader, err := source.NewLoader(source.Options{
//		Transport: transport,                 // package egress
//		CacheDir:  "/var/lib/webtask/code",
//		Allow:     []string{"https://example.com/tasks/*"},
//	})
//	defer loader.Close()
//	bundle, err := loader.Load(ctx, "acme", webtask.CodeRef{Kind: webtask.CodeURL, Value: "https://example.com/tasks/hello.js"}, "", webtask.Limits{})
//
// What an author may write: JavaScript or TypeScript (.ts, .mts, .cts, .tsx,
// or a TypeScript content type), JSX (.jsx, .tsx), ES modules or CommonJS,
// JSON imports. Imports are relative, or absolute within the same origin; for
// files they stay within the folder of the entry and those below it. A
// CommonJS entry may end in a top-level `return function …`, and inline code
// may be one expression: a function, or an object with a fetch method.
//
// Bundlers and parsers can be killed by their input. Options.Bundler decides
// where they work: by default in this process, for code that one trusts, with
// CheckNesting as a guard that is no sandbox; with a pool of package
// jsruntime/worker/bundler in a process of their own for each bundle. Fetching,
// reading, the allow-list and integrity stay here in either case.
package source

// Bundle is code ready to be compiled: one script, no imports left. It is
// shared and must not be changed.
type Bundle struct {
	Name      string   // the author's entry: URL (less its query), file path or "inline"
	Code      string   // a CommonJS body: it assigns module.exports; free names are module, exports, require
	Map       []byte   // source map (version 3) from Code to the author's files, without their content
	ESM       bool     // the entry uses import/export (or __esModule): the Web model
	Digest    string   // sha256 of Code and Map, hex: the identity of the program
	Integrity string   // "sha256-…" of the author's bytes, as `--integrity auto` pins them
	Files     []string // every file or URL (less its query) that went in, the entry first
	Size      int64    // bytes of those files together
	Stale     bool     // served from the cache because the origin could not be reached
}
