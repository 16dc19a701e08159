package jsruntime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/parser"
)

// regexMatchTimeout bounds one match of a backtracking regular expression.
// goja cannot be interrupted while regexp2 matches.
const regexMatchTimeout = 100 * time.Millisecond

// regexp2 reads its default when an expression is compiled, from several
// goroutines at once, so it has to be set before there are any.
func init() { regexp2.DefaultMatchTimeout = regexMatchTimeout }

// Program is a compiled script. It is not bound to an isolate: all isolates of
// a process share it.
type Program struct {
	Name   string // the author's entry, as errors name it
	Digest string // identity: sha256 of the code, hex
	ESM    bool   // uses the Web model

	// Script is what the program is compiled from, when that is left to the
	// process that runs it; else nil.
	Script *Script

	code    *goja.Program
	sources *sourceFiles
	size    int64 // bytes of source, from which the heap of an isolate is estimated
}

// NewProgram returns a program that is not compiled here.
func NewProgram(script Script) *Program {
	return &Program{Name: script.Name, Digest: digestOf(script), ESM: script.ESM, Script: &script, size: int64(len(script.Code))}
}

func digestOf(script Script) string {
	if script.Digest != "" {
		return script.Digest
	}
	sum := sha256.Sum256([]byte(script.Code))
	return hex.EncodeToString(sum[:])
}

// Compile parses and compiles a script without running it. A syntax error is a
// *ScriptError of KindCompile. Goja's parser recurses without bound, so deeply
// nested code must have been refused before.
func (e *Engine) Compile(ctx context.Context, script Script) (program *Program, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	start := e.clock.Now()
	program, err = compile(script)
	if e.observer != nil {
		e.observer.Compiled(e.clock.Now().Sub(start), err)
	}
	return program, err
}

// CheckScript returns the error of compiling a script, and keeps nothing. It
// needs no engine, so that a process which exists only to try it can be as
// small as can be.
func CheckScript(script Script) error {
	_, err := compile(script)
	return err
}

func compile(script Script) (program *Program, err error) {
	defer func() {
		if x := recover(); x != nil {
			program, err = nil, fmt.Errorf("compiling %s: the engine failed: %v", script.Name, x)
		}
	}()
	sources, err := newSourceFiles(script)
	if err != nil {
		return nil, err
	}
	tree, err := parseModule(script.Name, script.Code, sources)
	if err != nil {
		return nil, compileError(err, sources)
	}
	code, err := goja.CompileAST(tree, false)
	if err != nil {
		return nil, compileError(err, sources)
	}
	return &Program{
		Name:    script.Name,
		Digest:  digestOf(script),
		ESM:     script.ESM,
		code:    code,
		sources: sources,
		size:    int64(len(script.Code)),
	}, nil
}

const (
	wrapperHead = "(function (exports, require, module) {"
	wrapperTail = "\n})"
)

// parseModule parses code as the body of a CommonJS module function; the
// program's value is that function. The body is grafted into a wrapper that
// was parsed apart, so that positions are those of code itself. A top-level
// return is legal in a function only, so code that has one is wrapped as text.
func parseModule(name, code string, sources *sourceFiles) (*ast.Program, error) {
	tree, err := parser.ParseFile(nil, name, code, 0, parser.WithDisableSourceMaps)
	if err != nil && strings.Contains(err.Error(), "Illegal return statement") {
		text := wrapperHead + code + wrapperTail
		if sources.consumer != nil {
			text = wrapperHead + "\n" + code + wrapperTail
			if err := sources.shiftLine(); err != nil {
				return nil, err
			}
		}
		tree, err = parser.ParseFile(nil, name, text, 0, parser.WithDisableSourceMaps)
		if err == nil {
			tree.File.SetSourceMap(sources.consumer)
		}
		return tree, err
	}
	if err != nil {
		return nil, err
	}
	wrapper, err := parser.ParseFile(nil, name, wrapperHead+wrapperTail, 0, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, err
	}
	function := wrapper.Body[0].(*ast.ExpressionStatement).Expression.(*ast.FunctionLiteral)
	function.Body.List = tree.Body
	function.DeclarationList = tree.DeclarationList
	tree.File.SetSourceMap(sources.consumer)
	wrapper.File = tree.File
	return wrapper, nil
}

const maxCompileMessage = 2000

// compileError turns what goja's parser or compiler found into a ScriptError
// at the author's position.
func compileError(err error, sources *sourceFiles) error {
	message, position := err.Error(), file.Position{}
	var list parser.ErrorList
	var syntax *goja.CompilerSyntaxError
	switch {
	case errors.As(err, &list) && len(list) > 0:
		message, position = list[0].Message, sources.original(list[0].Position)
	case errors.As(err, &syntax):
		message = syntax.Message
		if syntax.File != nil {
			position = syntax.File.Position(syntax.Offset)
		}
	}
	if len(message) > maxCompileMessage { // it quotes the code
		message = strings.ToValidUTF8(message[:maxCompileMessage], "") + "…"
	}
	stack, frame := "", ""
	if position.Line > 0 {
		stack = fmt.Sprintf("SyntaxError: %s\n\tat %s", message, position)
		frame = sources.frame(position)
	}
	return NewCompileError(message, stack, frame)
}

// NewCompileError returns the error of a script that does not compile.
func NewCompileError(message, stack, frame string) *ScriptError {
	return &ScriptError{
		Kind:    KindCompile,
		Status:  statusBadCode,
		Summary: "Compilation failed:",
		Name:    "SyntaxError",
		Message: message,
		Details: "SyntaxError: " + message,
		Stack:   stack,
		Frame:   frame,
	}
}
