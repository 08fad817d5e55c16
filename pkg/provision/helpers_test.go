package provision

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var (
	background = context.Background()
	start      = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	alice      = token.Owner{Realm: "corp", Name: "alice"}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// both runs a test over a store in memory and over one in a file.
func both(t *testing.T, test func(*testing.T, store.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, memory.New()) })
	t.Run("bolt", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.db")
		must(t, bolt.Create(path))
		s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true})
		must(t, err)
		defer s.Close()
		test(t, s)
	})
}

// system is another system, and its Provisioner.
type system struct {
	name  string
	order int

	mu      sync.Mutex
	has     map[string]bool // by token and value
	events  []Event
	fails   error
	onApply func(context.Context, Event) error // before anything changes
}

func newSystem(name string, order int) *system {
	return &system{name: name, order: order, has: map[string]bool{}}
}

func (s *system) Name() string              { return s.name }
func (s *system) Order() int                { return s.order }
func (s *system) Serves(o token.Owner) bool { return true }

func (s *system) Prepare(_ context.Context, _ Target, plain secret.Secret) ([]byte, error) {
	return []byte(plain.Reveal()), nil
}

func (s *system) Apply(ctx context.Context, told *Event) error {
	e := *told
	s.mu.Lock()
	s.events = append(s.events, e)
	fails, onApply := s.fails, s.onApply
	s.mu.Unlock()
	if onApply != nil {
		if err := onApply(ctx, e); err != nil {
			return err
		}
	}
	if fails != nil {
		return fails
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range e.Present {
		s.has[e.Token.String()+" "+string(v)] = true
	}
	for _, v := range e.Absent {
		delete(s.has, e.Token.String()+" "+string(v))
	}
	return nil
}

func (s *system) set(fails error, onApply func(context.Context, Event) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails, s.onApply = fails, onApply
}

// values are those of a token there.
func (s *system) values(id token.ID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for k := range s.has {
		if of, v, _ := strings.Cut(k, " "); of == id.String() {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// delivered is how many values are there, of all tokens.
func (s *system) delivered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.has)
}

func (s *system) told() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// world is a store with tokens, other systems, and a clock.
type world struct {
	testing.TB
	store   store.Store
	systems []*system
	clock   sync.Mutex
	at      time.Time
	// revision is that of all tokens: it rises with each rotation.
	revision uint64
	tick     bool // the clock is the one of the machine
	*Deliverer
}

func newWorld(t testing.TB, s store.Store, systems ...*system) *world {
	w := &world{TB: t, store: s, systems: systems, at: start, revision: 1}
	w.Deliverer = w.deliverer()
	return w
}

// deliverer is another process.
func (w *world) deliverer() *Deliverer {
	d := &Deliverer{
		Store: w.store, Now: w.time, Warn: func(err error) { w.Errorf("warning: %v", err) },
		Open: func(sealed []byte, about string) ([]byte, error) {
			plain, ok := strings.CutPrefix(string(sealed), about+":")
			if !ok {
				return nil, fmt.Errorf("sealed for another: %q", sealed)
			}
			return []byte(plain), nil
		},
		// A token gone is forgotten, a revoked one too.
		Wanted: func(r store.Reader, s *State) (bool, time.Time, bool, error) {
			rec, err := store.GetToken(r, s.Token)
			if errors.Is(err, store.ErrNotFound) {
				return false, time.Time{}, true, nil
			}
			now := w.time()
			switch rec.StatusAt(now) {
			case token.Active:
				return true, rec.ExpiresAt, false, err
			case token.Suspended:
				return false, rec.SuspendedUntil, false, err
			}
			return false, time.Time{}, true, err
		},
	}
	for _, s := range w.systems {
		d.Provisioners = append(d.Provisioners, s)
	}
	return d
}

func (w *world) time() time.Time {
	if w.tick {
		return time.Now()
	}
	w.clock.Lock()
	defer w.clock.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) {
	w.clock.Lock()
	defer w.clock.Unlock()
	w.at = w.at.Add(d)
}

func (w *world) update(fn func(store.Writer) error) {
	w.Helper()
	must(w, w.store.Update(background, fn))
}

func sealed(id token.ID, provisioner, value string) []byte {
	return []byte(SealedFor(id, provisioner) + ":" + value)
}

// generate makes a service token, provisioned everywhere.
func (w *world) generate(o token.Owner, service, value string, changes ...func(*token.Record)) token.ID {
	w.Helper()
	rec := token.Record{ID: secret.NewID(w.time()), Kind: token.Service, Owner: o, Service: service, CreatedAt: w.time(), CreatedBy: o, Verifier: secret.Verifier{1, 1}, Revision: 1}
	for _, change := range changes {
		change(&rec)
	}
	w.update(func(tx store.Writer) error {
		if err := store.PutToken(tx, nil, &rec); err != nil {
			return err
		}
		return w.renew(tx, rec.ID, Target{Owner: o, Service: service, EntryID: "entry"}, value, time.Time{})
	})
	return rec.ID
}

// change changes a token, and has it reconciled.
func (w *world) change(id token.ID, fn func(*token.Record)) {
	w.Helper()
	w.update(func(tx store.Writer) error {
		was, err := store.GetToken(tx, id)
		if err != nil {
			return err
		}
		now := was
		fn(&now)
		return errors.Join(store.PutToken(tx, &was, &now), Reconcile(tx, id, w.time()))
	})
}

func (w *world) remove(id token.ID) {
	w.Helper()
	w.update(func(tx store.Writer) error {
		was, err := store.GetToken(tx, id)
		if err != nil {
			return err
		}
		return errors.Join(store.DeleteToken(tx, &was), Reconcile(tx, id, w.time()))
	})
}

func (w *world) renew(tx store.Writer, id token.ID, t Target, value string, oldUntil time.Time) error {
	var made []Made
	for _, p := range w.systems {
		made = append(made, Made{Provisioner: p.name, Order: p.order, Target: t, Sealed: sealed(id, p.name, value)})
	}
	return Renew(tx, id, w.revision, made, oldUntil, w.time())
}

func (w *world) rotate(id token.ID, value string, oldUntil time.Time) {
	w.Helper()
	w.revision++
	w.update(func(tx store.Writer) error {
		all, err := States(tx, id)
		if err != nil {
			return err
		}
		return w.renew(tx, id, all[0].Target, value, oldUntil)
	})
}

// once delivers what is due, and returns how many States are pending then.
func (w *world) deliver(ids ...token.ID) int {
	w.Helper()
	pending, err := w.Once(background, ids...)
	must(w, err)
	w.sound()
	return len(pending)
}

// has checks the values of a token in all systems.
func (w *world) has(id token.ID, want string) {
	w.Helper()
	for _, s := range w.systems {
		if got := s.values(id); got != want {
			w.Errorf("%s has %q of token %s, want %q", s.name, got, id, want)
		}
	}
}

// state is that of a token at the first system.
func (w *world) state(id token.ID) *State {
	w.Helper()
	var s State
	must(w, w.store.View(background, func(r store.Reader) (err error) {
		s, err = states.Get(r, id.String(), w.systems[0].name)
		if errors.Is(err, store.ErrNotFound) {
			s, err = State{}, nil
		}
		return err
	}))
	return &s
}

// sound checks that the outbox is the index that it should be.
func (w *world) sound() {
	w.Helper()
	for problem, err := range Inspect(background, w.store) {
		w.Errorf("%s %v", problem, err)
	}
}

func (w *world) rows() int {
	w.Helper()
	n, err := store.Count(background, w.store, store.TableOutbox)
	must(w, err)
	return n
}
