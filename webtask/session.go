package webtask

import "time"

// SessionRef names one session. Sessions are scoped to a container: two
// tenants never share one, whatever cookie they present.
type SessionRef struct {
	Container string
	ID        string // the public id: a hash of the cookie's secret
}

// SessionEntry is one key of a session. Value is JSON text. Version grows with
// every write of the key; 0 stands for a key that is absent.
type SessionEntry struct {
	Value   []byte
	Version uint64
}

// SessionData is a session as a store returned it.
type SessionData struct {
	Entries map[string]SessionEntry
}

// SessionChange is applied in one atomic step or not at all.
type SessionChange struct {
	// Create makes the session; without it a session that is absent (expired,
	// destroyed, never made) fails the change with ErrSessionNotFound, so that
	// a client's value is never adopted.
	Create bool

	// Expect holds keys to the version they must still have (0: absent).
	// Otherwise nothing is written and the store returns ErrSessionConflict
	// with the session as it is now.
	Expect map[string]uint64

	Set    map[string][]byte // JSON text by key
	Delete []string

	// MoveTo, if set, is the session's new id (regenerate): same data, the old
	// id dead at once. Destroy removes the session and wins over all else.
	MoveTo  string
	Destroy bool

	TTL         time.Duration // restarted by every change; required
	MaxBytes    int64         // of keys and values after the change; else ErrSessionTooLarge
	MaxSessions int           // of the container after Create; else ErrSessionQuota
}
