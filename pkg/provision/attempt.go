package provision

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"
	"unicode"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// job is an attempt to deliver: claimed in one transaction, finished in
// another, made in between.
type job struct {
	p         Provisioner
	state     State     // as it was claimed
	next      time.Time // when something else will be wanted; zero: not by time alone
	forgotten bool
}

// What a State's claimed says of each of its values, a byte each.
const (
	wantsPresent = 'p'
	wantsAbsent  = 'a'
	wantsLater   = '-' // present, once another provisioner has agreed
)

// claim takes a lease of what a row says is due, unless there is nothing to
// do: then it sees to it that the row comes no more, or later.
func (d *Deliverer) claim(ctx context.Context, r row) (j *job, err error) {
	err = d.Store.Update(ctx, func(w store.Writer) (err error) {
		j = nil
		was, err := states.Get(w, r.id.String(), r.provisioner)
		switch {
		case errors.Is(err, store.ErrNotFound) || err == nil && !was.Due.Equal(r.due):
			return w.Delete(r.key()) // it has changed since, or nobody knows whose row it is
		case err != nil:
			return err
		}
		s, now := was, d.now()
		s.Values = append([]Value(nil), was.Values...)
		var gone bool
		if j, gone, err = d.prepare(w, &s, now); err != nil {
			return err
		}
		if gone {
			return remove(w, &was)
		}
		if j != nil {
			j.state = s
		}
		return put(w, &was, &s)
	})
	return j, err
}

// prepare finds out what is wanted of a State that is due, and changes it
// accordingly: leased to the job, or due another time. gone says that it is
// to be deleted.
func (d *Deliverer) prepare(r store.Reader, s *State, now time.Time) (j *job, gone bool, err error) {
	if s.leased(now) {
		s.Due = s.LeasedUntil
		return nil, false, nil
	}
	s.lease, s.LeasedUntil, s.WaitsFor = "", time.Time{}, ""
	j = &job{p: d.provisioner(s.Provisioner)}
	wanted, until, forgotten, err := d.Wanted(r, s)
	if err != nil {
		s.fail(fmt.Errorf("nobody can tell what is wanted: %w", err), now)
		return nil, false, nil
	}
	j.forgotten = forgotten
	plan := j.plan(s, wanted && !forgotten, until, now)
	if s.agrees(plan) && !s.Pending() {
		s.Due = j.next
		return nil, forgotten, nil
	}
	if j.p == nil {
		s.AcknowledgedAt = time.Time{}
		s.fail(fmt.Errorf("no provisioner %s is configured", s.Provisioner), now)
		return nil, false, nil
	}
	first, err := d.comesFirst(r, s)
	if err != nil {
		return nil, false, err
	}
	if first != nil && bytes.IndexByte(plan, wantsPresent) >= 0 {
		s.WaitsFor = first.Provisioner
		plan = bytes.ReplaceAll(plan, []byte{wantsPresent}, []byte{wantsLater})
		if s.agrees(plan) { // nothing to withdraw meanwhile
			s.AcknowledgedAt = time.Time{}
			s.Due = later(second(now), first.Due).Add(time.Second)
			return nil, false, nil
		}
	}
	s.lend(plan, now)
	return j, false, nil
}

// plan says what is wanted of each value, and when that changes by time.
func (j *job) plan(s *State, wanted bool, until, now time.Time) []byte {
	if j.next = until; !until.IsZero() && !until.After(now) {
		j.next = now.Add(time.Minute) // what is past already would come again without end
	}
	plan := make([]byte, len(s.Values))
	for i, v := range s.Values {
		plan[i] = wantsAbsent
		if wanted && !v.over(now) {
			plan[i] = wantsPresent
			j.next = sooner(j.next, v.Until)
		}
	}
	j.next = ceil(j.next)
	return plan
}

// ceil is a time in whole seconds that is not before t.
func ceil(t time.Time) time.Time {
	if s := second(t); s.Before(t) && !t.IsZero() {
		return s.Add(time.Second)
	}
	return second(t)
}

// agrees reports whether the values are known to be where a plan wants them.
func (s *State) agrees(plan []byte) bool {
	for i, v := range s.Values {
		if plan[i] == wantsPresent && v.At != There || plan[i] == wantsAbsent && v.At != Gone {
			return false
		}
	}
	return true
}

// comesFirst is a State of the same token, at a provisioner before this one,
// that is pending; nil: there is none. One that nobody will ever deliver keeps
// nobody waiting.
func (d *Deliverer) comesFirst(r store.Reader, s *State) (*State, error) {
	all, err := States(r, s.Token)
	if err != nil {
		return nil, err
	}
	order := d.order(s)
	for i := range all {
		if other := &all[i]; other.Pending() && d.provisioner(other.Provisioner) != nil && d.order(other) < order {
			return other, nil
		}
	}
	return nil, nil
}

// order is that of the provisioner as it is configured now.
func (d *Deliverer) order(s *State) int {
	if p := d.provisioner(s.Provisioner); p != nil {
		return p.Order()
	}
	return s.Order
}

// lend has a State to itself for one attempt. The event is the one before,
// unless that asked for something else.
func (s *State) lend(plan []byte, now time.Time) {
	if s.Event == "" || s.claimed != string(plan) {
		s.Event, s.Attempts = rand.Text(), 0
	}
	s.claimed, s.lease = string(plan), rand.Text()
	for i := range s.Values {
		if v := &s.Values[i]; plan[i] == wantsPresent && v.At != There || plan[i] == wantsAbsent && v.At != Gone {
			v.At = Unknown
		}
	}
	s.LastTry, s.AcknowledgedAt = second(now), time.Time{}
	s.LeasedUntil = second(now.Add(Lease))
	s.Due = s.LeasedUntil
}

// attempt makes an attempt and notes how it went. failed says that the next one
// has to wait; the error is that of the store.
func (d *Deliverer) attempt(ctx context.Context, j *job) (failed bool, err error) {
	e, err := d.event(j)
	if err == nil {
		err = d.apply(ctx, j, &e)
	}
	d.rests.note(j.p.Name(), err, d.now())
	err = censor(err, e)
	stopped := err != nil && ctx.Err() != nil
	// The lease outlives this: who stops has to say so all the same.
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), ApplyTimeout)
	defer cancel()
	storeErr := d.Store.Update(noting, func(w store.Writer) error {
		failed = false
		was, getErr := states.Get(w, j.state.Token.String(), j.state.Provisioner)
		if errors.Is(getErr, store.ErrNotFound) {
			return nil
		}
		if getErr != nil {
			return getErr
		}
		s, now := was, d.now()
		s.Values = append([]Value(nil), was.Values...)
		if s.lease != j.state.lease {
			// Somebody else has it since, and may have spoken before us: once more.
			s.renew(now)
			return put(w, &was, &s)
		}
		s.lease, s.LeasedUntil = "", time.Time{}
		s.EntryID = cmp.Or(s.EntryID, e.EntryID)
		switch {
		case s.Event != j.state.Event: // changed meanwhile
			s.Due = second(now)
		case stopped:
			s.Due = second(now)
		case err != nil:
			failed = true
			s.fail(err, now)
		default:
			if s.acknowledge(j, now) {
				return remove(w, &was)
			}
			if !s.Pending() {
				if err := wakeWaiting(w, &s, now); err != nil {
					return err
				}
			}
		}
		return put(w, &was, &s)
	})
	return failed, storeErr
}

// event unseals what was claimed.
func (d *Deliverer) event(j *job) (Event, error) {
	s := &j.state
	e := Event{ID: s.Event, Token: s.Token, Target: s.Target}
	for i, v := range s.Values {
		if s.claimed[i] == wantsLater {
			continue
		}
		plain, err := d.Open(v.Sealed, SealedFor(s.Token, s.Provisioner))
		if err != nil {
			return Event{}, fmt.Errorf("what it is to be told cannot be unsealed: %w", err)
		}
		if s.claimed[i] == wantsPresent {
			e.Present = append(e.Present, plain)
		} else {
			e.Absent = append(e.Absent, plain)
		}
	}
	return e, nil
}

var errLate = errors.New("this computer slept during the attempt")

// apply speaks to the provisioner, as long as the lease is surely ours.
func (d *Deliverer) apply(ctx context.Context, j *job, e *Event) error {
	if d.now().After(j.state.LeasedUntil.Add(-ApplyTimeout)) {
		return errLate
	}
	ctx, cancel := context.WithTimeout(ctx, ApplyTimeout)
	defer cancel()
	return j.p.Apply(ctx, e)
}

// acknowledge notes that the other system agrees. forgotten says that nothing
// more is to be known of the token there.
func (s *State) acknowledge(j *job, now time.Time) (forgotten bool) {
	partly := false
	for i := range s.Values {
		switch s.claimed[i] {
		case wantsPresent:
			s.Values[i].At = There
		case wantsAbsent:
			s.Values[i].At = Gone
		default:
			partly = true
		}
	}
	if j.forgotten {
		return true
	}
	s.drop(now)
	s.Event, s.claimed, s.Attempts, s.LastError = "", "", 0, ""
	if partly {
		s.Due = second(now)
		return false
	}
	s.WaitsFor = ""
	s.AcknowledgedAt, s.Due = second(now), j.next
	return false
}

// drop forgets the values that were replaced and are withdrawn, but for those of
// the last rotation: it may be taken back.
func (s *State) drop(now time.Time) {
	last := uint64(0)
	for _, v := range s.Values {
		last = max(last, v.Revision, v.EndedBy)
	}
	var kept []Value
	for _, v := range s.Values {
		if v.Revision == last || v.EndedBy == last || v.At != Gone || !v.over(now) {
			kept = append(kept, v)
		}
	}
	s.Values = kept
}

// wakeWaiting makes due what has waited for a State to be acknowledged.
func wakeWaiting(w store.Writer, s *State, now time.Time) error {
	_, err := edit(w, s.Token, func(other *State) bool {
		if other.WaitsFor != s.Provisioner || other.Provisioner == s.Provisioner || !other.LeasedUntil.IsZero() {
			return false
		}
		other.Due, other.WaitsFor = second(now), ""
		return true
	})
	return err
}

// fail notes why an attempt failed, and when to make the next.
func (s *State) fail(err error, now time.Time) {
	s.Attempts++
	text := err.Error()
	if e := (*token.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		text += "; " + e.Hint
	}
	s.LastError = line(text)
	s.LastTry = second(now)
	s.Due = ceil(now.Add(backoff(s.Attempts)))
}

// backoff is how long to wait after so many failures: twice as long each time,
// up to [MaxBackoff], less up to a half so that not all come back at once.
func backoff(attempts int) time.Duration {
	wait := min(time.Second<<min(attempts-1, 20), MaxBackoff)
	return wait/2 + mathrand.N(wait/2+1)
}

// maxError bounds what is kept of an error, in bytes.
const maxError = 500

// line is a text as one line of visible characters, not too long.
func line(text string) string {
	text = strings.Map(func(c rune) rune {
		if !unicode.IsGraphic(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return text
}

// censor hides the values that an error of another system may quote.
func censor(err error, e Event) error {
	if err == nil {
		return nil
	}
	text, clean := err.Error(), true
	for _, values := range [][][]byte{e.Present, e.Absent} {
		for _, v := range values {
			if len(v) > 0 && strings.Contains(text, string(v)) {
				text, clean = strings.ReplaceAll(text, string(v), "[redacted]"), false
			}
		}
	}
	if clean {
		return err
	}
	return errors.New(text)
}
