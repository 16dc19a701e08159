package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/evanw/esbuild/pkg/api"
)

// namespace keeps esbuild away from the disk: its own resolver and its search
// for package.json and tsconfig.json work on "file" only.
const namespace = "src"

// engineFeatures are those that goja lacks although its target has them, and
// those that it has but gets wrong: Unicode properties and sticky flags work
// only through the RegExp constructor, fields named get, set, static or async
// do not parse.
var engineFeatures = map[string]bool{
	"async-generator":                 false,
	"for-await":                       false,
	"class-field":                     false,
	"class-static-field":              false,
	"dynamic-import":                  false,
	"regexp-unicode-property-escapes": false,
	"regexp-sticky-and-unicode-flags": false,
}

// build is one run of the bundler.
type build struct {
	ctx      context.Context
	origin   origin
	turn     *turn
	external []string
	prefix   string // put in front of the entry's first line
	suffix   string // and after its last
	mu       sync.Mutex
	modules  map[string]*module // by name, those that were loaded
	failure  error              // the first error of the origin that is not about the code's text
}

// bundle turns the entry of an origin and all it imports into one script.
func bundle(ctx context.Context, o origin, external []string, among *bundlers) (*Bundle, error) {
	entry, err := o.entry(ctx)
	if err != nil {
		return nil, err
	}
	t := &turn{ctx: ctx, bundlers: among, name: entry.name}
	if err := t.begin(); err != nil {
		return nil, err
	}
	defer t.end()
	b := &build{ctx: ctx, origin: o, turn: t, external: external, modules: map[string]*module{}}
	if _, ok := o.(*inline); ok {
		if expression, ok := asExpression(entry); ok {
			b.prefix, b.suffix = "module.exports = (", "\n)"
			entry.code = expression
		}
	}
	result := api.Build(api.BuildOptions{
		EntryPoints:    []string{entry.name},
		Bundle:         true,
		Outfile:        "/bundle.js",
		AbsWorkingDir:  "/",
		Target:         api.ES2022,
		Format:         api.FormatCommonJS,
		Platform:       api.PlatformBrowser,
		Conditions:     []string{"workerd", "worker", "browser"},
		Supported:      engineFeatures,
		Define:         map[string]string{"process.env.NODE_ENV": `"production"`},
		Charset:        api.CharsetUTF8,
		LegalComments:  api.LegalCommentsNone,
		Sourcemap:      api.SourceMapExternal,
		SourcesContent: api.SourcesContentExclude,
		TsconfigRaw:    "{}",
		Metafile:       true,
		LogLevel:       api.LogLevelSilent,
		LogLimit:       20,
		Plugins:        []api.Plugin{{Name: "webtask", Setup: func(p api.PluginBuild) { b.setup(p, entry) }}},
	})
	if ctx.Err() != nil {
		return nil, &FetchError{URL: entry.name, Err: context.Cause(ctx)}
	}
	if len(result.Errors) > 0 {
		if b.failure != nil {
			return nil, b.failure
		}
		return nil, b.compileError(entry, result.Errors)
	}
	return b.finish(entry, &result)
}

func (b *build) setup(p api.PluginBuild, entry *module) {
	p.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
		if args.Kind == api.ResolveEntryPoint {
			return api.OnResolveResult{Path: entry.name, Namespace: namespace, PluginData: entry}, nil
		}
		if slices.Contains(b.external, args.Path) {
			return api.OnResolveResult{Path: args.Path, External: true}, nil
		}
		m, err := b.resolve(b.module(args.Importer), args.Path)
		switch {
		case err != nil:
			b.fail(err)
			return api.OnResolveResult{}, err
		case m != nil:
			return api.OnResolveResult{Path: m.name, Namespace: namespace, PluginData: m}, nil
		case isURL(args.Path):
			return api.OnResolveResult{}, fmt.Errorf("%q cannot be imported: imports are relative, or URLs of the entry's own origin", args.Path)
		}
		// Left to esbuild, which cannot resolve it either but lets a require
		// within try … catch pass, to fail when it runs.
		return api.OnResolveResult{}, nil
	})
	p.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: namespace}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
		m := args.PluginData.(*module)
		b.mu.Lock()
		b.modules[m.name] = m
		b.mu.Unlock()
		contents := m.code
		if m.loader != api.LoaderText && m.loader != api.LoaderJSON {
			contents = withoutMapComment(contents)
		}
		if m == entry {
			contents = b.prefix + contents + b.suffix
		}
		return api.OnLoadResult{Contents: &contents, Loader: m.loader}, nil
	})
}

// resolve asks the origin, without keeping others from bundling meanwhile.
func (b *build) resolve(importer *module, path string) (m *module, err error) {
	busy := b.turn.aside(func() { m, err = b.origin.resolve(b.ctx, importer, path) })
	if err == nil && busy != nil {
		return nil, busy
	}
	return m, err
}

func (b *build) module(name string) *module {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.modules[name]
}

// fail keeps the errors that say more than that the code is wrong; those of a
// *CompileError of another file too, for its place.
func (b *build) fail(err error) {
	var (
		fetch   *FetchError
		allowed *NotAllowedError
		large   *TooLargeError
		compile *CompileError
		busy    *BusyError
	)
	if errors.As(err, &fetch) || errors.As(err, &allowed) || errors.As(err, &busy) || errors.As(err, &large) || errors.As(err, &compile) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.failure == nil {
			b.failure = err
		}
	}
}

func isURL(specifier string) bool {
	u, err := url.Parse(specifier)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "data" || u.Scheme == "file" || u.Scheme == "blob" || (u.Scheme == "" && u.Host != ""))
}

// mapComment matches the comments by which esbuild would read a source map of
// the author's compiler: from the disk of this machine for a file: URL, and
// from JSON that no guard has seen for a data: URL.
var mapComment = regexp.MustCompile(`((?://|/\*)[#@] sourceMappingURL=)(?i:file|data):`)

func withoutMapComment(code string) string {
	if !strings.Contains(code, "sourceMappingURL=") {
		return code
	}
	return mapComment.ReplaceAllString(code, "${1}none:")
}

// returnsTop is put around a CommonJS entry, whose body esbuild leaves at top
// level, so that a top-level return works as in the first webtasks.
const (
	returnsTopHead = "var webtask_result = (function () {\n"
	returnsTopTail = "}).call(this); if (webtask_result !== undefined) module.exports = webtask_result;\n"
)

var setsESModule = regexp.MustCompile(`\bexports\b\s*(?:\.\s*|,\s*["'])__esModule\b`)

func (b *build) finish(entry *module, result *api.BuildResult) (*Bundle, error) {
	var meta struct {
		Inputs map[string]struct {
			Format string `json:"format"`
		} `json:"inputs"`
	}
	if err := json.Unmarshal([]byte(result.Metafile), &meta); err != nil {
		return nil, fmt.Errorf("bundling %s: metafile: %w", entry.name, err)
	}
	out := &Bundle{Name: entry.name, ESM: meta.Inputs[namespace+":"+entry.name].Format == "esm"}
	lines := 0
	for _, f := range result.OutputFiles {
		if strings.HasSuffix(f.Path, ".map") {
			out.Map = f.Contents
		} else {
			out.Code = string(f.Contents)
		}
	}
	if !out.ESM {
		out.ESM = setsESModule.MatchString(entry.code)
		if strings.Contains(entry.code, "return") {
			out.Code = returnsTopHead + out.Code + returnsTopTail
			lines = 1
		}
	}
	var err error
	if out.Map, err = adjustMap(out.Map, lines, len(b.prefix)); err != nil {
		return nil, fmt.Errorf("bundling %s: %w", entry.name, err)
	}

	// The map belongs to the identity: a line that was only commented moves
	// what errors point at.
	sum := sha256.Sum256(slices.Concat([]byte(out.Code), []byte{0}, out.Map))
	out.Digest = hex.EncodeToString(sum[:])
	sums := make(map[string][sha256.Size]byte, len(b.modules))
	for name, m := range b.modules {
		sums[m.pin] = m.sum
		out.Size += m.size
		if m != entry {
			out.Files = append(out.Files, name)
		}
	}
	slices.Sort(out.Files)
	out.Files = append([]string{entry.name}, out.Files...)
	out.Integrity = Integrity(sums)
	return out, nil
}

// compileError words the first of esbuild's messages for an author.
func (b *build) compileError(entry *module, messages []api.Message) error {
	msg := messages[0]
	e := &CompileError{File: entry.name, Message: msg.Text}
	switch {
	case strings.HasPrefix(msg.Text, "Could not resolve "):
		e.Message += "; only relative imports are bundled: copy the package next to the code, or bundle it beforehand"
	case strings.HasPrefix(msg.Text, "Top-level await"):
		e.Message = "top-level await is not supported; await inside the handler"
	}
	if more := len(messages) - 1; more > 0 {
		e.Message += fmt.Sprintf(" (and %d more)", more)
	}
	loc := msg.Location
	if loc == nil {
		return e
	}
	e.File = strings.TrimPrefix(loc.File, namespace+":")
	e.Line, e.Column = loc.Line, column(loc.LineText, loc.Column)
	if e.File == entry.name && e.Line == 1 {
		e.Column = max(e.Column-len(b.prefix), 1)
	}
	if m := b.module(e.File); m != nil {
		e.Frame = codeFrame(m.code, e.Line, e.Column)
	}
	return e
}

// statementEnd is what may follow an expression that is written as a
// statement.
var statementEnd = regexp.MustCompile(`[;\s]*(?:;[;\s]*(?://[^\n]*\n?\s*)*)?$`)

// asExpression returns inline code without what ends the statement, if it is a
// single expression.
func asExpression(m *module) (string, bool) {
	options := api.TransformOptions{Loader: m.loader, TsconfigRaw: "{}", LogLevel: api.LogLevelSilent}
	for _, code := range []string{strings.TrimRight(m.code, "; \t\r\n"), statementEnd.ReplaceAllString(m.code, "")} {
		if len(api.Transform("("+withoutMapComment(code)+"\n)", options).Errors) == 0 {
			return code, true
		}
	}
	return "", false
}
