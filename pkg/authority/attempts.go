package authority

import (
	"context"
	"sync"
	"time"

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

// attempts are the wrong passwords of late, by account, over all spellings and
// ways in.
type attempts struct {
	mu sync.Mutex
	by map[token.Owner]*attempt
}

type attempt struct {
	wrong, waiting int
	from           map[string]int // who waits
	last           time.Time
}

func (a *attempt) delay() time.Duration {
	n := a.wrong - freeAttempts
	if n < 0 {
		return 0
	}
	return min(firstDelay<<min(n, 8), longestDelay)
}

// errTooMany is neither a yes nor a no.
var errTooMany = token.Errorf(token.ErrCannotTell, "too many log-ins of this account are under way").WithHint("wait some seconds and try again")

// wait lets an attempt wait its turn.
func (t *attempts) wait(ctx context.Context, o token.Owner, from string, now func() time.Time) error {
	t.mu.Lock()
	a := t.by[o]
	if a != nil && now().Sub(a.last) >= attemptsForget && a.waiting == 0 {
		delete(t.by, o)
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
	d := a.delay()
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
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return token.Errorf(token.ErrCannotTell, "the log-in did not get its turn: %w", ctx.Err())
	}
}

func (t *attempts) failed(o token.Owner, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.by[o]
	if a == nil {
		if t.by == nil {
			t.by = map[token.Owner]*attempt{}
		}
		if len(t.by) >= attemptsKept {
			t.forget()
		}
		a = &attempt{}
		t.by[o] = a
	}
	a.wrong++
	a.last = now
}

// forget makes room: of a few that nobody waits for, the one with the fewest
// wrong passwords goes, so that many names do not wipe out the count of one.
func (t *attempts) forget() {
	var least token.Owner
	seen, wrong := 0, 0
	for o, a := range t.by { // the order of a map is random
		if a.waiting > 0 {
			continue
		}
		if seen == 0 || a.wrong < wrong {
			least, wrong = o, a.wrong
		}
		if seen++; seen == 16 {
			break
		}
	}
	delete(t.by, least)
}

func (t *attempts) succeeded(o token.Owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.by, o)
}
