package sessionbackend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// shard is a part of the keys, and the lease that a Cluster has for it.
type shard struct {
	cluster *Cluster
	number  int

	mu       sync.Mutex
	life     string   // of the edge, "" before it has begun
	count    int      // of incarnations
	deadline BootTime // of the lease by this clock; 0: there is none
	gone     string   // incarnation of which nothing is left, or its life
	run      string   // of the store, that knows all tenures
	told     int      // how often all tenures were told to a store that may have forgotten
	problem  error    // why there is no lease
	changed  chan struct{}
	tenures  map[string]*Tenure            // of this incarnation, by key
	dying    map[*Tenure]struct{}          // of those before: their backends are not gone yet
	owed     map[string]webtask.LeaseClaim // is to be given back, and could not be
	paying   bool                          // it is being given back
	busy     map[string]chan struct{}      // keys that are claimed or given back now
}

func newShard(c *Cluster, number int) *shard {
	return &shard{
		cluster: c, number: number, problem: errNotLeased, changed: make(chan struct{}),
		tenures: map[string]*Tenure{}, dying: map[*Tenure]struct{}{}, owed: map[string]webtask.LeaseClaim{}, busy: map[string]chan struct{}{},
	}
}

func (s *shard) now() BootTime { return s.cluster.options.Now() }

func (s *shard) store() LeaseStore { return s.cluster.options.Store }

// begin lets the shard have leases: nothing is left of a life before.
func (s *shard) begin(life, before string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life, s.gone = life, before
}

// incarnation is the one that leases are taken for. The mutex is held.
func (s *shard) incarnation() string { return fmt.Sprintf("%s.%d", s.life, s.count) }

// tell wakes those who wait for the lease. The mutex is held.
func (s *shard) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// expire loses all that the shard has if its lease is over. The mutex is held.
func (s *shard) expire() {
	if s.deadline != 0 && s.deadline <= s.now() {
		s.lose(errors.New("the lease was not renewed in time"))
	}
}

// lose ends the incarnation: whatever it owns may be another edge's soon, and has
// to be gone. The mutex is held.
func (s *shard) lose(why error) {
	if len(s.tenures) > 0 {
		s.cluster.options.Logger.Error("session backends are ended, for this server may no longer own them",
			zap.Int("backends", len(s.tenures)), zap.Error(why))
	}
	for _, t := range s.tenures {
		s.dying[t] = struct{}{}
		close(t.lost)
	}
	s.gone = ""
	if len(s.dying) == 0 {
		s.gone = s.incarnation()
	}
	s.count++
	s.deadline, s.problem = 0, why
	clear(s.tenures)
	clear(s.owed)
	s.tell()
}

// renewal returns what is to be asked of the store.
func (s *shard) renewal() (webtask.LeaseRenewal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	if s.life == "" || len(s.dying) > 0 {
		return webtask.LeaseRenewal{}, false
	}
	return webtask.LeaseRenewal{Shard: s.number, Incarnation: s.incarnation(), Gone: s.gone}, true
}

// renewed takes the store's answer to what was sent at some time, and reports
// whether there is a lease.
func (s *shard) renewed(ctx context.Context, sent BootTime, r webtask.LeaseRenewal) bool {
	s.mu.Lock()
	// An answer that comes late revives nothing.
	s.expire()
	if s.incarnation() != r.Incarnation {
		s.mu.Unlock()
		return false
	}
	switch {
	case errors.Is(r.Err, webtask.ErrLeaseExpired):
		s.lose(r.Err)
		s.cluster.hurry()
	case errors.Is(r.Err, webtask.ErrLeaseOther):
		if s.deadline != 0 {
			s.lose(r.Err)
		}
		s.refused(r.Err)
	case r.Err != nil:
		s.run = "" // the store may have said that it forgot, and that was not heard
		s.refused(r.Err)
	}
	if r.Err != nil {
		s.mu.Unlock()
		return false
	}
	known := !r.Taken && r.Run == s.run
	if !known {
		s.told++
		s.run = "" // until all is told
	}
	claims := s.claims()
	s.mu.Unlock()
	if !known && len(claims) > 0 && !s.reassert(ctx, r.Incarnation, claims) {
		return false
	}
	if !s.extend(sent, r) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owed) > 0 && !s.paying {
		s.paying = true // beside the renewals, which must not wait for it
		s.cluster.running.Go(func() { s.pay(ctx) })
	}
	return true
}

// refused notes why there is no lease. The mutex is held.
func (s *shard) refused(why error) {
	if s.number == 0 && (s.problem == nil || s.problem.Error() != why.Error()) { // for all shards
		s.cluster.options.Logger.Warn("the lease of this server on session backends was not renewed", zap.Error(why))
	}
	s.problem = why
	s.tell()
}

// wait notes why the edge cannot have leases yet.
func (s *shard) wait(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = why
	s.tell()
}

// claims returns what the shard has. The mutex is held.
func (s *shard) claims() []webtask.LeaseClaim {
	claims := make([]webtask.LeaseClaim, 0, len(s.tenures))
	for _, t := range s.tenures {
		claims = append(claims, t.claim)
	}
	return claims
}

// reassert tells a store that may have forgotten what the shard has, and loses what
// is another's now.
func (s *shard) reassert(ctx context.Context, incarnation string, claims []webtask.LeaseClaim) bool {
	for part := range slices.Chunk(claims, reassertAtOnce) {
		lost, err := s.store().Reassert(ctx, s.number, s.cluster.node(incarnation), part)
		s.mu.Lock()
		if err != nil {
			s.refused(err)
			s.mu.Unlock()
			return false
		}
		for _, key := range lost {
			if t := s.tenures[key]; t != nil && slices.Contains(part, t.claim) {
				s.cluster.options.Logger.Error("a session backend is ended, for another server may have had its key", zap.String("id", t.claim.Backend))
				delete(s.tenures, key)
				close(t.lost)
			}
		}
		// What was given back meanwhile may be the shard's again by this.
		for _, claim := range part {
			_, owed := s.owed[claim.Key]
			if t := s.tenures[claim.Key]; (t == nil || t.claim != claim) && !owed && s.incarnation() == incarnation {
				s.owed[claim.Key] = claim
			}
		}
		s.mu.Unlock()
	}
	return true
}

// reassertAtOnce bounds one call, for a Redis serves nobody else meanwhile.
const reassertAtOnce = 500

// extend puts the deadline off.
func (s *shard) extend(sent BootTime, r webtask.LeaseRenewal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	if s.incarnation() != r.Incarnation {
		return false
	}
	s.run, s.problem = r.Run, nil
	s.deadline = sent.Add(s.cluster.options.Lease - s.cluster.margin)
	for _, t := range s.tenures {
		t.put(s.deadline)
	}
	s.tell()
	return true
}

// put puts the deadline of a tenure off.
func (t *Tenure) put(deadline BootTime) {
	t.deadline.Store(int64(deadline))
	select {
	case t.extended <- struct{}{}:
	default:
	}
}

// term is the lease as it is at a moment. What was claimed in one is owned only
// if it is the same still: a store that forgot since has not been told of it.
type term struct {
	incarnation string
	told        int
}

// leased waits until there is a lease that does not end at once. It does not wait for
// long when the store gives none.
func (s *shard) leased(ctx context.Context) (term, error) {
	patience := time.NewTimer(s.cluster.options.Lease / 3)
	defer patience.Stop()
	for tired := false; ; {
		s.mu.Lock()
		s.expire()
		now, leased := term{s.incarnation(), s.told}, s.deadline != 0 && s.deadline.Until(s.now()) > s.cluster.notice
		problem, changed := s.problem, s.changed
		s.mu.Unlock()
		switch {
		case leased:
			return now, nil
		case tired && problem != errNotLeased: // then, what was there before has its time to end
			return term{}, s.unavailable(problem)
		}
		select {
		case <-changed:
		case <-patience.C:
			tired = true
		case <-ctx.Done():
			return term{}, context.Cause(ctx)
		}
	}
}

func (s *shard) unavailable(cause error) error {
	return &UnavailableError{Cause: cause, After: s.cluster.options.Lease / 3}
}

// claim makes this edge the owner of a key, or returns who is.
func (s *shard) claim(ctx context.Context, claim webtask.LeaseClaim) (*Tenure, *webtask.LeaseOwner, error) {
	unlock, err := s.lock(ctx, claim.Key)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	for {
		lease, err := s.leased(ctx)
		if err != nil {
			return nil, nil, err
		}
		claim.Fence = s.cluster.options.Node.least()
		fence, owner, err := s.store().Claim(ctx, s.number, s.cluster.node(lease.incarnation), claim)
		var quiet *webtask.QuietError
		wait := time.Duration(0)
		switch {
		case err == nil && owner != nil:
			return nil, owner, nil
		case err == nil:
			claim.Fence = fence
			if err := s.cluster.options.Node.note(fence); err != nil {
				s.owe(lease.incarnation, claim)
				return nil, nil, err
			}
			if t := s.take(lease, claim); t != nil {
				return t, nil, nil
			}
			s.owe(lease.incarnation, claim) // unless it is claimed once more
			continue
		case errors.As(err, &quiet):
			if till, ok := ctx.Deadline(); ok && time.Until(till) < quiet.After {
				return nil, nil, &UnavailableError{Cause: err, After: quiet.After}
			}
			wait = quiet.After
		case errors.Is(err, webtask.ErrLeaseNone):
			s.cluster.hurry()
			wait = s.cluster.options.Lease / 15
		default:
			claim.Fence = 0 // it may be ours, and nobody knows the token
			s.owe(lease.incarnation, claim)
			return nil, nil, s.unavailable(err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, nil, &UnavailableError{Cause: err, After: max(wait, time.Second)}
		}
	}
}

// lock has nobody else claim a key or give it back.
func (s *shard) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		s.mu.Lock()
		other := s.busy[key]
		if other == nil {
			mine := make(chan struct{})
			s.busy[key] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.busy, key)
				s.mu.Unlock()
				close(mine)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// take makes a tenure of a claim, unless the lease is another one now.
func (s *shard) take(lease term, claim webtask.LeaseClaim) *Tenure {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	if s.deadline == 0 || lease != (term{s.incarnation(), s.told}) {
		return nil
	}
	t := &Tenure{fence: claim.Fence, shard: s, claim: claim, extended: make(chan struct{}, 1), lost: make(chan struct{})}
	t.deadline.Store(int64(s.deadline))
	s.tenures[claim.Key] = t
	delete(s.owed, claim.Key)
	return t
}

// release ends a tenure.
func (s *shard) release(t *Tenure) {
	ctx := context.Background()
	unlock, err := s.lock(ctx, t.claim.Key)
	if err != nil {
		return // never: nothing ends ctx
	}
	defer unlock()
	s.mu.Lock()
	if _, ok := s.dying[t]; ok {
		delete(s.dying, t)
		if len(s.dying) == 0 && s.deadline == 0 {
			s.gone = fmt.Sprintf("%s.%d", s.life, s.count-1)
			s.cluster.hurry()
		}
		s.mu.Unlock()
		return
	}
	if s.tenures[t.claim.Key] == t { // else it was lost
		delete(s.tenures, t.claim.Key)
	}
	incarnation := s.incarnation()
	s.mu.Unlock()
	if err := s.store().Release(ctx, s.number, s.cluster.node(incarnation), t.claim); err != nil {
		s.owe(incarnation, t.claim)
	}
}

// owe notes that a key is to be given back, for as long as the incarnation lasts:
// of one that is over, keys are anybody's.
func (s *shard) owe(incarnation string, claim webtask.LeaseClaim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.incarnation() == incarnation {
		s.owed[claim.Key] = claim
	}
}

// pay gives back what is owed, until the store does not answer.
func (s *shard) pay(ctx context.Context) {
	s.mu.Lock()
	var due []webtask.LeaseClaim
	for key, claim := range s.owed {
		if s.busy[key] == nil && s.tenures[key] == nil {
			s.busy[key] = make(chan struct{})
			due = append(due, claim)
		}
	}
	incarnation := s.incarnation()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.paying = false
		s.mu.Unlock()
	}()
	var err error
	for _, claim := range due {
		if err == nil {
			err = s.store().Release(ctx, s.number, s.cluster.node(incarnation), claim)
		}
		s.mu.Lock()
		if err == nil {
			delete(s.owed, claim.Key)
		}
		close(s.busy[claim.Key])
		delete(s.busy, claim.Key)
		s.mu.Unlock()
	}
}

// leave gives the lease back.
func (s *shard) leave(ctx context.Context) {
	s.mu.Lock()
	incarnation, leased := s.incarnation(), s.deadline != 0 && len(s.tenures) == 0
	s.mu.Unlock()
	if leased {
		_ = s.store().Leave(ctx, s.number, s.cluster.node(incarnation)) // else it ends by itself
	}
}
