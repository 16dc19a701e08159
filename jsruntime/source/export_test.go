package source

// SetBundler has every Loader of this package's tests that names no Bundler of
// its own use this one.
func SetBundler(b Bundler) { bundlerOfTests = b }

var bundlerOfTests Bundler
