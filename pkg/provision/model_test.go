package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// model is what one token's values should be, told by somebody who looks at the
// requests alone.
type model struct {
	suspended bool
	until     time.Time // of the suspension
	gone      bool
	values    []Value // Sealed is the value itself, the last is the token's
}

func (m *model) want(now time.Time) string {
	if m.gone || m.suspended && (m.until.IsZero() || now.Before(m.until)) {
		return ""
	}
	var all []string
	for _, v := range m.values {
		if v.Until.IsZero() || now.Before(v.Until) {
			all = append(all, string(v.Sealed))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// Whatever happens, and in whatever order processes are killed and systems
// fail, in the end every system has what is wanted, and nothing else.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t, memory.New(), newSystem("a", 1), newSystem("b", 2), newSystem("c", 2))
		others := []*Deliverer{w.Deliverer, w.deliverer()}
		var ids []token.ID
		models := map[token.ID]*model{}
		n := 0
		value := func() string { n++; return fmt.Sprint("v", n) }
		living := func() (token.ID, *model) {
			if len(ids) == 0 {
				r.Skip("no token")
			}
			id := rapid.SampledFrom(ids).Draw(r, "token")
			if models[id].gone {
				r.Skip("it has gone")
			}
			return id, models[id]
		}
		grace := func() (until time.Time) {
			if minutes := rapid.IntRange(0, 3).Draw(r, "grace"); minutes > 0 {
				until = w.time().Add(time.Duration(minutes) * time.Minute)
			}
			return until
		}
		r.Repeat(map[string]func(*rapid.T){
			"generate": func(*rapid.T) {
				v := value()
				id := w.generate(alice, v, v)
				ids, models[id] = append(ids, id), &model{values: []Value{{Sealed: []byte(v)}}}
			},
			"rotate": func(*rapid.T) {
				id, m := living()
				if len(m.values) > 8 {
					return
				}
				v, until := value(), grace()
				w.rotate(id, v, until)
				m.values[len(m.values)-1].Until = later(w.time(), until)
				m.values = append(m.values, Value{Sealed: []byte(v)})
			},
			"suspend": func(*rapid.T) {
				id, m := living()
				m.suspended, m.until = true, grace()
				w.change(id, suspend(m.until))
			},
			"resume": func(*rapid.T) {
				id, m := living()
				m.suspended = false
				w.change(id, resume)
			},
			"retire": func(*rapid.T) {
				id, m := living()
				for i := range m.values {
					if m.values[i].Until.After(w.time()) {
						m.values[i].Until = w.time()
					}
				}
				w.update(func(tx store.Writer) error { return Retire(tx, id, w.time()) })
			},
			"delete": func(*rapid.T) {
				id, m := living()
				m.gone = true
				w.remove(id)
			},
			"pass": func(r *rapid.T) {
				w.pass(time.Duration(rapid.SampledFrom([]int{1, 7, 29, 31, 61, 300}).Draw(r, "seconds")) * time.Second)
			},
			"fail": func(r *rapid.T) {
				var err error
				if rapid.Bool().Draw(r, "fails") {
					err = errors.New("no")
				}
				rapid.SampledFrom(w.systems).Draw(r, "system").set(err, nil)
			},
			"deliver": func(r *rapid.T) {
				_, err := rapid.SampledFrom(others).Draw(r, "by").Once(background)
				must(t, err)
			},
			"kill": func(r *rapid.T) { // before or after the system was told
				var rows []row
				must(t, w.store.View(background, func(tx store.Reader) (err error) {
					rows, err = dueRows(tx, w.time(), func(row) bool { return false })
					return err
				}))
				if len(rows) == 0 {
					return
				}
				j, err := w.claim(background, rapid.SampledFrom(rows).Draw(r, "row"))
				must(t, err)
				if j == nil || rapid.Bool().Draw(r, "before") {
					return
				}
				e, err := w.event(j)
				must(t, err)
				_ = w.apply(background, j, &e)
			},
			"": func(*rapid.T) { w.sound() },
		})
		for _, s := range w.systems {
			s.set(nil, nil)
		}
		for range 4 {
			w.pass(15 * time.Minute)
			w.deliver()
		}
		for id, m := range models {
			w.has(id, m.want(w.time()))
			if m.gone && w.state(id).Token == id {
				t.Errorf("a State of the token %s is left", id)
			}
		}
		if t.Failed() {
			r.Fatal("see above")
		}
	})
}

// failing is a store whose Updates fail now and then, before or after they
// are made.
type failing struct {
	store.Store
	n atomic.Int64
}

func (f *failing) Update(ctx context.Context, fn func(store.Writer) error) error {
	switch f.n.Add(1) % 5 {
	case 3:
		return errors.New("not now")
	case 0:
		return errors.Join(store.ErrOutcomeUnknown, f.Store.Update(ctx, fn))
	}
	return f.Store.Update(ctx, fn)
}

// A store that fails now and then is tried again, and is said to have failed.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newSystem("a", 0)
		w := newWorld(t, memory.New(), a)
		w.tick = true
		var ids []token.ID
		for i := range 20 {
			ids = append(ids, w.generate(alice, fmt.Sprint("s", i), "v"))
		}
		var warnings atomic.Int64
		w.Deliverer.Store = &failing{Store: w.store}
		w.Warn = func(error) { warnings.Add(1) }
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w.Run(ctx)
		for _, id := range ids {
			w.has(id, "v")
			if w.state(id).Pending() {
				t.Errorf("token %s is pending", id)
			}
		}
		if warnings.Load() == 0 {
			t.Error("nobody was warned")
		}
	})
}
