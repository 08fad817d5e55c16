package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The life of a token as another system sees it.
func TestLife(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		w := newWorld(t, s, newSystem("a", 1), newSystem("b", 2))
		id := w.generate(alice, "imap", "v1")
		if w.has(id, ""); !w.state(id).Pending() || w.rows() != 2 {
			t.Errorf("%+v, %d rows", w.state(id), w.rows())
		}
		for _, step := range []struct {
			name   string
			change func()
			want   string
			rows   int // that wait for a time
			values int // that are kept
		}{
			{"made", func() {}, "v1", 0, 1},
			{"again", func() { w.change(id, func(*token.Record) {}) }, "v1", 0, 1},
			{"suspended", func() { w.change(id, suspend(time.Time{})) }, "", 0, 1},
			{"resumed", func() { w.change(id, resume) }, "v1", 0, 1},
			{"suspended for an hour", func() { w.change(id, suspend(start.Add(time.Hour))) }, "", 2, 1},
			{"59 minutes later", func() { w.pass(59 * time.Minute) }, "", 2, 1},
			{"an hour later", func() { w.pass(time.Minute) }, "v1", 0, 1},
			{"rotated", func() { w.rotate(id, "v2", time.Time{}) }, "v2", 0, 2},
			{"taken back", func() { w.update(func(tx store.Writer) error { return TakeBack(tx, id, w.revision, w.time()) }) }, "v1", 0, 2},
			{"rotated with grace", func() { w.rotate(id, "v3", w.time().Add(time.Hour)) }, "v1 v3", 2, 2},
			{"suspended in the grace", func() { w.change(id, suspend(time.Time{})) }, "", 0, 2},
			{"resumed in the grace", func() { w.change(id, resume) }, "v1 v3", 2, 2},
			{"after the grace", func() { w.pass(time.Hour) }, "v3", 0, 2},
			{"rotated with grace twice", func() {
				w.rotate(id, "v4", w.time().Add(time.Hour))
				w.rotate(id, "v5", w.time().Add(2*time.Hour))
			}, "v3 v4 v5", 2, 3},
			{"after the first grace", func() { w.pass(time.Hour) }, "v4 v5", 2, 2},
			{"retired", func() { w.update(func(tx store.Writer) error { return Retire(tx, id, w.time()) }) }, "v5", 0, 2},
			{"revoked", func() { w.change(id, func(r *token.Record) { r.Bury(w.time(), alice, "") }) }, "", 0, 0},
		} {
			step.change()
			if n := w.deliver(); n != 0 {
				t.Errorf("%s: %d pending", step.name, n)
			}
			w.has(id, step.want)
			if w.rows() != step.rows || len(w.state(id).Values) != step.values {
				t.Errorf("%s: %d rows, %d values, want %d, %d", step.name, w.rows(), len(w.state(id).Values), step.rows, step.values)
			}
			if t.Failed() {
				t.Fatalf("after step %q", step.name)
			}
		}
		if s := w.state(id); !s.Token.IsZero() {
			t.Errorf("of a revoked token is left %+v", s)
		}
		e := w.systems[0].told()[0]
		if want := (Target{alice, "imap", "entry"}); e.Target != want || e.Token != id || len(e.ID) < 20 {
			t.Errorf("the first event is %+v", e)
		}
		seen := map[string]bool{}
		for _, e := range w.systems[0].told() {
			if seen[e.ID] {
				t.Errorf("event %s came twice, though nothing failed", e.ID)
			}
			seen[e.ID] = true
		}
	})
}

func suspend(until time.Time) func(*token.Record) {
	return func(r *token.Record) { r.SuspendedAt, r.SuspendedUntil = start, until }
}

func resume(r *token.Record) { r.SuspendedAt, r.SuspendedUntil = time.Time{}, time.Time{} }

// An expiry withdraws without anybody asking, and nothing is told twice.
func TestExpiry(t *testing.T) {
	w := newWorld(t, memory.New(), newSystem("a", 0))
	id := w.generate(alice, "imap", "v", func(r *token.Record) { r.ExpiresAt = start.Add(time.Hour) })
	w.deliver()
	w.has(id, "v")
	w.pass(time.Hour - time.Second)
	w.deliver()
	w.has(id, "v")
	w.pass(time.Second)
	w.deliver()
	w.has(id, "")
	if n := len(w.systems[0].told()); n != 2 {
		t.Errorf("%d events", n)
	}
}

// A token that is deleted leaves nothing behind once its value is withdrawn,
// and all until then.
func TestDeleted(t *testing.T) {
	w := newWorld(t, memory.New(), newSystem("a", 0))
	id := w.generate(alice, "imap", "v")
	w.deliver()
	w.systems[0].set(token.Errorf(token.ErrCannotTell, "it is down"), nil)
	w.remove(id)
	if w.deliver() != 1 || w.state(id).Token != id {
		t.Error("the state is gone before the value is")
	}
	w.systems[0].set(nil, nil)
	w.pass(time.Hour)
	w.deliver()
	w.has(id, "")
	if w.state(id).Token == id || w.rows() != 0 {
		t.Error("something is left")
	}
}

func TestFailure(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		w := newWorld(t, s, newSystem("a", 0))
		a := w.systems[0]
		a.set(fmt.Errorf("no entry\x1b[31m for v1\n%s", strings.Repeat("x", 1000)), nil)
		id := w.generate(alice, "imap", "v1")
		var last time.Duration
		for attempt := 1; attempt <= 15; attempt++ {
			if w.deliver() != 1 {
				t.Fatal("it isn't pending")
			}
			got := w.state(id)
			if got.Attempts != attempt || !strings.HasPrefix(got.LastError, "no entry [31m for [redacted] xxx") || len(got.LastError) > 510 {
				t.Errorf("attempt %d: %d, %q", attempt, got.Attempts, got.LastError)
			}
			wait := got.Due.Sub(w.time())
			if limit := min(time.Second<<(attempt-1), MaxBackoff); wait < limit/2 || wait > limit+time.Second {
				t.Errorf("attempt %d: the next is in %s, want up to %s", attempt, wait, limit)
			}
			if w.deliver() != 1 || w.state(id).Attempts != attempt {
				t.Error("another attempt came too early")
			}
			w.pass(wait)
			last = wait
		}
		if last < MaxBackoff/2 {
			t.Errorf("the last wait is %s", last)
		}
		events := a.told()
		for _, e := range events {
			if e.ID != events[0].ID {
				t.Errorf("attempts have the events %s and %s", events[0].ID, e.ID)
			}
		}
		// Healed, and asked for by hand: the same event once more.
		a.set(nil, nil)
		w.deliver()
		w.pass(time.Second)
		w.update(func(tx store.Writer) error {
			n, err := Retry(tx, id, w.time())
			if n != 0 {
				t.Errorf("%d retried, though none is pending", n)
			}
			return err
		})
		w.has(id, "v1")
		if got := w.state(id); got.Pending() || got.Attempts != 0 || got.LastError != "" || got.Event != "" {
			t.Errorf("acknowledged: %+v", got)
		}
	})
}

func TestRetry(t *testing.T) {
	w := newWorld(t, memory.New(), newSystem("a", 0))
	a := w.systems[0]
	a.set(errors.New("no"), nil)
	ids := []token.ID{w.generate(alice, "imap", "v"), w.generate(alice, "smtp", "v"), w.generate(alice, "dav", "v")}
	w.deliver()
	a.set(nil, nil)
	w.update(func(tx store.Writer) error {
		n, err := Retry(tx, ids[0], w.time())
		if n != 1 {
			t.Errorf("%d retried", n)
		}
		return err
	})
	if n := w.deliver(); n != 2 {
		t.Errorf("%d pending after one was retried", n)
	}
	for f, want := range map[Filter]int{{Service: "imap"}: 0, {Service: "smtp"}: 1, {Provisioner: "b"}: 0, {Owner: alice}: 2, {}: 2} {
		if n, err := RetryAll(background, w.store, f, w.time()); n != want || err != nil {
			t.Errorf("%+v: %d retried (%v), want %d", f, n, err, want)
		}
	}
	if n := w.deliver(); n != 0 {
		t.Errorf("%d pending after all were retried", n)
	}
	if e := a.told(); len(e) != 6 {
		t.Errorf("%d events", len(e))
	}
}

// Killed after the other system was told, before that was noted: the same event
// comes again, when the lease is over and no earlier.
func TestKilled(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		w := newWorld(t, s, newSystem("a", 0))
		id := w.generate(alice, "imap", "v")
		j, err := w.claim(background, w.state(id).row())
		must(t, err)
		e, err := w.event(j)
		must(t, err)
		must(t, w.apply(background, j, &e)) // and here it was killed

		again := w.deliverer()
		for range 3 {
			if pending, err := again.Once(background); len(pending) != 1 || err != nil {
				t.Fatalf("%+v, %v", pending, err)
			}
			if n := len(w.systems[0].told()); n != 1 {
				t.Fatalf("%d events while another has the lease", n)
			}
			w.pass(Lease/3 - time.Second)
		}
		w.pass(3 * time.Second)
		if pending, err := again.Once(background); len(pending) != 0 || err != nil {
			t.Fatalf("%+v, %v", pending, err)
		}
		if told := w.systems[0].told(); len(told) != 2 || told[0].ID != told[1].ID {
			t.Errorf("told %+v", told)
		}
		w.sound()
	})
}

// A clock that went too fast when a process was killed keeps nobody out.
func TestClockSetBack(t *testing.T) {
	w := newWorld(t, memory.New(), newSystem("a", 0))
	id := w.generate(alice, "imap", "v")
	w.pass(24 * time.Hour)
	_, err := w.claim(background, w.state(id).row())
	must(t, err)
	w.pass(-24 * time.Hour)
	w.update(func(tx store.Writer) error {
		_, err := Retry(tx, id, w.time())
		return err
	})
	if n := w.deliver(); n != 0 {
		t.Errorf("%d pending", n)
	}
	w.has(id, "v")
}

// What changes while an attempt is under way is delivered after it.
func TestChangedMeanwhile(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		w := newWorld(t, s, newSystem("a", 0))
		a := w.systems[0]
		var id token.ID
		a.set(nil, func(context.Context, Event) error {
			a.set(nil, nil)
			w.change(id, suspend(time.Time{}))
			if pending, err := w.deliverer().Once(background); len(pending) != 1 || err != nil || len(a.told()) != 1 {
				t.Errorf("another delivered meanwhile: %+v, %v", pending, err)
			}
			return nil
		})
		id = w.generate(alice, "imap", "v")
		if n := w.deliver(); n != 0 {
			t.Errorf("%d pending", n)
		}
		w.has(id, "")
		if told := a.told(); len(told) != 2 || told[0].ID == told[1].ID {
			t.Errorf("told %+v", told)
		}
	})
}

// An attempt that comes back after its lease, when another has delivered what
// is wanted now, does not have the last word.
func TestLate(t *testing.T) {
	for _, failed := range []error{nil, errors.New("too late")} {
		w := newWorld(t, memory.New(), newSystem("a", 0))
		a := w.systems[0]
		id := w.generate(alice, "imap", "v")
		a.set(nil, func(context.Context, Event) error {
			a.set(nil, nil)
			w.pass(Lease + time.Second)
			w.change(id, suspend(time.Time{}))
			if pending, err := w.deliverer().Once(background); len(pending) != 0 || err != nil {
				t.Errorf("the successor: %+v, %v", pending, err)
			}
			w.has(id, "")
			return failed
		})
		if n := w.deliver(); n != 0 {
			t.Errorf("%d pending", n)
		}
		w.has(id, "")
		// It wakes before it has spoken, too late to begin.
		w.change(id, resume)
		j, err := w.claim(background, w.state(id).row())
		must(t, err)
		w.pass(Lease - ApplyTimeout + time.Second)
		told := len(a.told())
		if failed, err := w.attempt(background, j); !failed || err != nil {
			t.Errorf("%v, %v", failed, err)
		}
		if len(a.told()) != told {
			t.Error("it spoke after it had slept")
		}
	}
}

func TestOrder(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		// By name the last comes first.
		w := newWorld(t, s, newSystem("c", 10), newSystem("b", 20), newSystem("a", 30))
		first, last := w.systems[0], w.systems[2]
		first.set(errors.New("not now"), nil)
		id := w.generate(alice, "imap", "v1")
		if n := w.deliver(); n != 3 {
			t.Errorf("%d pending", n)
		}
		if len(w.systems[1].told())+len(last.told()) != 0 {
			t.Error("others were told before the first")
		}
		var waits State
		must(t, w.store.View(background, func(r store.Reader) (err error) {
			waits, err = states.Get(r, id.String(), "a")
			return err
		}))
		if waits.WaitsFor != "c" && waits.WaitsFor != "b" || waits.Attempts != 0 {
			t.Errorf("the last waits for %+v", waits)
		}
		first.set(nil, nil)
		w.pass(3 * time.Second)
		if n := w.deliver(); n != 0 {
			t.Errorf("%d pending", n)
		}
		w.has(id, "v1")
		// The new value waits, the old one does not.
		first.set(errors.New("not now"), nil)
		w.rotate(id, "v2", time.Time{})
		if n := w.deliver(); n != 3 || last.values(id) != "" || first.values(id) != "v1" {
			t.Errorf("%d pending; the last has %q, the first %q", n, last.values(id), first.values(id))
		}
		// Withdrawing waits for nobody.
		w.change(id, suspend(time.Time{}))
		if n := w.deliver(); n != 1 || last.values(id) != "" {
			t.Errorf("%d pending; the last has %q", n, last.values(id))
		}
		first.set(nil, nil)
		w.change(id, resume)
		if n := w.deliver(id); n != 0 {
			t.Errorf("%d pending", n)
		}
		w.has(id, "v2")
		seen := map[string]string{}
		for _, e := range last.told() {
			content := fmt.Sprintf("%s %s", e.Present, e.Absent)
			if was, ok := seen[e.ID]; ok && was != content {
				t.Errorf("event %s is %s and %s", e.ID, was, content)
			}
			seen[e.ID] = content
		}
	})
}

// While the same event comes again it says the same: when time has changed what
// is wanted, it is another one.
func TestSameEvent(t *testing.T) {
	w := newWorld(t, memory.New(), newSystem("a", 0))
	a := w.systems[0]
	id := w.generate(alice, "imap", "v1")
	w.deliver()
	a.set(errors.New("no"), nil)
	w.rotate(id, "v2", w.time().Add(time.Hour))
	for range 20 {
		w.deliver()
		w.pass(10 * time.Minute)
	}
	said := map[string]string{}
	for _, e := range a.told() {
		content := fmt.Sprintf("%s %s", e.Present, e.Absent)
		if was, ok := said[e.ID]; ok && was != content {
			t.Errorf("event %s says %s, then %s", e.ID, was, content)
		}
		said[e.ID] = content
	}
	if len(said) != 3 {
		t.Errorf("%d events: %v", len(said), said)
	}
}

// A provisioner that is no longer configured says so, and keeps nobody waiting.
func TestNotConfigured(t *testing.T) {
	w := newWorld(t, memory.New(), newSystem("a", 1), newSystem("b", 2))
	w.Provisioners = w.Provisioners[1:]
	id := w.generate(alice, "imap", "v")
	if n := w.deliver(); n != 1 || w.systems[1].values(id) != "v" {
		t.Errorf("%d pending, b has %q", n, w.systems[1].values(id))
	}
	if got := w.state(id).LastError; !strings.Contains(got, "no provisioner a is configured") {
		t.Errorf("the error is %q", got)
	}
}

// A State of which nobody can tell what is wanted, or that cannot be unsealed,
// keeps nobody else waiting.
func TestDamage(t *testing.T) {
	w := newWorld(t, memory.New(), newSystem("a", 1))
	bad, broken, good := w.generate(alice, "imap", "v"), w.generate(alice, "smtp", "v"), w.generate(alice, "dav", "v")
	w.update(func(tx store.Writer) error {
		return errors.Join(
			tx.Put(store.NewKey('t').ID(bad), []byte("garbage")),
			Renew(tx, broken, 2, []Made{{Provisioner: "a", Order: 1, Sealed: []byte("garbage")}}, time.Time{}, w.time()),
			tx.Put(row{start, good, "nobody's"}.key(), nil))
	})
	if n, err := w.Once(background); len(n) != 2 || err != nil {
		t.Errorf("%+v, %v", n, err)
	}
	w.has(good, "v")
	if got := w.state(bad).LastError; !strings.Contains(got, "nobody can tell") {
		t.Errorf("the error is %q", got)
	}
	if got := w.state(broken).LastError; !strings.Contains(got, "unsealed") {
		t.Errorf("the error is %q", got)
	}
	w.sound()
}
