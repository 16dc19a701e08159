package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// folder is the origin of code that is named by a file. Everything is read
// through an os.Root of the entry's folder, so that neither .. nor a symbolic
// link leads an import out of it. The entry itself may be a link: the operator
// named it.
type folder struct {
	named string // the entry as the operator named it, absolute
	limit int64  // bytes of all files together

	root *os.Root
	real string // the folder of the entry after links
	base string // the name of the entry in it

	mu      sync.Mutex
	size    int64
	modules map[string]*folderModule // by path relative to root, with slashes
	watch   []watched
}

type folderModule struct {
	once   sync.Once
	module *module
	err    error
}

// watched is a path that decided about a bundle, as it was found.
type watched struct {
	path string
	info fs.FileInfo       // nil: it was not there
	read time.Time         // when its content was; zero: it was not read
	sum  [sha256.Size]byte // of the content
}

func newFolder(named string, limit int64) *folder {
	return &folder{named: named, limit: limit, modules: map[string]*folderModule{}}
}

func (f *folder) close() {
	if f.root != nil {
		f.root.Close()
	}
}

func (f *folder) entry(context.Context) (*module, error) {
	if !filepath.IsAbs(f.named) {
		return nil, &FetchError{URL: f.named, Err: errors.New("the path of the file is not absolute")}
	}
	real, err := filepath.EvalSymlinks(f.named)
	f.note(watched{path: f.named})
	if err != nil {
		return nil, &FetchError{URL: f.named, Err: cause(err)}
	}
	f.real, f.base = filepath.Split(real)
	if f.root, err = os.OpenRoot(f.real); err != nil {
		return nil, &FetchError{URL: f.named, Err: cause(err)}
	}
	m, err := f.load(f.base)
	if err != nil {
		return nil, f.readError(f.named, err)
	}
	return m, nil
}

func (f *folder) resolve(_ context.Context, importer *module, specifier string) (*module, error) {
	if !isRelative(specifier) {
		return nil, nil
	}
	if strings.HasPrefix(specifier, "/") {
		return nil, fmt.Errorf("%q is an absolute path; imports of files are relative", specifier)
	}
	target := path.Join(path.Dir(importer.pin), specifier)
	if !filepath.IsLocal(filepath.FromSlash(target)) {
		return nil, fmt.Errorf("%q leaves the folder of the entry; move the file below it", specifier)
	}
	for _, candidate := range candidates(target) {
		m, err := f.load(candidate)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return nil, f.readError(candidate, err)
		}
		return m, nil
	}
	return nil, fmt.Errorf("%q was not found in %s", specifier, filepath.Dir(f.display(importer.pin)))
}

// errFolder says that a path is a directory, which an import may still mean
// the index file of.
var errFolder = errors.New("it is a folder")

func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, errFolder)
}

// load reads a file of the folder once; rel has slashes.
func (f *folder) load(rel string) (*module, error) {
	f.mu.Lock()
	fm, ok := f.modules[rel]
	if !ok {
		fm = &folderModule{}
		f.modules[rel] = fm
	}
	f.mu.Unlock()
	fm.once.Do(func() { fm.module, fm.err = f.read(rel) })
	return fm.module, fm.err
}

func (f *folder) read(rel string) (*module, error) {
	seen := watched{path: filepath.Join(f.real, filepath.FromSlash(rel)), read: time.Now()}
	defer func() { f.note(seen) }()
	info, err := f.root.Stat(filepath.FromSlash(rel))
	if err != nil {
		return nil, err
	}
	seen.info = info
	if info.IsDir() {
		return nil, errFolder
	}
	// Opening a pipe or a device would block, or read without end.
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	file, err := f.root.Open(filepath.FromSlash(rel))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f.mu.Lock()
	left := f.limit - f.size
	f.mu.Unlock()
	raw, err := io.ReadAll(io.LimitReader(file, left+1))
	if err != nil {
		return nil, err
	}
	seen.sum = sha256.Sum256(raw)
	f.mu.Lock()
	f.size += int64(len(raw))
	over := f.size > f.limit
	f.mu.Unlock()
	if over {
		return nil, &TooLargeError{Name: f.named, Limit: f.limit}
	}
	name := f.display(rel)
	return newModule(name, rel, raw, loaderOf(name, ""))
}

// display names a file below the folder that the operator named, even when
// links lead elsewhere.
func (f *folder) display(rel string) string {
	if rel == f.base {
		return f.named
	}
	return filepath.Join(filepath.Dir(f.named), filepath.FromSlash(rel))
}

func (f *folder) readError(name string, err error) error {
	var (
		large   *TooLargeError
		compile *CompileError
	)
	if errors.As(err, &large) || errors.As(err, &compile) {
		return err
	}
	return &FetchError{URL: name, Err: cause(err)}
}

// cause drops operation and path of a file error: the message names the file
// already.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// note adds a path to what is watched. The state of the entry's own name is
// taken here, since it may be a link that is pointed elsewhere.
func (f *folder) note(w watched) {
	if w.info == nil {
		w.info, _ = os.Stat(w.path)
	}
	f.mu.Lock()
	f.watch = append(f.watch, w)
	f.mu.Unlock()
}

// racyWindow is how far a modification time may lag behind the clock: within
// it a second write may leave time and size as they were.
const racyWindow = 100 * time.Millisecond

// changed reports whether a watched path is no longer as it was. A file that
// was read within the racy window of its last write is compared by content,
// once.
func (w *watched) changed() bool {
	info, err := os.Stat(w.path)
	if err != nil || w.info == nil {
		return (err == nil) != (w.info != nil)
	}
	if info.IsDir() && w.info.IsDir() {
		return false
	}
	if !os.SameFile(info, w.info) || info.Size() != w.info.Size() || !info.ModTime().Equal(w.info.ModTime()) || info.Mode() != w.info.Mode() {
		return true
	}
	if w.read.IsZero() || !info.Mode().IsRegular() || w.read.Sub(info.ModTime()) > racyWindow {
		return false
	}
	now := time.Now()
	raw, err := os.ReadFile(w.path)
	if err != nil || sha256.Sum256(raw) != w.sum {
		return true
	}
	w.read = now
	return false
}
