package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// inspection is what a deep look at a store counts.
type inspection struct {
	tokens, entries int
	problems        []string
}

func inspect(t fataler, s store.Store, deep bool, now time.Time) (i inspection) {
	t.Helper()
	for f, err := range store.Inspect(background, s, deep, func() time.Time { return now }) {
		must(t, err)
		switch {
		case f.Problem != "":
			i.problems = append(i.problems, f.Problem)
		case f.Index:
			i.entries++
		default:
			i.tokens++
		}
	}
	return i
}

func problems(t fataler, s store.Store, now time.Time) []string {
	t.Helper()
	return inspect(t, s, true, now).problems
}

// machine is a store under the rules that its callers keep: a token takes a
// slot only from one that has ended.
type machine struct {
	s    store.Store
	now  int
	made int
	ids  []token.ID
	gone []token.ID
}

func (m *machine) clock() time.Time { return at(m.now) }

func (m *machine) make(t *rapid.T) {
	m.now++
	m.made++
	owner := rapid.SampledFrom([]token.Owner{alice, bob, {Realm: "local", Name: "alice\x00"}, {Realm: "corp", Name: "bob"}}).Draw(t, "owner")
	var rec token.Record
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		rec = userToken(m.now, owner)
	case 1:
		rec = refreshToken(m.now, owner, rapid.SampledFrom([]string{"", "ci", "ci:x"}).Draw(t, "name"))
	default:
		rec = serviceToken(m.now, owner, rapid.SampledFrom([]string{"imap", "smtp"}).Draw(t, "service"))
	}
	rec.ExpiresAt = time.Time{}
	if rapid.Bool().Draw(t, "expires") {
		rec.ExpiresAt = at(m.now + rapid.IntRange(1, 30).Draw(t, "life"))
	}
	made := false
	update(t, m.s, func(w store.Writer) error {
		made = false
		held, err := store.Slot(w, &rec)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		// A service token replaces, the others wait.
		if err == nil && held.Live(m.clock()) {
			if rec.Kind != token.Service {
				return nil
			}
			if err := store.DeleteToken(w, &held); err != nil {
				return err
			}
			m.gone = append(m.gone, held.ID)
		}
		made = true
		return store.PutToken(w, nil, &rec)
	})
	if made {
		m.ids = append(m.ids, rec.ID)
	}
	m.ids = slices.DeleteFunc(m.ids, func(id token.ID) bool { return slices.Contains(m.gone, id) })
}

// one draws a token that is there.
func (m *machine) one(t *rapid.T) token.ID {
	if len(m.ids) == 0 {
		t.Skip("there is no token")
	}
	return rapid.SampledFrom(m.ids).Draw(t, "id")
}

func (m *machine) change(t *rapid.T) {
	now := m.clock()
	what := rapid.IntRange(0, 3).Draw(t, "change")
	change(t, m.s, m.one(t), func(r *token.Record) {
		switch {
		case what == 0 && r.RevokedAt.IsZero():
			r.Bury(now, alice, "lost")
		case what == 1:
			r.SuspendedAt, r.SuspendedUntil = now, now.Add(5*time.Second)
		case what == 2:
			r.SuspendedAt, r.SuspendedUntil = time.Time{}, time.Time{}
		case r.RevokedAt.IsZero():
			r.Previous, r.PreviousUntil, r.RotatedAt, r.Verifier = r.Verifier, now.Add(9*time.Second), now, secret.Verifier{1, 2}
		}
	})
}

func (m *machine) delete(t *rapid.T) {
	id := m.one(t)
	remove(t, m.s, id)
	m.ids = slices.DeleteFunc(m.ids, func(other token.ID) bool { return other == id })
}

func (m *machine) forget(t *rapid.T) {
	before := at(m.now - rapid.IntRange(0, 20).Draw(t, "age"))
	update(t, m.s, func(w store.Writer) error {
		ids, err := store.EndedTokens(w, before, 3)
		for _, id := range ids {
			var rec token.Record
			if rec, err = store.GetToken(w, id); err != nil {
				return err
			}
			if rec.Live(m.clock()) {
				return fmt.Errorf("token %s lives and is said to have ended", id)
			}
			if err = store.DeleteToken(w, &rec); err != nil {
				return err
			}
		}
		m.gone = append(m.gone, ids...)
		return err
	})
	m.ids = slices.DeleteFunc(m.ids, func(id token.ID) bool { return slices.Contains(m.gone, id) })
}

func (m *machine) check(t *rapid.T) {
	found := inspect(t, m.s, true, m.clock())
	if len(found.problems) > 0 || found.tokens != len(m.ids) {
		t.Fatalf("%d tokens of %d, and wrong is: %q", found.tokens, len(m.ids), found.problems)
	}
	// Nothing is left of what is gone, and of what is there all of it counts.
	entries := 0
	for key := range dump(t, m.s) {
		if !strings.HasPrefix(key, "t") {
			entries++
		}
	}
	if found.entries != entries {
		t.Fatalf("%d entries of indexes were looked at, there are %d", found.entries, entries)
	}
}

func TestIndexesStayWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{s: memory.New()}
		t.Repeat(map[string]func(*rapid.T){
			"Make": m.make, "MakeMore": m.make, "Change": m.change, "Delete": m.delete, "Forget": m.forget,
			"Use": func(t *rapid.T) {
				id := m.one(t)
				update(t, m.s, func(w store.Writer) error { return store.PutUse(w, id, token.Use{At: m.clock()}) })
			},
			"Wait": func(t *rapid.T) { m.now += rapid.IntRange(1, 40).Draw(t, "seconds") },
			"":     m.check,
		})
	})
}

// damaged is a store with a token of every kind, one of them used, one
// expired, one revoked, to break one thing of.
func damaged() (store.Store, map[string]token.Record) {
	s := memory.New()
	tokens := map[string]token.Record{
		"user": userToken(1, alice), "other": userToken(2, bob), "refresh": refreshToken(3, alice, "ci"), "nameless": refreshToken(4, alice, ""),
		"service": serviceToken(5, alice, "imap"), "expired": refreshToken(6, alice, "old"), "revoked": refreshToken(7, alice, "lost"),
	}
	return s, tokens
}

func TestInspectFindsDamage(t *testing.T) {
	stray := userToken(9, alice)
	slot := func(o token.Owner, kind, name string) store.Key {
		return store.NewKey('n').Owner(o).Text(kind).Text(name)
	}
	type writes = func(store.Writer, map[string]token.Record) error
	id := func(r token.Record) []byte { return r.ID[:] }
	for what, c := range map[string]struct {
		shallow bool // a look at the records finds it too
		damage  writes
	}{
		"a record with a bit flipped": {true, func(w store.Writer, m map[string]token.Record) error {
			key := tokenKey(m["user"].ID)
			value, err := w.Get(key)
			flipped := append([]byte(nil), value...)
			flipped[3] ^= 1
			return errors.Join(err, w.Put(key, flipped))
		}},
		"a record under another's key": {true, func(w store.Writer, m map[string]token.Record) error {
			value, err := w.Get(tokenKey(m["other"].ID))
			return errors.Join(err, w.Put(tokenKey(m["user"].ID), append([]byte(nil), value...)))
		}},
		"a record under a key that is no id": {true, func(w store.Writer, _ map[string]token.Record) error {
			return w.Put(store.NewKey('t').Text("x"), []byte("value"))
		}},
		"a record of a newer version": {true, func(w store.Writer, m map[string]token.Record) error {
			key := tokenKey(m["user"].ID)
			return w.Put(key, store.Marshal(key, 9, func(*store.Encoder) {}))
		}},
		"a record that is gone": {false, func(w store.Writer, m map[string]token.Record) error { return w.Delete(tokenKey(m["nameless"].ID)) }},
		"no entry by owner": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Delete(store.NewKey('o').Owner(alice).ID(m["revoked"].ID))
		}},
		"no entry by end of an expiring token": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Delete(store.NewKey('e').Time(m["refresh"].ExpiresAt).ID(m["refresh"].ID))
		}},
		"no entry by end of a revoked token": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Delete(store.NewKey('e').Time(at(50)).ID(m["revoked"].ID))
		}},
		"no slot of a user token": {false, func(w store.Writer, _ map[string]token.Record) error { return w.Delete(slot(bob, "user", "")) }},
		"no slot of a name":       {false, func(w store.Writer, _ map[string]token.Record) error { return w.Delete(slot(alice, "refresh", "ci")) }},
		"no slot of a service":    {false, func(w store.Writer, _ map[string]token.Record) error { return w.Delete(slot(alice, "service", "imap")) }},
		"no entry by service": {false, func(w store.Writer, _ map[string]token.Record) error {
			return w.Delete(store.NewKey('s').Text("imap").Owner(alice))
		}},
		"a slot that leads to another's token": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Put(slot(alice, "user", ""), id(m["other"]))
		}},
		"a slot that leads to a token that has ended": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Put(slot(alice, "refresh", "lost"), id(m["revoked"]))
		}},
		"a slot of a live token that an expired one holds": {false, func(w store.Writer, m map[string]token.Record) error {
			old := refreshToken(8, alice, "ci")
			old.ExpiresAt = at(20)
			return store.PutToken(w, nil, &old)
		}},
		"a slot that leads nowhere": {false, func(w store.Writer, _ map[string]token.Record) error {
			return w.Put(slot(alice, "refresh", "x"), id(stray))
		}},
		"a slot without an id": {false, func(w store.Writer, _ map[string]token.Record) error { return w.Put(slot(alice, "refresh", "x"), nil) }},
		"a service's entry that leads nowhere": {false, func(w store.Writer, _ map[string]token.Record) error {
			return w.Put(store.NewKey('s').Text("imap").Owner(bob), id(stray))
		}},
		"a service's entry of another service": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Put(store.NewKey('s').Text("smtp").Owner(alice), id(m["service"]))
		}},
		"an owner's entry that leads nowhere": {false, func(w store.Writer, _ map[string]token.Record) error {
			return w.Put(store.NewKey('o').Owner(alice).ID(stray.ID), id(stray))
		}},
		"another owner's entry": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Put(store.NewKey('o').Owner(bob).ID(m["user"].ID), id(m["user"]))
		}},
		"an owner's entry without an id": {false, func(w store.Writer, _ map[string]token.Record) error { return w.Put(store.NewKey('o').Text("x"), nil) }},
		"a second entry by end": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Put(store.NewKey('e').Time(at(1)).ID(m["refresh"].ID), nil)
		}},
		"an entry by end of a token without": {false, func(w store.Writer, m map[string]token.Record) error {
			return w.Put(store.NewKey('e').Time(at(1)).ID(m["user"].ID), nil)
		}},
		"an entry by end that leads nowhere": {false, func(w store.Writer, _ map[string]token.Record) error {
			return w.Put(store.NewKey('e').Time(at(1)).ID(stray.ID), nil)
		}},
		"an entry by end without an id": {false, func(w store.Writer, _ map[string]token.Record) error { return w.Put(store.NewKey('e').Text(""), nil) }},
		"a use of a token that is not there": {false, func(w store.Writer, _ map[string]token.Record) error {
			return store.PutUse(w, stray.ID, token.Use{At: at(1)})
		}},
		"a use with a bit flipped": {false, func(w store.Writer, m map[string]token.Record) error {
			key := store.NewKey('u').ID(m["user"].ID)
			value, err := w.Get(key)
			flipped := append([]byte(nil), value...)
			flipped[len(flipped)-1] ^= 1
			return errors.Join(err, w.Put(key, flipped))
		}},
		"an account with a bit flipped": {false, func(w store.Writer, _ map[string]token.Record) error {
			key := store.NewKey('c').Text("account").Owner(alice)
			return w.Put(key, append(store.Marshal(key, 1, func(*store.Encoder) {}), 0))
		}},
		"a policy under another's key": {false, func(w store.Writer, _ map[string]token.Record) error {
			value := store.Marshal(store.NewKey('c').Text("policy"), 1, func(*store.Encoder) {})
			return w.Put(store.NewKey('c').Text("policy2"), value)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s, tokens := damaged()
			put(t, s, slices.Collect(maps.Values(tokens))...)
			change(t, s, tokens["revoked"].ID, func(r *token.Record) { r.Bury(at(50), alice, "") })
			update(t, s, func(w store.Writer) error {
				return errors.Join(
					store.PutUse(w, tokens["user"].ID, token.Use{At: at(3)}),
					store.Accounts.Put(w, token.Account{Owner: alice}),
					store.Policies.Put(w, token.DefaultPolicy()),
				)
			})
			if found := inspect(t, s, true, at(60)); len(found.problems) > 0 || found.tokens != len(tokens) {
				t.Fatalf("before the damage: %+v", found)
			}
			update(t, s, func(w store.Writer) error { return c.damage(w, tokens) })
			if found := problems(t, s, at(60)); len(found) == 0 {
				t.Error("a deep look does not find it")
			}
			if found := inspect(t, s, false, at(60)); (len(found.problems) > 0) != c.shallow || found.entries > 0 {
				t.Errorf("a look at the records finds %q and %d entries", found.problems, found.entries)
			}
		})
	}
}

// More than one page is looked at, and the loop may stop anywhere.
func TestInspectPages(t *testing.T) {
	s := memory.New()
	const n = 2500
	for i := 0; i < n; i += 500 {
		var page []token.Record
		for k := i; k < i+500; k++ {
			page = append(page, refreshToken(k, alice, ""))
		}
		put(t, s, page...)
	}
	if found := inspect(t, s, true, at(0)); found.tokens != n || found.entries != 2*n || len(found.problems) > 0 {
		t.Errorf("%d tokens and %d entries, %q", found.tokens, found.entries, found.problems)
	}
	seen := 0
	for range store.Inspect(background, s, true, time.Now) {
		if seen++; seen == 1500 {
			break
		}
	}
	must(t, s.Close())
	var last error
	for _, err := range store.Inspect(background, s, true, time.Now) {
		last = err
	}
	if !errors.Is(last, token.ErrCannotTell) {
		t.Errorf("a store that cannot be read: %v", last)
	}
}

func TestCount(t *testing.T) {
	s := memory.New()
	for i := range 3 {
		put(t, s, userToken(i, token.Owner{Realm: "local", Name: fmt.Sprint(i)}))
	}
	for table, want := range map[byte]int{'t': 3, 'o': 3, 'n': 3, 's': 0, 'e': 0, 'a': 0} {
		if n, err := store.Count(background, s, table); n != want || err != nil {
			t.Errorf("table %c has %d entries, %v", table, n, err)
		}
	}
}
