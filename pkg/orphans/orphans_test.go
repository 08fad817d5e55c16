package orphans_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/directory/list"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestPurge(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(40)
		w.owner("local/alice", 1)
		w.owner("idp/u3", 1)       // whom nobody can ask about
		w.owner("staff/nobody", 0) // an account without tokens is no orphan
		w.staff(append(names[4:], "others", "more")...)
		asked := 0
		p, err := w.orphans(admin).Find(t.Context(), orphans.Query{Progress: func(more int) { asked += more }})
		must(t, err)
		if got, want := ownersOf(p), []string{"staff/u0", "staff/u1", "staff/u2", "staff/u3"}; !slices.Equal(got, want) {
			t.Errorf("orphans are %v, not %v", got, want)
		}
		want := []orphans.Realm{{Name: "staff", Asked: 40, Present: 36, Orphans: 4, Limit: 4}}
		if diff := cmp.Diff(want, p.Realms); diff != "" || asked != 40 || p.Tokens() != 6 || p.Orphans[0].Why == "" {
			t.Errorf("%d asked, %d tokens: -want +got:\n%s", asked, p.Tokens(), diff)
		}
		before, removed := w.live(), 0
		rep := w.purge(p, orphans.Consent{Progress: func(more int) { removed += more }})
		wantReport := orphans.Report{
			Plan: p.Digest, Owners: 4, Tokens: 6, Stewardless: []orphans.Stewardless{},
			Realms: []orphans.Purged{{Realm: "staff", Asked: 40, Owners: 4, Tokens: 6}},
		}
		if diff := cmp.Diff(wantReport, rep); diff != "" || removed != 6 {
			t.Errorf("%d removed: -want +got:\n%s", removed, diff)
		}
		for _, o := range ownersOf(p) {
			delete(before, o)
		}
		if diff := cmp.Diff(before, w.live()); diff != "" {
			t.Errorf("what lives: -want +got:\n%s", diff)
		}
		if diff := cmp.Diff(idsOf(p), w.revoked("orphan purge "+p.Digest[:16])); diff != "" {
			t.Errorf("the audit log: -want +got:\n%s", diff)
		}
		for _, id := range idsOf(p) {
			parsed, err := token.ParseID(id)
			must(t, err)
			tombstone, err := w.service().Get(t.Context(), parsed)
			must(t, err)
			if tombstone.Status != token.Revoked || !strings.HasPrefix(tombstone.RevokedReason, "orphan purge ") {
				t.Errorf("%s is %s: %q", id, tombstone.Status, tombstone.RevokedReason)
			}
		}
		// Those who are gone have nothing left, so there is nobody to find.
		if p := w.find(); len(p.Orphans) != 0 || p.Realms[0].Asked != 36 {
			t.Errorf("then found %+v", p)
		}
	})
}

func TestBreaker(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(40)
		purge := func(p orphans.Plan, most int) func() error {
			return func() error {
				_, err := w.orphans(admin).Purge(t.Context(), p, orphans.Consent{MaxOrphans: most})
				return err
			}
		}
		w.staff(names[5:]...)
		p := w.find()
		if p.Over(orphans.Consent{}) == nil || p.Over(orphans.Consent{MaxOrphans: 5}) != nil {
			t.Error("the plan does not tell that it is over the limit")
		}
		w.untouched(token.ErrUnsafe, "5 of the 40 owners of the realm staff would be orphans, more than 4", purge(p, 0))
		w.untouched(token.ErrUnsafe, "more than 3", purge(p, 3))
		w.untouched(token.ErrUsage, "-1", purge(p, -1))
		// The directory has lost more since: that is not what was agreed to.
		w.staff(names[20:]...)
		w.untouched(token.ErrUnsafe, "20 of the 40", purge(p, 5))
		w.staff(names[5:]...)
		_, err := w.service().SetPolicy(t.Context(), map[string]string{"purge_breaker": "50"})
		must(t, err)
		if p := w.find(); p.Realms[0].Limit != 20 || p.Over(orphans.Consent{}) != nil {
			t.Errorf("%+v", p.Realms)
		}
		if rep := w.purge(p, orphans.Consent{MaxOrphans: 5}); rep.Owners != 5 {
			t.Errorf("%+v", rep)
		}
		// Of few, two may go.
		small := newWorld(t, w.store)
		small.dirs[0] = realm(t, "small", small.file)
		for _, name := range []string{"a", "b", "c"} {
			w.owner("small/"+name, 1)
		}
		w.dirs = small.dirs
		small.staff("a")
		if p := w.find(); p.Over(orphans.Consent{}) != nil || len(p.Orphans) != 2 {
			t.Errorf("%+v", p)
		}
	})
}

func realm(t testing.TB, name, file string) directory.Directory {
	t.Helper()
	d, err := list.New(list.Options{Realm: name, File: file})
	must(t, err)
	return d
}

// The directory is asked again, and the plan holds exactly, or not at all.
func TestPlanHolds(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(40)
		w.staff(names[3:]...)
		fresh := func() orphans.Plan { return w.find() }
		conflict := func(p orphans.Plan, says string) {
			t.Helper()
			w.untouched(token.ErrConflict, says, func() error {
				_, err := w.orphans(admin).Purge(t.Context(), p, orphans.Consent{})
				return err
			})
		}
		p := fresh()
		w.staff(names[2:]...)
		conflict(p, "the directory knows staff/u2 now")
		w.staff(names[3:]...)

		p = fresh()
		ref := token.Ref{ID: p.Orphans[1].Tokens[0].ID}
		must(t, w.service().Suspend(t.Context(), []token.Ref{ref}, time.Time{}))
		conflict(p, "has changed since")
		p = fresh()
		must(t, w.service().Revoke(t.Context(), []token.Ref{ref}, "by somebody else"))
		conflict(p, "has changed since")
		p = fresh()
		must(t, w.service().Delete(t.Context(), []token.Ref{{ID: p.Orphans[0].Tokens[0].ID}}))
		conflict(p, "has changed since")

		// Who goes later, and what is made later, is not in the plan.
		p = fresh()
		w.staff(names[4:]...)
		late := w.token(p.Orphans[0].Owner, "late")
		if rep := w.purge(p, orphans.Consent{}); rep.Tokens != p.Tokens() || rep.Owners != len(p.Orphans) {
			t.Errorf("%+v", rep)
		}
		if live := w.live(); live["staff/u3"] != 2 || live[late.Owner.String()] != 1 {
			t.Errorf("what was not in the plan: %v", live)
		}
		// The same plan again finds all done.
		if rep := w.purge(p, orphans.Consent{}); rep.Tokens != 0 {
			t.Errorf("%+v", rep)
		}
		// What expires meanwhile has gone by itself.
		p = fresh()
		w.now = w.now.Add(40 * token.Day)
		if rep := w.purge(p, orphans.Consent{}); rep.Tokens != 0 {
			t.Errorf("%+v", rep)
		}
	})
}

// A purge that was killed in the middle goes on: with the same plan, and with a
// new one.
func TestResume(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(60)
		for i := range 1200 {
			w.token(token.Owner{Realm: "staff", Name: fmt.Sprint("u", i%4)}, fmt.Sprint("more", i))
		}
		w.staff(names[4:]...)
		p := w.find()
		ctx, cancel := context.WithCancel(t.Context())
		rep, err := w.orphans(admin).Purge(ctx, p, orphans.Consent{Progress: func(int) { cancel() }})
		if err == nil || rep.Tokens == 0 || rep.Tokens >= p.Tokens() || !strings.Contains(err.Error(), fmt.Sprintf("%d of %d tokens", rep.Tokens, p.Tokens())) {
			t.Fatalf("%+v (%v)", rep, err)
		}
		rest := p.Tokens() - rep.Tokens
		if p := w.find(); p.Tokens() != rest {
			t.Errorf("a new plan has %d tokens, not %d", p.Tokens(), rest)
		}
		if rep := w.purge(p, orphans.Consent{}); rep.Tokens != rest {
			t.Errorf("then %d were removed, not %d", rep.Tokens, rest)
		}
		if diff := cmp.Diff(idsOf(p), w.revoked("orphan purge ")); diff != "" {
			t.Error("the audit log has not each token once")
		}
	})
}

// Any doubt, of anybody, and nothing is removed; not even with a plan made when
// there was none.
func TestDoubts(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(40)
		w.staff(names[2:]...)
		p := w.find()
		sound := w.dirs[0]
		one := func(state directory.State) func(context.Context, []token.Owner) ([]directory.Verdict, error) {
			return func(ctx context.Context, owners []token.Owner) ([]directory.Verdict, error) {
				v, err := sound.Presence(ctx, owners)
				v[7].State, v[7].Why = state, "for some reason"
				return v, err
			}
		}
		for name, test := range map[string]struct {
			says   string
			change func()
		}{
			"file gone":    {"no such file", func() { must(t, os.Rename(w.file, w.file+"~")) }},
			"file empty":   {"names nobody", func() { must(t, os.WriteFile(w.file, nil, 0o600)) }},
			"file cut off": {"cut off", func() { must(t, os.WriteFile(w.file, []byte("u5\nu"), 0o600)) }},
			"nobody there": {"knows none of the 40", func() { w.staff("others") }},
			"one in doubt": {"leaves 1 of the 40 owners in doubt: staff/u15 (for some reason)", func() { w.dirs[0] = says{sound, one(directory.CannotTell)} }},
			"an error": {"half an answer", func() {
				w.dirs[0] = says{sound, func(context.Context, []token.Owner) ([]directory.Verdict, error) {
					return nil, token.Errorf(token.ErrCannotTell, "half an answer")
				}}
			}},
			"too few answers": {"39 answers to 40", func() {
				w.dirs[0] = says{sound, func(ctx context.Context, owners []token.Owner) ([]directory.Verdict, error) {
					return sound.Presence(ctx, owners[1:])
				}}
			}},
			"answers in disorder": {"when asked about", func() {
				w.dirs[0] = says{sound, func(ctx context.Context, owners []token.Owner) ([]directory.Verdict, error) {
					v, err := sound.Presence(ctx, owners)
					v[3], v[4] = v[4], v[3]
					return v, err
				}}
			}},
			"another realm": {"no directory of the realm", func() { w.dirs[0] = realm(t, "other", w.file) }},
		} {
			t.Run(name, func(t *testing.T) {
				w.TB = t
				test.change()
				w.untouched(token.ErrCannotTell, test.says, func() error {
					_, err := w.orphans(admin).Purge(t.Context(), p, orphans.Consent{MaxOrphans: 1000})
					return err
				})
				if name != "another realm" {
					w.untouched(token.ErrCannotTell, test.says, func() error {
						_, err := w.orphans(admin).Find(t.Context(), orphans.Query{})
						return err
					})
				}
				w.dirs[0] = sound
				w.staff(names[2:]...)
			})
		}
	})
}

// One realm in doubt stops a purge of all, and not one of another.
func TestDoubtsElsewhere(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(40)
		w.staff(names[2:]...)
		w.dirs = append(w.dirs, says{realm(t, "doubts", w.file), func(context.Context, []token.Owner) ([]directory.Verdict, error) {
			return nil, token.Errorf(token.ErrCannotTell, "it is down")
		}})
		w.owner("doubts/x", 1)
		w.untouched(token.ErrCannotTell, "it is down", func() error {
			_, err := w.orphans(admin).Find(t.Context(), orphans.Query{})
			return err
		})
		p, err := w.orphans(admin).Find(t.Context(), orphans.Query{Realm: "staff"})
		must(t, err)
		if rep := w.purge(p, orphans.Consent{}); rep.Owners != 2 {
			t.Errorf("%+v", rep)
		}
	})
}

// Somebody with the name, but not the id, is another person.
func TestNameTakenOver(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(5)
		w.staff(names...)
		sound := w.dirs[0]
		w.dirs[0] = says{sound, func(ctx context.Context, owners []token.Owner) ([]directory.Verdict, error) {
			v, err := sound.Presence(ctx, owners)
			for i := range v {
				v[i].EntryID = "new"
			}
			return v, err
		}}
		if p := w.find(); len(p.Orphans) != 0 {
			t.Errorf("%+v", p.Orphans)
		}
		w.remember("u2", "old")
		w.remember("u3", "new")
		if got := ownersOf(w.find()); !slices.Equal(got, []string{"staff/u2"}) {
			t.Errorf("orphans are %v", got)
		}
		// A directory that was made anew, where everybody is another.
		for _, name := range names {
			w.remember(name, "old")
		}
		if !sound.Canary().IsZero() {
			t.Fatal("a canary would answer for them")
		}
		if p, err := w.orphans(admin).Find(t.Context(), orphans.Query{}); !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("with all of them others now: %+v, %v", p, err)
		}
	})
}

// Service accounts live as long as somebody answers for them, and are only
// told of then.
func TestStewards(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(30)
		bob := w.owner("local/bob", 0)
		bot := func(name string, steward token.Owner) {
			o, err := token.ParseOwner(name)
			must(t, err)
			w.token(w.account(token.Account{Owner: o, Kind: token.ServiceAccount, Steward: steward}), "t")
		}
		staff := func(name string) token.Owner { return token.Owner{Realm: "staff", Name: name} }
		bot("bot0", staff("u0"))
		bot("bot7", staff("u7"))
		bot("botb", bob)
		bot("staff/bot", staff("u8"))
		bot("staff/bot1", staff("u1"))
		w.staff(names[2:]...)
		p := w.find()
		if got := ownersOf(p); !slices.Equal(got, []string{"staff/u0", "staff/u1"}) {
			t.Errorf("orphans are %v", got)
		}
		told := func(p orphans.Plan) (list []string) {
			for _, s := range p.Stewardless {
				list = append(list, fmt.Sprintf("%s of %s", s.Account, s.Steward))
				if s.Why == "" {
					t.Errorf("not told why: %+v", s)
				}
			}
			return list
		}
		if got := told(p); !slices.Equal(got, []string{"local/bot0 of staff/u0", "staff/bot1 of staff/u1"}) {
			t.Errorf("without a steward: %v", got)
		}
		w.purge(p, orphans.Consent{})
		live := w.live()
		for _, name := range []string{"local/bot0", "local/bot7", "local/botb", "staff/bot", "staff/bot1"} {
			if live[name] != 1 {
				t.Errorf("%s has %d tokens", name, live[name])
			}
		}
		_, err := w.service().SetAccount(t.Context(), token.Account{Owner: bob, Kind: token.Person, Disabled: true})
		must(t, err)
		if got := told(w.find()); !slices.Contains(got, "local/botb of local/bob") {
			t.Errorf("without a steward: %v", got)
		}
		p, err = w.orphans(admin).Find(t.Context(), orphans.Query{Realm: "staff"})
		must(t, err)
		if got := told(p); slices.Contains(got, "local/botb of local/bob") {
			t.Errorf("of staff: %v", got)
		}
	})
}

func TestWhoMayPurge(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(30)
		w.staff(names[1:]...)
		p := w.find()
		auditor := w.account(token.Account{Owner: token.Owner{Realm: "local", Name: "eve"}, Kind: token.Person, Roles: []token.Role{token.Auditor}})
		for _, c := range []authority.Caller{{}, {Owner: auditor}, {Owner: p.Orphans[0].Owner}, {Owner: admin.Owner, Narrowed: true, Roles: []token.Role{"x"}}} {
			w.untouched(token.ErrRefused, "", func() error {
				_, err := w.orphans(c).Find(t.Context(), orphans.Query{})
				return err
			})
			w.untouched(token.ErrRefused, "", func() error {
				_, err := w.orphans(c).Purge(t.Context(), p, orphans.Consent{})
				return err
			})
		}
	})
}

func TestRealms(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		find := func(realm string) error {
			_, err := w.orphans(admin).Find(t.Context(), orphans.Query{Realm: realm})
			return err
		}
		if err := find("local"); !errors.Is(err, token.ErrUsage) {
			t.Error(err)
		}
		if err := find("idp"); !errors.Is(err, token.ErrNotFound) {
			t.Error(err)
		}
		w.dirs = nil
		if err := find(""); !errors.Is(err, token.ErrUsage) {
			t.Error(err)
		}
	})
}

// A plan is what was written, or no plan.
func TestReadPlan(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(30)
		w.owner("staff/josé <&> x", 1)
		w.staff(names[1:]...)
		p := w.find()
		text, err := json.MarshalIndent(p, "", "  ")
		must(t, err)
		got, err := orphans.ReadPlan(text)
		if diff := cmp.Diff(p, got); err != nil || diff != "" {
			t.Fatalf("%v: -want +got:\n%s", err, diff)
		}
		id := p.Orphans[1].Tokens[0].ID.String()
		for name, wrong := range map[string]string{
			"nothing":         "",
			"cut off":         string(text[:len(text)-3]),
			"another owner":   strings.Replace(string(text), "staff/u0", "staff/u9", 1),
			"another token":   strings.Replace(string(text), id, strings.Repeat("0", len(id)), 1),
			"another limit":   strings.Replace(string(text), `"limit": 3`, `"limit": 30`, 1),
			"something else":  string(text) + "{}",
			"an unknown key":  strings.Replace(string(text), `"digest"`, `"x": 1, "digest"`, 1),
			"something again": string(text) + string(text),
		} {
			if wrong == string(text) {
				t.Fatalf("%s changes nothing", name)
			}
			if _, err := orphans.ReadPlan([]byte(wrong)); !errors.Is(err, token.ErrUsage) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Where a realm is a directory's and an identity provider's nobody is an orphan:
// the directory does not know the provider's people.
func TestRealmOfAProvider(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		names := w.crowd(10)
		w.staff(names[1:]...)
		p := w.find()
		provider := token.NewProvider("staff")
		provider.Issuer, provider.Audiences, provider.CreatedAt, provider.Revision = "https://id.example.org", []string{"a"}, time.Now(), 1
		must(t, w.store.Update(t.Context(), func(s store.Writer) error { return store.Providers.Put(s, provider) }))
		w.untouched(token.ErrCannotTell, `"staff" is a directory and an identity provider`, func() error {
			_, err := w.orphans(admin).Find(t.Context(), orphans.Query{})
			return err
		})
		w.untouched(token.ErrCannotTell, `"staff" is a directory and an identity provider`, func() error {
			_, err := w.orphans(admin).Purge(t.Context(), p, orphans.Consent{})
			return err
		})
	})
}
