package source

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// diskCache keeps records in a folder, one file each: a line of JSON, then the
// bytes of the author's file. The name is the sha256 of the URL; the
// modification time is when the origin last confirmed the content. Files are
// written beside and renamed, so that another process, or one that died, never
// leaves half of one; what a power failure leaves, the digest tells.
type diskCache struct {
	dir  string
	max  int64
	log  *zap.Logger
	mu   sync.Mutex
	size int64 // an estimate; counted when it passes max, and at the start
}

// diskHead is the first line of a cache file.
type diskHead struct {
	record
	SHA256 string `json:"sha256"`
}

func openDiskCache(dir string, max int64, log *zap.Logger) (*diskCache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("code cache: %w", err)
	}
	d := &diskCache{dir: dir, max: max, log: log}
	d.prune()
	return d, nil
}

func (d *diskCache) path(url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(d.dir, hex.EncodeToString(sum[:]))
}

// load returns the record of a URL, or nil. A file that is not what was
// written is removed.
func (d *diskCache) load(url string) *record {
	path := d.path(url)
	raw, err := os.ReadFile(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("code cache cannot be read", zap.Error(err))
		}
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	r, err := decodeRecord(raw, url)
	if err != nil {
		d.log.Warn("dropping a damaged entry of the code cache", zap.String("file", path), zap.Error(err))
		os.Remove(path)
		return nil
	}
	r.Validated = info.ModTime()
	return r
}

func decodeRecord(raw []byte, url string) (*record, error) {
	line, body, found := bytes.Cut(raw, []byte("\n"))
	var head diskHead
	if !found || json.Unmarshal(line, &head) != nil {
		return nil, errors.New("its head is malformed")
	}
	sum := sha256.Sum256(body)
	if head.URL != url || head.SHA256 != hex.EncodeToString(sum[:]) {
		return nil, errors.New("its content does not match its digest")
	}
	r := head.record
	r.Sum, r.Body, r.stored = sum, body, true
	return &r, nil
}

// keep brings the cache to what the origin serves. The cache is a help: an
// error is logged, not returned.
func (d *diskCache) keep(r *record) {
	if r.stored && (!r.renewed || os.Chtimes(d.path(r.URL), r.Validated, r.Validated) == nil) {
		return
	}
	if err := d.write(r); err != nil {
		d.log.Warn("code cache cannot be written", zap.Error(err))
		return
	}
	r.stored = true
	d.mu.Lock()
	d.size += int64(len(r.Body))
	full := d.size > d.max
	d.mu.Unlock()
	if full {
		d.prune()
	}
}

func (d *diskCache) write(r *record) error {
	head, err := json.Marshal(diskHead{record: *r, SHA256: hex.EncodeToString(r.Sum[:])})
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(d.dir, tempPrefix+"*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(slices.Concat(head, []byte("\n"), r.Body))
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chtimes(file.Name(), r.Validated, r.Validated)
	}
	if err == nil {
		err = os.Rename(file.Name(), d.path(r.URL))
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

const tempPrefix = "tmp-"

// prune counts the cache and removes what was confirmed longest ago until a
// tenth of it is free.
func (d *diskCache) prune() {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		d.log.Warn("code cache cannot be read", zap.Error(err))
		return
	}
	var files []fs.FileInfo
	d.size = 0
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		files = append(files, info)
		d.size += info.Size()
	}
	if d.size <= d.max {
		return
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range files {
		if d.size <= d.max-d.max/10 {
			return
		}
		if os.Remove(filepath.Join(d.dir, info.Name())) == nil {
			d.size -= info.Size()
		}
	}
}

// usableUntil is when a record may no longer be used, confirmed or not.
func (r *record) usableUntil(maxAge, staleFor time.Duration) time.Time {
	return r.Validated.Add(maxAge + staleFor)
}
