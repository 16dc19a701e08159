package caddymodule

import (
	"errors"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/parser"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// celMatch is what the macro webtask_token expands to.
const celMatch = "webtask_token_match_string"

// CELLibrary makes the matcher usable in expressions:
//
//	expression webtask_token() || webtask_token('acme')
//
// caddyhttp.CELMatcherImpl knows no matchers without arguments, so that the
// macro is our own: it writes an empty container where there is none.
func (*MatchToken) CELLibrary(ctx caddy.Context) (cel.Library, error) {
	makeMatcher := func(data ref.Val) (caddyhttp.RequestMatcherWithError, error) {
		container, ok := data.Value().(string)
		if !ok {
			return nil, errors.New("webtask_token takes the name of a container")
		}
		matcher := &MatchToken{Container: container}
		return matcher, matcher.Provision(ctx)
	}
	return caddyhttp.NewMatcherCELLibrary(
		[]cel.EnvOption{
			cel.Macros(parser.NewGlobalVarArgMacro("webtask_token", expandToken)),
			cel.Function(celMatch,
				cel.Overload(celMatch, []*cel.Type{cel.ObjectType("http.Request"), cel.StringType}, cel.BoolType),
				cel.SingletonBinaryBinding(caddyhttp.CELMatcherRuntimeFunction(celMatch, makeMatcher)),
			),
		},
		[]cel.ProgramOption{cel.CustomDecorator(caddyhttp.CELMatcherDecorator(celMatch, makeMatcher))},
	), nil
}

func expandToken(eh parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	var container ast.Expr
	switch {
	case len(args) == 0:
		container = eh.NewLiteral(types.String(""))
	case len(args) == 1 && args[0].Kind() == ast.LiteralKind:
		container = args[0]
	default:
		return nil, eh.NewError(0, "webtask_token takes one container at most, as a string")
	}
	return eh.NewCall(celMatch, eh.NewIdent(caddyhttp.CELRequestVarName), container), nil
}

// Interface guard
var _ caddyhttp.CELLibraryProducer = (*MatchToken)(nil)
