package provision

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func owner(i int) token.Owner { return token.Owner{Realm: "corp", Name: fmt.Sprintf("u%05d", i)} }

// fill makes tokens of a service for many owners, delivered already.
func (w *world) fill(service string, n int) (ids []token.ID) {
	w.Helper()
	for from := 0; from < n; from += 500 {
		w.update(func(tx store.Writer) error {
			ids = ids[:from]
			for i := from; i < min(from+500, n); i++ {
				rec := token.Record{ID: secret.NewID(start), Kind: token.Service, Owner: owner(i), Service: service, CreatedAt: start, CreatedBy: owner(i), Verifier: secret.Verifier{1, 1}}
				ids = append(ids, rec.ID)
				if err := store.PutToken(tx, nil, &rec); err != nil {
					return err
				}
				for _, p := range w.systems {
					s := State{Token: rec.ID, Provisioner: p.name, Order: p.order, Values: []Value{{Sealed: sealed(rec.ID, p.name, "v"), At: There}}, AcknowledgedAt: start}
					if err := put(tx, nil, &s); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return ids
}

// Disabling a service of 10,000 tokens is one write; what follows goes on where
// it was ended, and begins again when the service changes once more.
func TestSweep(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		const n = 10_000
		w := newWorld(t, s, newSystem("a", 0))
		ids := w.fill("imap", n)
		other := w.fill("imaps", 3)
		w.update(func(tx store.Writer) error { return ReconcileService(tx, "imap") })
		if w.rows() != 0 {
			t.Errorf("%d rows at once", w.rows())
		}
		for range 3 {
			if went, err := w.sweep(background); !went || err != nil {
				t.Fatal(went, err)
			}
		}
		if n := w.rows(); n != 3*sweepPage {
			t.Errorf("%d rows after three pages", n)
		}
		w.pass(time.Minute)
		w.update(func(tx store.Writer) error { return ReconcileService(tx, "imap") })
		pages := 0
		for d := w.deliverer(); ; pages++ { // of another process
			went, err := d.sweep(background)
			must(t, err)
			if !went {
				break
			}
		}
		if w.rows() != n || pages != n/sweepPage+1 {
			t.Errorf("%d rows after %d pages", w.rows(), pages)
		}
		w.sound()
		for i, id := range ids {
			if i%100 == 0 && w.state(id).Due.Before(start.Add(time.Minute)) {
				t.Fatalf("token %d was not told anew", i)
			}
		}
		for _, id := range other {
			if w.state(id).Pending() {
				t.Error("the tokens of another service are told")
			}
		}
		must(t, s.View(background, func(r store.Reader) error {
			services, err := Sweeps(r)
			if len(services) != 0 {
				t.Errorf("still to sweep: %q", services)
			}
			return err
		}))
	})
}

// A page has no more writes than one Update holds, however many provisioners.
func TestSweepOfMany(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		var systems []*system
		for i := range 40 {
			systems = append(systems, newSystem(fmt.Sprintf("p%02d", i), 0))
		}
		w := newWorld(t, s)
		w.systems = systems
		for i := range 100 {
			w.generate(owner(i), "imap", "v")
		}
		w.systems = nil
		w.pass(time.Minute)
		w.update(func(tx store.Writer) error { return ReconcileService(tx, "imap") })
		for {
			went, err := w.sweep(background)
			must(t, err)
			if !went {
				break
			}
		}
		due := 0
		for state, err := range List(background, s, Filter{Pending: true}) {
			must(t, err)
			if state.Due.Equal(w.time()) {
				due++
			}
		}
		if due != 4000 {
			t.Errorf("%d of 4000 are due anew", due)
		}
	})
}

func TestReconcileOwner(t *testing.T) {
	w := newWorld(t, nil, newSystem("a", 0))
	both(t, func(t *testing.T, s store.Store) {
		w.store, w.Deliverer.Store = s, s
		mine := []token.ID{w.generate(alice, "imap", "v"), w.generate(alice, "dav", "v")}
		others := []token.ID{w.generate(token.Owner{Realm: "corp", Name: "alicea"}, "imap", "v"), w.generate(token.Owner{Realm: "corpa", Name: "lice"}, "imap", "v")}
		w.deliver()
		w.update(func(tx store.Writer) error { return ReconcileOwner(tx, alice, w.time()) })
		for i, id := range append(mine, others...) {
			if w.state(id).Pending() != (i < 2) {
				t.Errorf("token %d is pending: %t", i, i >= 2)
			}
		}
	})
}

// Rotating on and on while nothing can be delivered comes to an end.
func TestManyValues(t *testing.T) {
	w := newWorld(t, nil, newSystem("a", 0))
	both(t, func(t *testing.T, s store.Store) {
		w.store, w.Deliverer.Store = s, s
		id := w.generate(alice, "imap", "v0")
		for i := 1; i < maxValues; i++ {
			w.rotate(id, fmt.Sprint("v", i), time.Time{})
		}
		err := s.Update(background, func(tx store.Writer) error {
			return w.renew(tx, id, Target{Owner: alice, Service: "imap"}, "x", time.Time{})
		})
		if !errors.Is(err, token.ErrConflict) {
			t.Errorf("the error is %v", err)
		}
		w.deliver()
		w.has(id, fmt.Sprint("v", maxValues-1))
		if n := len(w.state(id).Values); n != 2 {
			t.Errorf("%d values are left", n)
		}
	})
}

// A State is read as it was written, whatever is in it.
func TestEncoding(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		w := newWorld(t, s)
		want := State{
			Token: secret.NewID(start), Provisioner: "p/x\x00", Order: -3,
			Target: Target{Owner: alice, Service: "imap", EntryID: "e"},
			Values: []Value{{Sealed: []byte("1"), Until: start, At: Gone}, {Sealed: []byte("2"), At: There}},
			Due:    start, LeasedUntil: start.Add(1), Event: "ev", Attempts: 7, LastTry: start.Add(time.Second), LastError: "e", WaitsFor: "w",
			AcknowledgedAt: start.Add(time.Hour), lease: "l", claimed: "ap",
		}
		want.LeasedUntil = start.Add(time.Minute)
		w.update(func(tx store.Writer) error { return put(tx, nil, &want) })
		must(t, s.View(background, func(r store.Reader) error {
			all, err := States(r, want.Token)
			if len(all) != 1 || fmt.Sprintf("%+v", all[0]) != fmt.Sprintf("%+v", want) {
				t.Errorf("%+v, want %+v", all, want)
			}
			return err
		}))
		w.sound()
		// What Inspect is for.
		w.update(func(tx store.Writer) error { return tx.Delete(want.row().key()) })
		w.update(func(tx store.Writer) error { return tx.Put(row{start, want.Token, "x"}.key(), nil) })
		n := 0
		for problem, err := range Inspect(background, s) {
			must(t, err)
			n++
			t.Log(problem)
		}
		if n != 2 {
			t.Errorf("%d problems, want 2", n)
		}
	})
}
