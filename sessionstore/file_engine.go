package sessionstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Buckets of the file. Numbers in keys are big-endian, so that they sort.
var (
	bucketMeta             = []byte("meta")              // metaFormat
	bucketSessions         = []byte("sessions")          // container "/" id → record; the sequence gives versions
	bucketExpiry           = []byte("session_expiry")    // container "/" ms id → nothing
	bucketCounts           = []byte("session_counts")    // container → number of records
	bucketRevoked          = []byte("revoked")           // jti → cursor, ms of its end (0: never)
	bucketRevocationLog    = []byte("revocation_log")    // cursor → jti; the sequence gives cursors
	bucketRevocationExpiry = []byte("revocation_expiry") // ms cursor → jti
	bucketRates            = []byte("rates")             // key "/" period → window, count

	metaFormat          = []byte("format")
	metaFirstRevocation = []byte("first_revocation") // the cursor before the first
)

// fileFormat is the layout of the file. A file of another is not touched.
const fileFormat = 1

const (
	// maxBatch bounds the changes of one commit.
	maxBatch = 1024

	// tickEvery is how often the writer, if it has nothing to do, sweeps what
	// has expired and saves the rate windows.
	tickEvery = 5 * time.Second
)

// settings are those of a File.
type settings struct {
	path        string
	openTimeout time.Duration
	now         func() time.Time
	logger      *zap.Logger
	tick        <-chan time.Time // of upkeep; nil: a ticker of tickEvery
}

// engine is an open file and its writer: one goroutine through which all changes
// go. It takes whatever waits into one transaction, so that while one commit
// is being synced to the disk the next one's changes gather, and the latency of
// a change is that of a commit, without any delay to wait for company.
type engine struct {
	settings
	db      *bolt.DB
	rates   *rateTable
	sweeper sweeper
	changes chan *pendingChange

	stopOnce sync.Once
	stop     chan struct{} // closed: no more changes
	done     chan struct{} // closed: the writer has ended and the file is released
	closeErr error         // written before done is closed
}

// pendingChange is one caller's change on its way to the disk.
type pendingChange struct {
	ctx   context.Context
	apply func(tx *bolt.Tx) error
	done  chan error // buffered
}

func openEngine(s settings) (_ *engine, err error) {
	path := s.path
	// bbolt panics on some kinds of damage that its checksums do not see.
	defer func() {
		if damage := recover(); damage != nil {
			err = fmt.Errorf("%s is damaged: %v; restore it, or move it away to start anew", path, damage)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the store: %w", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: s.openTimeout,
		// As in etcd: the list of free pages is rebuilt at opening rather than
		// written with every commit, which after a mass of expired sessions
		// would cost more than the change itself.
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		NoStatistics:   true,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, heldError(path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%s is not a session store or is damaged: %w; name another file, or move it away to start anew", path, err)
	case err != nil:
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	e := &engine{
		settings: s,
		db:       db,
		changes:  make(chan *pendingChange, maxBatch),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	if err := db.Update(e.prepare); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("preparing the store %s: %w", path, err)
	}
	if err := writeHolder(path); err != nil {
		s.logger.Debug("noting who holds the session store", zap.Error(err))
	}
	go e.run()
	return e, nil
}

// prepare makes the buckets of a new file and reads what is kept in memory.
func (e *engine) prepare(tx *bolt.Tx) error {
	for _, name := range [][]byte{
		bucketMeta, bucketSessions, bucketExpiry, bucketCounts,
		bucketRevoked, bucketRevocationLog, bucketRevocationExpiry, bucketRates,
	} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if stored := meta.Get(metaFormat); stored == nil {
		if err := e.prepareNew(tx); err != nil {
			return err
		}
	} else if format := binary.BigEndian.Uint32(stored); format != fileFormat {
		return fmt.Errorf("its format is %d, this version of the edge knows %d; use the version that wrote it, or another file", format, fileFormat)
	}
	e.rates = loadRates(tx, e.now())
	return nil
}

// prepareNew has versions and cursors begin at the time, so that those of a
// file that was made anew are not mistaken for its predecessor's.
func (e *engine) prepareNew(tx *bolt.Tx) error {
	start := uint64(max(e.now().UnixMicro(), 1))
	for _, name := range [][]byte{bucketSessions, bucketRevocationLog} {
		if err := tx.Bucket(name).SetSequence(start); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if err := meta.Put(metaFirstRevocation, binary.BigEndian.AppendUint64(nil, start)); err != nil {
		return err
	}
	return meta.Put(metaFormat, binary.BigEndian.AppendUint32(nil, fileFormat))
}

// submit hands a change to the writer and waits for its commit.
func (e *engine) submit(ctx context.Context, apply func(tx *bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &pendingChange{ctx: ctx, apply: apply, done: make(chan error, 1)}
	select {
	case e.changes <- c:
	case <-e.stop:
		return unavailable(errClosed)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		select {
		case err := <-c.done:
			return err
		default:
			// It came to the queue after the writer had emptied it.
			return unavailable(errClosed)
		}
	}
}

// run is the writer.
func (e *engine) run() {
	defer close(e.done)
	tick := e.tick
	if tick == nil {
		ticker := time.NewTicker(tickEvery)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case c := <-e.changes:
			e.commit(e.gather(c))
		case <-tick:
			e.upkeep()
		case <-e.stop:
			e.finish()
			return
		}
	}
}

// finish commits what was handed in before the stop, and releases the file.
func (e *engine) finish() {
	for len(e.changes) > 0 { // nobody else takes from it
		e.commit(e.gather(<-e.changes))
	}
	e.saveRates()
	removeHolder(e.path) // while it still is ours
	e.closeErr = e.db.Close()
}

// gather returns first and the changes that wait behind it.
func (e *engine) gather(first *pendingChange) []*pendingChange {
	batch := []*pendingChange{first}
	for len(batch) < maxBatch {
		select {
		case c := <-e.changes:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit applies a batch in one transaction. Should a change of it fail, each
// is tried in a transaction of its own, so that the one at fault fails alone.
// Where it is the commit that failed, all fail: what became of it is unknown.
func (e *engine) commit(batch []*pendingChange) {
	wanted := batch[:0]
	for _, c := range batch {
		if err := c.ctx.Err(); err != nil {
			c.done <- err
			continue
		}
		wanted = append(wanted, c)
	}
	if len(wanted) == 0 {
		return
	}
	applied, err := e.update(wanted)
	if err != nil && !applied && len(wanted) > 1 {
		for _, c := range wanted {
			_, err := e.update([]*pendingChange{c})
			c.done <- err
		}
		return
	}
	for _, c := range wanted {
		c.done <- err
	}
}

// update runs a batch as one transaction. applied says that all changes could
// be applied, so that an error is of the commit.
func (e *engine) update(batch []*pendingChange) (applied bool, err error) {
	defer e.recoverDamage(&err)
	err = e.db.Update(func(tx *bolt.Tx) error {
		for _, c := range batch {
			if err := c.apply(tx); err != nil {
				return err
			}
		}
		applied = true
		return nil
	})
	return applied, e.explain(err)
}

// view runs a read-only transaction.
func (e *engine) view(read func(tx *bolt.Tx) error) (err error) {
	defer e.recoverDamage(&err)
	return e.explain(e.db.View(read))
}

// recoverDamage makes an error of bbolt's panic over a damaged page, which must
// not take the server with it.
func (e *engine) recoverDamage(err *error) {
	if damage := recover(); damage != nil {
		*err = unavailable(fmt.Errorf("%s is damaged: %v; restore it, or move it away to start anew", e.path, damage))
	}
}

// explain makes what bbolt returned an error of the store; the store's own
// errors pass.
func (e *engine) explain(err error) error {
	switch {
	case err == nil, errors.Is(err, webtask.ErrSessionNotFound), errors.Is(err, webtask.ErrStoreUnavailable):
		return err
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return unavailable(errClosed)
	}
	return unavailable(fmt.Errorf("%s: %w", e.path, err))
}

func (e *engine) close() error {
	e.stopOnce.Do(func() { close(e.stop) })
	<-e.done
	return e.closeErr
}
