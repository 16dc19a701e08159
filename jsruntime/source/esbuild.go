package source

import (
	"context"
	"encoding/json"
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

// InProcess is the Bundler that works in this process, which its input can
// kill.
type InProcess struct{}

// run is one run of esbuild.
type run struct {
	ctx    context.Context
	job    *Job
	entry  *Module
	prefix string // put in front of the entry's first line
	suffix string // and after its last

	mu         sync.Mutex
	modules    map[string]*Module // by name, those that were loaded
	imports    int
	specifiers int // bytes of them
}

// Bundle implements Bundler. It ends early only while it waits for imports.
func (InProcess) Bundle(ctx context.Context, job *Job) (*Output, error) {
	if job.Begin != nil {
		if err := job.Begin(); err != nil {
			return nil, err
		}
	}
	entry := *job.Entry
	r := &run{ctx: ctx, job: job, entry: &entry, modules: map[string]*Module{}}
	if job.Inline {
		if expression, ok := asExpression(&entry); ok {
			r.prefix, r.suffix = "module.exports = (", "\n)"
			entry.Code = expression
		}
	}
	result := api.Build(api.BuildOptions{
		EntryPoints:    []string{entry.Name},
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
		Plugins:        []api.Plugin{{Name: "webtask", Setup: r.setup}},
	})
	if len(result.Errors) > 0 {
		return nil, r.compileError(result.Errors)
	}
	out, err := r.output(&result)
	if err != nil {
		return nil, fmt.Errorf("bundling %s: %w", entry.Name, err)
	}
	return out, out.Fits(job)
}

func (r *run) setup(p api.PluginBuild) {
	p.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
		if args.Kind == api.ResolveEntryPoint {
			return api.OnResolveResult{Path: r.entry.Name, Namespace: namespace, PluginData: r.entry}, nil
		}
		if slices.Contains(r.job.External, args.Path) {
			return api.OnResolveResult{Path: args.Path, External: true}, nil
		}
		if err := r.count(args.Path); err != nil {
			return api.OnResolveResult{}, err
		}
		m, err := r.job.Resolve(r.ctx, args.Importer, args.Path)
		switch {
		case err != nil:
			return api.OnResolveResult{}, err
		case m != nil && m.Name == r.entry.Name:
			return api.OnResolveResult{Path: m.Name, Namespace: namespace, PluginData: r.entry}, nil
		case m != nil:
			return api.OnResolveResult{Path: m.Name, Namespace: namespace, PluginData: m}, nil
		case isURL(args.Path):
			return api.OnResolveResult{}, fmt.Errorf("%q cannot be imported: imports are relative, or URLs of the entry's own origin", args.Path)
		}
		// Left to esbuild, which cannot resolve it either but lets a require
		// within try … catch pass, to fail when it runs.
		return api.OnResolveResult{}, nil
	})
	p.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: namespace}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
		m := args.PluginData.(*Module)
		r.mu.Lock()
		r.modules[m.Name] = m
		r.mu.Unlock()
		contents := m.Code
		if m.Loader != api.LoaderText && m.Loader != api.LoaderJSON {
			contents = withoutMapComment(contents)
		}
		if m == r.entry {
			contents = r.prefix + contents + r.suffix
		}
		return api.OnLoadResult{Contents: &contents, Loader: m.Loader}, nil
	})
}

// count keeps to the bounds of imports.
func (r *run) count(specifier string) error {
	if len(specifier) > MaxSpecifier {
		return fmt.Errorf("an import of %d bytes cannot be resolved: imports are relative, or URLs of the entry's own origin, of at most %d bytes", len(specifier), MaxSpecifier)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.imports++
	r.specifiers += len(specifier)
	if r.imports > MaxImports || r.specifiers > MaxSpecifierBytes {
		return fmt.Errorf("there are more than %d imports, or they are longer than %d bytes together; bundle the code beforehand", MaxImports, MaxSpecifierBytes)
	}
	return nil
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

func (r *run) output(result *api.BuildResult) (*Output, error) {
	var meta struct {
		Inputs map[string]struct {
			Format string `json:"format"`
		} `json:"inputs"`
	}
	if err := json.Unmarshal([]byte(result.Metafile), &meta); err != nil {
		return nil, fmt.Errorf("metafile: %w", err)
	}
	out := &Output{ESM: meta.Inputs[namespace+":"+r.entry.Name].Format == "esm"}
	var sourceMap []byte
	for _, f := range result.OutputFiles {
		if strings.HasSuffix(f.Path, ".map") {
			sourceMap = f.Contents
		} else {
			out.Code = string(f.Contents)
		}
	}
	lines := 0
	if !out.ESM {
		out.ESM = setsESModule.MatchString(r.entry.Code)
		if strings.Contains(r.entry.Code, "return") {
			out.Code = returnsTopHead + out.Code + returnsTopTail
			lines = 1
		}
	}
	var err error
	out.Map, err = adjustMap(sourceMap, lines, len(r.prefix))
	return out, err
}

// maxMessage bounds a message, which may quote the code.
const maxMessage = 2000

// compileError words the first of esbuild's messages for an author.
func (r *run) compileError(messages []api.Message) error {
	msg := messages[0]
	e := &CompileError{File: r.entry.Name, Message: msg.Text}
	if len(e.Message) > maxMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxMessage], "") + "…"
	}
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
	file := strings.TrimPrefix(loc.File, namespace+":")
	r.mu.Lock()
	known := r.modules[file] != nil
	r.mu.Unlock()
	if !known {
		return e
	}
	e.File, e.Line, e.Column = file, loc.Line, column(loc.LineText, loc.Column)
	if e.File == r.entry.Name && e.Line == 1 {
		e.Column = max(e.Column-len(r.prefix), 1)
	}
	return e
}

// statementEnd is what may follow an expression that is written as a
// statement.
var statementEnd = regexp.MustCompile(`[;\s]*(?:;[;\s]*(?://[^\n]*\n?\s*)*)?$`)

// asExpression returns inline code without what ends the statement, if it is a
// single expression.
func asExpression(m *Module) (string, bool) {
	options := api.TransformOptions{Loader: m.Loader, TsconfigRaw: "{}", LogLevel: api.LogLevelSilent}
	for _, code := range []string{strings.TrimRight(m.Code, "; \t\r\n"), statementEnd.ReplaceAllString(m.Code, "")} {
		if len(api.Transform("("+withoutMapComment(code)+"\n)", options).Errors) == 0 {
			return code, true
		}
	}
	return "", false
}
