package authority

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Guessing gets slower with each wrong password of an account, up to a bound:
// the owner, who knows it, can always wait that long.
const (
	freeAttempts    = 3
	firstDelay      = 250 * time.Millisecond
	longestDelay    = 4 * time.Second
	attemptsForget  = 15 * time.Minute
	attemptsKept    = 1 << 14 // accounts
	attemptsWaiting = 4       // at once, for one account and address
	attemptsAtOnce  = 256     // for one account
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
	wrong, waiting int
	from           map[string]int // who waits
	last           time.Time
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

func (a *attempt) delay() time.Duration {
	n := a.wrong - freeAttempts
	if n < 0 {
		return 0
	}
	return min(firstDelay<<min(n, 8), longestDelay)
}

// errTooMany is neither a yes nor a no.
var errTooMany = token.Errorf(token.ErrCannotTell, "too many log-ins of this account are under way").WithHint("wait some seconds and try again")

// knock lets an attempt wait its turn.
func (l *Local) knock(ctx context.Context, d door, from string) error {
	if err := l.recallAttempts(ctx, d); err != nil {
		return err
	}
	return l.attempts.wait(ctx, d, from, l.now)
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

func (t *attempts) wait(ctx context.Context, d door, from string, now func() time.Time) error {
	t.mu.Lock()
	a := t.by[d]
	if a != nil && now().Sub(a.last) >= attemptsForget && a.waiting == 0 {
		delete(t.by, d)
		a = nil
	}
	if a == nil || a.delay() == 0 {
		t.mu.Unlock()
		return nil
	}
	if a.from[from] == attemptsWaiting || a.waiting == attemptsAtOnce {
		t.mu.Unlock()
		return errTooMany
	}
	if a.from == nil {
		a.from = map[string]int{}
	}
	a.waiting++
	a.from[from]++
	pause := a.delay()
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		a.waiting--
		if a.from[from]--; a.from[from] == 0 {
			delete(a.from, from)
		}
		t.mu.Unlock()
	}()
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return token.Errorf(token.ErrCannotTell, "the log-in did not get its turn: %w", ctx.Err())
	}
}

func (t *attempts) failed(d door, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.at(d)
	a.wrong++
	a.last = now
	if a.delay() > 0 {
		t.write(d)
	}
}

// forget makes room: of a few that nobody waits for, the one with the fewest
// wrong passwords goes, so that many names do not wipe out the count of one.
func (t *attempts) forget() {
	var least door
	seen, wrong := 0, 0
	for d, a := range t.by { // the order of a map is random
		if a.waiting > 0 {
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

func (t *attempts) succeeded(d door) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.by[d]; a != nil && a.delay() > 0 {
		t.write(d)
	}
	delete(t.by, d)
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

// flushAttempts writes them, of accounts that are there: a stranger's inventions
// fill no disk.
func (l *Local) flushAttempts(ctx context.Context) error {
	for batch := range slices.Chunk(l.attempts.take(), l.store.Limit()) {
		err := l.write(ctx, func(w store.Writer) error {
			for _, a := range batch {
				has, err := store.Accounts.Has(w, a.owner.Realm, a.owner.Name)
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
