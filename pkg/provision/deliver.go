package provision

import (
	"context"
	"sync"
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

	once  sync.Once
	bell  chan struct{}
	rests rests
}

func (d *Deliverer) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

func (d *Deliverer) warn(err error) {
	if d.Warn != nil {
		d.Warn(err)
	}
}

func (d *Deliverer) provisioner(name string) Provisioner {
	for _, p := range d.Provisioners {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// longestWait is how long Run rests at most: another process may have written,
// and a clock may be set.
const longestWait = time.Minute

// Run delivers what is due until ctx ends, and returns when all attempts have.
// What had been begun is due again at once, for the next process.
func (d *Deliverer) Run(ctx context.Context) {
	b := newBatch(d)
	b.skip = func(r row) bool { return d.rests.of(r.provisioner, d.now()) > 0 }
	defer b.wait()
	failures := 0
	for ctx.Err() == nil {
		went, err := b.round(ctx, dueRows)
		if err == nil && went {
			failures = 0
			continue
		}
		wait := longestWait
		if err == nil {
			wait, err = d.untilNext(ctx)
		}
		if err != nil && ctx.Err() == nil {
			failures++
			wait = min(time.Second<<min(failures, 6), longestWait)
			d.warn(err)
		}
		select {
		case <-ctx.Done():
		case <-d.ring():
		case <-time.After(wait):
		}
	}
}

func (d *Deliverer) ring() chan struct{} {
	d.once.Do(func() { d.bell = make(chan struct{}, 1) })
	return d.bell
}

// Wake has [Deliverer.Run] look now, and not when the next delivery is due that
// it knows of: call it after a transaction that called a function of this
// package.
func (d *Deliverer) Wake() {
	select {
	case d.ring() <- struct{}{}:
	default:
	}
}

// Once delivers what is due now of some tokens, or of all if none is named,
// each State until it is acknowledged or has failed once. It returns what is
// still pending of these tokens; of all at most 100. The error is that of the
// store, or of ctx.
func (d *Deliverer) Once(ctx context.Context, ids ...token.ID) ([]State, error) {
	b := newBatch(d)
	b.failed = map[row]bool{}
	b.skip = func(r row) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.failed[row{id: r.id, provisioner: r.provisioner}]
	}
	due := dueRows
	if len(ids) > 0 {
		due = func(r store.Reader, now time.Time, skip func(row) bool) ([]row, error) {
			return dueOf(r, ids, now, skip)
		}
		b.sweeps = false
	}
	for {
		went, err := b.round(ctx, due)
		if err != nil {
			b.wait()
			pending, _ := d.pending(context.WithoutCancel(ctx), ids)
			return pending, err
		}
		if !went && !b.wait() { // what ended meanwhile may have made others due
			return d.pending(ctx, ids)
		}
	}
}

func (d *Deliverer) pending(ctx context.Context, ids []token.ID) (pending []State, err error) {
	filters := []Filter{{Pending: true}}
	if len(ids) > 0 {
		filters = nil
		for _, id := range ids {
			filters = append(filters, Filter{Token: id, Pending: true})
		}
	}
	for _, f := range filters {
		for s, err := range List(ctx, d.Store, f) {
			if err != nil {
				return pending, err
			}
			pending = append(pending, s)
			if len(ids) == 0 && len(pending) == 100 {
				return pending, nil
			}
		}
	}
	return pending, nil
}

// rowsPage is how many rows are read at once.
const rowsPage = 64

// dueRows reads the rows that are due longest.
func dueRows(r store.Reader, now time.Time, skip func(row) bool) ([]row, error) {
	var rows []row
	for e, err := range r.Scan(store.NewKey(store.TableOutbox), nil) {
		if err != nil {
			return nil, err
		}
		next, err := parseRow(e.Key)
		if err != nil {
			return nil, err
		}
		if next.due.After(now) || len(rows) == rowsPage {
			break
		}
		if !skip(next) {
			rows = append(rows, next)
		}
	}
	return rows, nil
}

// dueOf reads the rows of some tokens that are due.
func dueOf(r store.Reader, ids []token.ID, now time.Time, skip func(row) bool) ([]row, error) {
	var rows []row
	for _, id := range ids {
		all, err := States(r, id)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if s := &all[i]; !s.Due.IsZero() && !s.Due.After(now) && !skip(s.row()) {
				rows = append(rows, s.row())
			}
		}
	}
	return rows, nil
}

// untilNext is how long nothing will be due.
func (d *Deliverer) untilNext(ctx context.Context) (time.Duration, error) {
	wait := longestWait
	err := d.Store.View(ctx, func(r store.Reader) error {
		wait = longestWait
		for e, err := range r.Scan(store.NewKey(store.TableOutbox), nil) {
			if err != nil {
				return err
			}
			next, err := parseRow(e.Key)
			if err != nil {
				return err
			}
			if rest := d.rests.of(next.provisioner, d.now()); rest > 0 {
				wait = min(wait, rest)
				continue
			}
			wait = min(wait, max(next.due.Sub(d.now()), 0))
			break
		}
		return nil
	})
	return wait, err
}

// batch is the deliveries of one caller, at most [Workers] at once.
type batch struct {
	d       *Deliverer
	skip    func(row) bool // what is not to be begun now
	sweeps  bool
	slots   chan struct{}
	running sync.WaitGroup
	began   int // since the last wait

	mu     sync.Mutex
	failed map[row]bool // by token and provisioner; nil: nobody asks
}

func newBatch(d *Deliverer) *batch {
	return &batch{d: d, sweeps: true, slots: make(chan struct{}, Workers)}
}

// wait waits for all that runs, and reports whether anything was begun since
// it was called last.
func (b *batch) wait() bool {
	b.running.Wait()
	began := b.began > 0
	b.began = 0
	return began
}

// round begins what is due, after a page of the sweeps, and reports whether
// there was anything.
func (b *batch) round(ctx context.Context, due func(store.Reader, time.Time, func(row) bool) ([]row, error)) (went bool, err error) {
	if b.sweeps {
		if went, err = b.d.sweep(ctx); err != nil {
			return false, err
		}
	}
	var rows []row
	err = b.d.Store.View(ctx, func(r store.Reader) (err error) {
		rows, err = due(r, b.d.now(), b.skip)
		return err
	})
	for _, next := range rows {
		if err != nil {
			break
		}
		err = b.begin(ctx, next)
	}
	return went || len(rows) > 0, err
}

// begin claims a delivery when there is a slot for it, and lets it go.
func (b *batch) begin(ctx context.Context, r row) error {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return token.Errorf(token.ErrCannotTell, "deliveries were given up: %w", ctx.Err())
	}
	var j *job
	var err error
	if !b.skip(r) { // which may have changed while it waited for the slot
		j, err = b.d.claim(ctx, r)
	}
	if err != nil || j == nil {
		<-b.slots
		return err
	}
	b.began++
	b.running.Go(func() {
		defer func() { <-b.slots; b.d.Wake() }() // it may have made others due
		failed, err := b.d.attempt(ctx, j)
		if err != nil {
			b.d.warn(err)
		}
		if b.failed != nil && (failed || err != nil) {
			b.mu.Lock()
			b.failed[row{id: r.id, provisioner: r.provisioner}] = true
			b.mu.Unlock()
		}
	})
	return nil
}
