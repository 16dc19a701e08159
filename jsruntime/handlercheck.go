package jsruntime

import (
	"regexp"
	"strings"
)

var (
	// exportsSomehow matches what code needs to export or return anything,
	// directly or by building the words for it; and what throws says more itself
	// of what is wrong.
	exportsSomehow = regexp.MustCompile(`\b(exports|module|return|arguments|eval|Function|constructor|throw)\b`)

	// exportsDefault matches a default export of a module as the bundler writes
	// it, or one that comes from elsewhere.
	exportsDefault = regexp.MustCompile(`\bdefault\b|\b__reExport\(`)
)

// CheckHandler reports a script that cannot have a handler, whatever it does
// when it runs: an empty file, one that exports nothing, a module without a
// default export. The error is the *ScriptError that running it would give.
// That a script passes means little: only running it tells what it exports.
func CheckHandler(script Script) error {
	switch {
	case strings.TrimSpace(script.Code) == "":
		return badHandler(errNoFunction)
	case script.ESM && !exportsDefault.MatchString(script.Code):
		return badHandler(errNoFetch)
	case !exportsSomehow.MatchString(script.Code):
		return badHandler(errNoFunction)
	}
	return nil
}
