package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestSlots(t *testing.T) {
	for _, c := range []struct {
		what          string
		first, second token.Record
		same          bool // they want the same slot
	}{
		{"user tokens of one owner", userToken(1, alice), userToken(2, alice), true},
		{"user tokens of two owners", userToken(1, alice), userToken(2, bob), false},
		{"user tokens of one name in two realms", userToken(1, alice), userToken(2, token.Owner{Realm: "corp", Name: "alice"}), false},
		{"refresh tokens of one name", refreshToken(1, alice, "ci"), refreshToken(2, alice, "ci"), true},
		{"refresh tokens of two names", refreshToken(1, alice, "ci"), refreshToken(2, alice, "CI"), false},
		{"refresh tokens of one name and two owners", refreshToken(1, alice, "ci"), refreshToken(2, bob, "ci"), false},
		{"service tokens for one service", serviceToken(1, alice, "imap"), serviceToken(2, alice, "imap"), true},
		{"service tokens for two services", serviceToken(1, alice, "imap"), serviceToken(2, alice, "smtp"), false},
		{"tokens of two kinds and one name", refreshToken(1, alice, "imap"), serviceToken(2, alice, "imap"), false},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := memory.New()
			put(t, s, c.first)
			free := token.ID{}
			if c.same {
				free = c.first.ID
			}
			if got := holder(t, s, c.second); got != free {
				t.Fatalf("%s holds the slot of the second, want %s", got, free)
			}
			put(t, s, c.second)
			if got := holder(t, s, c.second); got != c.second.ID {
				t.Errorf("%s holds the slot that the second took", got)
			}
			// Whoever goes leaves the slot only if it is still theirs.
			remove(t, s, c.first.ID)
			if got := holder(t, s, c.second); got != c.second.ID {
				t.Errorf("%s holds the slot after the first has gone", got)
			}
			change(t, s, c.second.ID, func(r *token.Record) { r.Bury(at(50), alice, "") })
			if got := holder(t, s, c.second); got != (token.ID{}) {
				t.Errorf("%s holds the slot of a revoked token", got)
			}
			remove(t, s, c.second.ID)
			if left := dump(t, s); len(left) > 0 {
				t.Errorf("deleted tokens leave %q", left)
			}
		})
	}
}

func TestRefreshTokensWithoutNameHoldNoSlot(t *testing.T) {
	s := memory.New()
	put(t, s, refreshToken(1, alice, ""), refreshToken(2, alice, ""))
	if got := holder(t, s, refreshToken(3, alice, "")); got != (token.ID{}) {
		t.Errorf("%s holds a slot", got)
	}
	if got := holder(t, s, refreshToken(3, alice, "ci")); got != (token.ID{}) {
		t.Errorf("%s holds the slot of a name", got)
	}
}

// A tombstone, and a token that has expired, hold what they must not hand on.
func TestSlotOfEndedTokens(t *testing.T) {
	s := memory.New()
	put(t, s, refreshToken(1, alice, "ci"))
	old := refreshToken(1, alice, "ci")
	if got := holder(t, s, old); got != old.ID {
		t.Fatalf("%s holds the slot", got)
	}
	heir := refreshToken(2, alice, "ci")
	put(t, s, heir)
	change(t, s, old.ID, func(r *token.Record) { r.Bury(at(90), alice, "late") })
	if got := holder(t, s, old); got != heir.ID {
		t.Errorf("%s holds the slot after the predecessor was revoked", got)
	}
	remove(t, s, old.ID)
	if got := holder(t, s, old); got != heir.ID {
		t.Errorf("%s holds the slot after the predecessor was deleted", got)
	}
}

func TestPutTokenRefusesAnotherIdentity(t *testing.T) {
	s := memory.New()
	put(t, s, refreshToken(1, alice, "ci"))
	before := dump(t, s)
	for what, change := range map[string]func(*token.Record){
		"id":      func(r *token.Record) { r.ID[9]++ },
		"owner":   func(r *token.Record) { r.Owner = bob },
		"kind":    func(r *token.Record) { r.Kind = token.User },
		"name":    func(r *token.Record) { r.Name = "" },
		"service": func(r *token.Record) { r.Service = "imap" },
	} {
		err := s.Update(background, func(w store.Writer) error {
			was := refreshToken(1, alice, "ci")
			now := was
			change(&now)
			return store.PutToken(w, &was, &now)
		})
		if err == nil {
			t.Errorf("a token has another %s", what)
		}
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestMissingTokens(t *testing.T) {
	s := memory.New()
	view(t, s, func(r store.Reader) error {
		if _, err := store.GetToken(r, tokenID(at(1), 1)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("GetToken: %v", err)
		}
		want := userToken(1, alice)
		if _, err := store.Slot(r, &want); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Slot: %v", err)
		}
		if u, err := store.GetUse(r, want.ID); u != (token.Use{}) || err != nil {
			t.Errorf("GetUse: %+v, %v", u, err)
		}
		return nil
	})
}

// A slot that leads nowhere is damage, and never a free slot.
func TestDamagedSlot(t *testing.T) {
	want := userToken(1, alice)
	for what, value := range map[string][]byte{"no token": want.ID[:], "no id": nil, "half an id": want.ID[:5]} {
		s := memory.New()
		update(t, s, func(w store.Writer) error {
			return w.Put(store.NewKey('n').Owner(alice).Text("user").Text(""), value)
		})
		view(t, s, func(r store.Reader) error {
			if _, err := store.Slot(r, &want); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("a slot with %s: %v", what, err)
			}
			return nil
		})
	}
}

func TestEndedTokens(t *testing.T) {
	s := memory.New()
	expires := func(n, end int) token.Record {
		r := refreshToken(n, alice, "")
		r.ExpiresAt = at(end)
		return r
	}
	put(t, s, userToken(0, alice), expires(1, 300), expires(2, 100), expires(3, 200), expires(4, 200), expires(5, 400), expires(6, 500))
	change(t, s, tokenID(at(5), 5), func(r *token.Record) { r.Bury(at(150), alice, "") }) // before its time
	change(t, s, tokenID(at(2), 2), func(r *token.Record) { r.Bury(at(450), alice, "") }) // after it
	remove(t, s, tokenID(at(6), 6))
	for _, c := range []struct {
		before, limit int
		want          []int
	}{
		{0, 10, nil},
		{150, 10, nil}, // from before it, not at it
		{151, 10, []int{5}},
		{200, 10, []int{5}},
		{201, 10, []int{5, 3, 4}},
		{201, 2, []int{5, 3}},
		{201, 0, nil},
		{1e9, 10, []int{5, 3, 4, 1, 2}}, // in the order of their ends
	} {
		var want []token.ID
		for _, n := range c.want {
			want = append(want, tokenID(at(n), n))
		}
		view(t, s, func(r store.Reader) error {
			got, err := store.EndedTokens(r, at(c.before), c.limit)
			if !slices.Equal(got, want) || err != nil {
				t.Errorf("ended before %d, at most %d: %v, %v, want %v", c.before, c.limit, got, err, want)
			}
			return nil
		})
	}
	update(t, s, func(w store.Writer) error { return w.Put(store.NewKey('e').Time(at(0)), nil) })
	view(t, s, func(r store.Reader) error {
		if _, err := store.EndedTokens(r, at(1e9), 10); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("a garbled key: %v", err)
		}
		return nil
	})
}

// Times that are the same moment in another form must not leave an entry of
// the old form behind.
func TestEndsInAnotherZone(t *testing.T) {
	s := memory.New()
	rec := refreshToken(1, alice, "")
	put(t, s, rec)
	change(t, s, rec.ID, func(r *token.Record) { r.ExpiresAt = r.ExpiresAt.In(time.FixedZone("x", 3600)) })
	change(t, s, rec.ID, func(r *token.Record) { r.Bury(at(100).In(time.FixedZone("x", -3600)), alice, "") })
	if found := problems(t, s, at(0)); len(found) > 0 {
		t.Errorf("%q", found)
	}
}

func TestUses(t *testing.T) {
	s := memory.New()
	rec := userToken(1, alice)
	put(t, s, rec)
	for _, u := range []token.Use{{At: at(5), From: "192.0.2.1"}, {At: at(9)}} {
		update(t, s, func(w store.Writer) error { return store.PutUse(w, rec.ID, u) })
		view(t, s, func(r store.Reader) error {
			if got, err := store.GetUse(r, rec.ID); got != u || err != nil {
				t.Errorf("GetUse gives %+v, %v, want %+v", got, err, u)
			}
			return nil
		})
	}
	remove(t, s, rec.ID)
	if left := dump(t, s); len(left) > 0 {
		t.Errorf("a deleted token leaves %q", left)
	}
}
