package provision

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// maxRest is how long a provisioner rests at most.
const maxRest = 30 * time.Second

// rests are the provisioners that could not be reached of late: while one
// rests, what is due there keeps nobody else waiting.
type rests struct {
	mu   sync.Mutex
	rest map[string]rest
}

type rest struct {
	until    time.Time
	failures int
}

// note hears how an attempt went.
func (r *rests) note(provisioner string, err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !errors.Is(err, token.ErrCannotTell) && !errors.Is(err, context.DeadlineExceeded) {
		delete(r.rest, provisioner)
		return
	}
	if r.rest == nil {
		r.rest = map[string]rest{}
	}
	was := r.rest[provisioner]
	if now.Before(was.until) { // of the same failure, seen by several at once
		return
	}
	r.rest[provisioner] = rest{now.Add(min(time.Second<<min(was.failures, 10), maxRest)), was.failures + 1}
}

// of is how long a provisioner rests yet.
func (r *rests) of(provisioner string, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.rest[provisioner].until.Sub(now), 0)
}
