package sessionbackend

import "time"

// Status is how far a backend has come. It never goes back. The names, and
// those of reasons and kinds, are Plane's.
type Status string

// The statuses, in their order.
const (
	Scheduled       Status = "scheduled"        // it is to be started
	Starting        Status = "starting"         // its process is being started
	Waiting         Status = "waiting"          // it runs, and is not ready yet
	Ready           Status = "ready"            // it is
	Terminating     Status = "terminating"      // it was asked to end
	HardTerminating Status = "hard-terminating" // it is being killed
	Terminated      Status = "terminated"       // nothing of it is left
)

var ranks = map[Status]int{Scheduled: 10, Starting: 30, Waiting: 40, Ready: 50, Terminating: 60, HardTerminating: 65, Terminated: 70}

// Reason is why a backend was ended. It is empty for one that ended by itself.
type Reason string

// The reasons.
const (
	Swept          Reason = "swept"          // it was idle, or at the end of its lifetime
	External       Reason = "external"       // somebody asked for it, or the server stops
	StartupTimeout Reason = "startuptimeout" // it was not ready in time
	InternalError  Reason = "internalerror"  // it could not be started
	KeyExpired     Reason = "keyexpired"     // the edge may have lost the key to another
)

// Kind is how a backend was ended.
type Kind string

// The kinds.
const (
	Soft Kind = "soft" // it was asked to end
	Hard Kind = "hard" // it was killed
)

// Event is a change of a backend's status.
type Event struct {
	Status    Status
	Time      time.Time
	Reason    Reason // of statuses from Terminating on
	Kind      Kind   // likewise
	ExitError bool   // of Terminated: the process did not end cleanly
}

// advance appends a status to the history, unless it is no step forward.
func (b *Backend) advance(event Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := len(b.history) - 1; last >= 0 && ranks[b.history[last].Status] >= ranks[event.Status] {
		return
	}
	event.Time = time.Now()
	b.history = append(b.history, event)
	close(b.changed)
	b.changed = make(chan struct{})
}

// History returns all statuses so far, at most one event of each, and a
// channel that is closed when there are more.
func (b *Backend) History() ([]Event, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history[:len(b.history):len(b.history)], b.changed
}

// Status returns the last status.
func (b *Backend) Status() Status {
	history, _ := b.History()
	return history[len(history)-1].Status
}
