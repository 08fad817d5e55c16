package provision

import (
	"context"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Limits of deliveries.
const (
	// Workers is how many provisioners are spoken to at once.
	Workers = 4
	// ApplyTimeout bounds one attempt.
	ApplyTimeout = 30 * time.Second
	// Lease is how long an attempt has its State to itself: when a process is
	// killed, the next attempt comes after that.
	Lease = time.Minute
	// MaxBackoff is the longest time between two attempts.
	MaxBackoff = 10 * time.Minute
)

// Deliverer delivers what is due, at least once, and the same event until it
// is acknowledged or another takes its place. One that was replaced never
// comes after its successor.
type Deliverer struct {
	Store        store.Store
	Provisioners []Provisioner
	// Wanted says what is to be true of a State now. present: the other system
	// should have the token's values. until: when that may change by time
	// alone (expiry, the end of a suspension); zero: it will not. forgotten:
	// the token has ended for ever, so the State is deleted once its values
	// are withdrawn. It is called in a transaction and only reads; an error is
	// a failed attempt.
	Wanted func(r store.Reader, s *State) (present bool, until time.Time, forgotten bool, err error)
	// Open unseals a value; about is what [SealedFor] gave when it was sealed.
	Open func(sealed []byte, about string) ([]byte, error)
	Now  func() time.Time // nil: time.Now
	// Warn hears of what is not in any State: a store that cannot be read or
	// written. It may be called by many goroutines at once. Nil: nobody hears.
	Warn func(error)
}

// Run delivers what is due until ctx ends, and returns when all attempts have.
// What had been begun is due again at once, for the next process.
func (d *Deliverer) Run(ctx context.Context) {}

// Wake has [Deliverer.Run] look now, and not when the next delivery is due that
// it knows of: call it after a transaction that called a function of this
// package.
func (d *Deliverer) Wake() {}

// Once delivers what is due now of some tokens, or of all if none is named,
// each State until it is acknowledged or has failed once. It returns what is
// still pending of these tokens; of all at most 100. The error is that of the
// store, or of ctx.
func (d *Deliverer) Once(ctx context.Context, ids ...token.ID) ([]State, error) { return nil, nil }
