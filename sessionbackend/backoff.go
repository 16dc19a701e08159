package sessionbackend

import "time"

// failures remembers keys whose backends failed. The first failure of a key is
// nothing: the next request starts it again. After more in a row its requests
// are refused, each time twice as long.
type failures struct {
	byKey map[string]*failure
}

type failure struct {
	count int
	last  error
	until time.Time
}

const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute

	// steady is how long a backend has to have been ready for its failure to be
	// the first again, and how long after its backoff a failure is remembered.
	steady = time.Minute

	// maxFailures bounds the keys that are remembered.
	maxFailures = 10_000
)

// check returns a *BackoffError for a key that has to wait.
func (f *failures) check(service, key string) error {
	one := f.byKey[key]
	if one == nil {
		return nil
	}
	if wait := time.Until(one.until); wait > 0 {
		return &BackoffError{Service: service, Failures: one.count, Last: one.last, After: wait}
	}
	return nil
}

// add remembers a failure of a backend that has been ready since opened, or
// never was.
func (f *failures) add(key string, cause error, opened time.Time) {
	now := time.Now()
	one := f.byKey[key]
	if one == nil || now.Sub(one.until) > steady || !opened.IsZero() && now.Sub(opened) > steady {
		one = new(failure)
	}
	one.count++
	one.last = cause
	one.until = now.Add(backoff(one.count))
	if f.byKey == nil {
		f.byKey = make(map[string]*failure)
	}
	if len(f.byKey) >= maxFailures {
		f.prune(now)
	}
	f.byKey[key] = one
}

// backoff is how long a key waits after that many failures in a row.
func backoff(count int) time.Duration {
	if count < 2 {
		return 0
	}
	return min(firstBackoff<<min(count-2, 10), maxBackoff)
}

// prune forgets what is over, or all if that is nothing.
func (f *failures) prune(now time.Time) {
	for key, one := range f.byKey {
		if now.Sub(one.until) > steady {
			delete(f.byKey, key)
		}
	}
	if len(f.byKey) >= maxFailures {
		clear(f.byKey)
	}
}

// forget forgets a key whose backend ended well.
func (f *failures) forget(key string) { delete(f.byKey, key) }
