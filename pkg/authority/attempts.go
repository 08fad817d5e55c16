package authority

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Guessing gets slower with each wrong password of an account, up to a bound:
// the owner, who knows it, can always wait that long. Whoever asks from one
// address waits in turn, and has few places to wait in; those of others stay
// free, so that nobody can keep the owner out.
const (
	freeAttempts    = 3
	firstDelay      = 250 * time.Millisecond
	longestDelay    = 4 * time.Second
	attemptsForget  = 15 * time.Minute
	attemptsKept    = 1 << 14 // accounts
	attemptsWaiting = 3       // at once, for one account and address: within the time of a request
	// Behind a mail server every guess and the owner have one address: they wait
	// side by side, as many as there can be connections. What is more than can be
	// hashed gets a no from nobody, but has to come again.
	attemptsBeside = 1024
)

// door is what somebody guesses at: the password of an account, or, with a
// service, that of its token there.
type door struct {
	owner   token.Owner
	service string
}

// attempts are the wrong passwords of late, by door, over all spellings and
// ways in. They outlast a restart: what slows somebody down is written with the
// last uses, in one go, so that guessing cannot flood the disk.
type attempts struct {
	mu    sync.Mutex
	by    map[door]*attempt
	dirty map[door]struct{} // to be written
	swept time.Time
}

type attempt struct {
	wrong int
	busy  int              // under way: each may be wrong
	from  map[string]*turn // who waits
	last  time.Time
}

// turn is of those who wait at one address.
type turn struct {
	waiting int
	next    time.Time // when the last of them has their turn
}

// keptAttempt is what the store keeps of an attempt.
type keptAttempt struct {
	door
	wrong int
	last  time.Time
}

var keptAttempts = store.NewTable("attempt", 1,
	func(a *keptAttempt) []string { return a.key() },
	func(e *store.Encoder, a *keptAttempt) {
		e.Owner(a.owner)
		e.String(a.service)
		e.Uint(uint64(a.wrong))
		e.Time(a.last)
	},
	func(d *store.Decoder, a *keptAttempt) {
		a.owner = d.Owner()
		a.service = d.String()
		a.wrong = int(d.Uint())
		a.last = d.Time()
	})

func (d door) key() []string { return []string{d.owner.Realm, d.owner.Name, d.service} }

// delay is how long an attempt waits when so many before it were wrong.
func delay(wrong int) time.Duration {
	n := wrong - freeAttempts
	if n < 0 {
		return 0
	}
	return min(firstDelay<<min(n, 8), longestDelay)
}

// errTooMany is neither a yes nor a no.
var errTooMany = token.Errorf(token.ErrCannotTell, "too many log-ins of this account are under way").WithHint("wait some seconds and try again")

// knock lets an attempt wait its turn. If that came, one of failed, succeeded
// and nobodyKnows must follow.
func (l *Local) knock(ctx context.Context, d door, from string) error {
	if err := l.recallAttempts(ctx, d); err != nil {
		return err
	}
	return l.attempts.wait(ctx, d, neighbourhood(from), l.now())
}

// neighbourhood is what one client has all of: an address, or of IPv6 a /64.
func neighbourhood(from string) string {
	addr, err := netip.ParseAddr(from)
	if err != nil || addr.Unmap().Is4() {
		return from
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return from
	}
	return p.String()
}

// recallAttempts reads what was written of a door before this process began.
func (l *Local) recallAttempts(ctx context.Context, d door) error {
	if l.attempts.has(d) {
		return nil
	}
	var kept keptAttempt
	err := l.view(ctx, func(r store.Reader) (err error) {
		kept, err = keptAttempts.Get(r, d.key()...)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil && l.now().Sub(kept.last) < attemptsForget {
		l.attempts.recall(kept)
	}
	return err
}

func (t *attempts) has(d door) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[d] != nil
}

func (t *attempts) recall(kept keptAttempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[kept.door] == nil {
		*t.at(kept.door) = attempt{wrong: kept.wrong, last: kept.last}
	}
}

// at is what is known of a door, made if it was nothing.
func (t *attempts) at(d door) *attempt {
	a := t.by[d]
	if a == nil {
		if t.by == nil {
			t.by = map[door]*attempt{}
		}
		if len(t.by) >= attemptsKept {
			t.forget()
		}
		a = &attempt{}
		t.by[d] = a
	}
	return a
}

func (t *attempts) wait(ctx context.Context, d door, from string, now time.Time) error {
	t.mu.Lock()
	a := t.by[d]
	if a != nil && a.busy == 0 && now.Sub(a.last) >= attemptsForget {
		delete(t.by, d)
	}
	a = t.at(d)
	pause := delay(a.wrong + a.busy)
	if pause == 0 {
		a.busy++
		t.mu.Unlock()
		return nil
	}
	q := a.from[from]
	if q == nil {
		if a.from == nil {
			a.from = map[string]*turn{}
		}
		q = &turn{}
		a.from[from] = q
	}
	places := attemptsWaiting
	if d.service != "" {
		places = attemptsBeside
	}
	if q.waiting == places {
		t.mu.Unlock()
		return errTooMany
	}
	if d.service == "" {
		if q.next.Before(now) {
			q.next = now
		}
		q.next = q.next.Add(pause)
		pause = q.next.Sub(now)
	}
	q.waiting++
	a.busy++
	t.mu.Unlock()

	var err error
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		err = token.Errorf(token.ErrCannotTell, "the log-in did not get its turn: %w", ctx.Err())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.waiting--; q.waiting == 0 {
		delete(a.from, from)
	}
	if err != nil {
		a.busy--
	}
	return err
}

func (t *attempts) failed(d door, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.by[d]
	a.busy--
	a.wrong++
	a.last = now
	if delay(a.wrong) > 0 {
		t.write(d)
	}
}

func (t *attempts) succeeded(d door) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.by[d]
	if delay(a.wrong) > 0 {
		t.write(d)
	}
	a.wrong = 0
	t.leave(d, a)
}

// nobodyKnows is of an attempt that was neither right nor wrong.
func (t *attempts) nobodyKnows(d door) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leave(d, t.by[d])
}

func (t *attempts) leave(d door, a *attempt) {
	if a.busy--; a.busy == 0 && a.wrong == 0 {
		delete(t.by, d)
	}
}

// forget makes room: of a few without an attempt under way, the one with the
// fewest wrong passwords goes, so that many names do not wipe out the count of
// one.
func (t *attempts) forget() {
	var least door
	seen, wrong := 0, 0
	for d, a := range t.by { // the order of a map is random
		if a.busy > 0 {
			continue
		}
		if seen == 0 || a.wrong < wrong {
			least, wrong = d, a.wrong
		}
		if seen++; seen == 16 {
			break
		}
	}
	delete(t.by, least)
}

func (t *attempts) write(d door) {
	if t.dirty == nil {
		t.dirty = map[door]struct{}{}
	}
	if len(t.dirty) < attemptsKept {
		t.dirty[d] = struct{}{}
	}
}

// take hands over what is to be written. Nothing wrong of late is wrong: 0.
func (t *attempts) take() (changed []keptAttempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for d := range t.dirty {
		kept := keptAttempt{door: d}
		if a := t.by[d]; a != nil {
			kept.wrong, kept.last = a.wrong, a.last
		}
		changed = append(changed, kept)
	}
	t.dirty = nil
	return changed
}

// flushAttempts writes them, of accounts and services that are there: a
// stranger's inventions fill no disk.
func (l *Local) flushAttempts(ctx context.Context) error {
	for batch := range slices.Chunk(l.attempts.take(), l.store.Limit()) {
		err := l.write(ctx, func(w store.Writer) error {
			for _, a := range batch {
				has, err := store.Accounts.Has(w, a.owner.Realm, a.owner.Name)
				if err == nil && has && a.service != "" {
					has, err = store.Services.Has(w, a.service)
				}
				switch {
				case err != nil:
				case a.wrong == 0:
					err = keptAttempts.Delete(w, a.key()...)
				case has:
					err = keptAttempts.Put(w, a)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return token.Errorf(token.ErrCannotTell, "wrong passwords could not be noted: %w", err)
		}
	}
	return nil
}

// forgetAttempts removes what slows nobody down any more.
func (s *session) forgetAttempts(ctx context.Context) (more bool, err error) {
	if s.now().Sub(s.attempts.swept) < attemptsForget {
		return false, nil
	}
	var old []keptAttempt
	for a, err := range keptAttempts.Pages(ctx, s.store) {
		if err != nil {
			return false, err
		}
		if s.now().Sub(a.last) < attemptsForget {
			continue
		}
		if old = append(old, a); len(old) == s.store.Limit() {
			more = true
			break
		}
	}
	if !more {
		s.attempts.swept = s.now()
	}
	if len(old) == 0 {
		return false, nil
	}
	return more, s.write(ctx, func(w store.Writer) error {
		for _, a := range old {
			if err := keptAttempts.Delete(w, a.key()...); err != nil {
				return err
			}
		}
		return nil
	})
}
