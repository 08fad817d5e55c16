package orphans_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/directory/list"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// admin is whoever owns the store.
var admin = authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, Via: "uid 0", FileOwner: true}

// world is a store, its rules, and the directory staff in a file.
type world struct {
	testing.TB
	store store.Store
	rules *authority.Local
	now   time.Time
	file  string
	dirs  []directory.Directory
}

// worlds runs a test over a store in memory and over one in a file.
func worlds(t *testing.T, test func(*testing.T, *world)) {
	t.Run("memory", func(t *testing.T) { test(t, newWorld(t, memory.New())) })
	t.Run("bolt", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.db")
		must(t, bolt.Create(path))
		s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true, NoSync: true})
		must(t, err)
		t.Cleanup(func() { s.Close() })
		test(t, newWorld(t, s))
	})
}

func newWorld(t testing.TB, s store.Store) *world {
	w := &world{TB: t, store: s, now: time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC), file: filepath.Join(t.TempDir(), "staff.txt")}
	w.rules = authority.New(authority.Options{Store: s, Keys: keyfile.New(w.now), Owner: admin, Now: w.clock})
	d, err := list.New(list.Options{Realm: "staff", File: w.file})
	must(t, err)
	w.dirs = []directory.Directory{d}
	return w
}

func (w *world) clock() time.Time { return w.now }

func (w *world) service() authority.Service { return w.rules.As(admin) }

func (w *world) orphans(caller authority.Caller) *orphans.Local {
	return orphans.New(orphans.Options{Store: w.store, Rules: w.rules, Caller: caller, Directories: w.dirs, Now: w.clock})
}

// staff writes the list of those who are there.
func (w *world) staff(names ...string) {
	w.Helper()
	must(w, os.WriteFile(w.file, []byte(strings.Join(names, "\n")+"\n"), 0o600))
}

// account adds an account.
func (w *world) account(a token.Account) token.Owner {
	w.Helper()
	_, err := w.service().AddAccount(w.Context(), a)
	must(w, err)
	return a.Owner
}

// owner adds an owner who has so many tokens.
func (w *world) owner(name string, tokens int) token.Owner {
	w.Helper()
	o, err := token.ParseOwner(name)
	must(w, err)
	w.account(token.Account{Owner: o, Kind: token.Person})
	for i := range tokens {
		w.token(o, fmt.Sprint("t", i))
	}
	return o
}

func (w *world) token(o token.Owner, name string) token.Token {
	w.Helper()
	issued, err := w.service().Generate(w.Context(), token.Spec{Kind: token.Refresh, Owner: o, Name: name, Lifetime: 30 * token.Day})
	must(w, err)
	return issued.Token
}

// crowd adds u0 to un-1 of staff with a token each, and returns their names.
func (w *world) crowd(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("u", i))
		w.owner("staff/"+names[i], 1+i%2)
	}
	return names
}

func (w *world) find() orphans.Plan {
	w.Helper()
	p, err := w.orphans(admin).Find(w.Context(), orphans.Query{})
	must(w, err)
	return p
}

func (w *world) purge(p orphans.Plan, c orphans.Consent) orphans.Report {
	w.Helper()
	rep, err := w.orphans(admin).Purge(w.Context(), p, c)
	must(w, err)
	return rep
}

// live is how many tokens live, by owner.
func (w *world) live() map[string]int {
	w.Helper()
	found := map[string]int{}
	for t, err := range w.service().List(w.Context(), token.Selector{}) {
		must(w, err)
		found[t.Owner.String()]++
	}
	return found
}

// untouched runs something that must fail with an error of a kind, and change
// no token.
func (w *world) untouched(kind error, says string, do func() error) {
	w.Helper()
	before := fmt.Sprint(w.live())
	err := do()
	if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), says) {
		w.Errorf("the error is %v, want a %v with %q", err, kind, says)
	}
	if after := fmt.Sprint(w.live()); before != after {
		w.Errorf("tokens have changed:\n%s\n%s", before, after)
	}
}

// revoked are the ids of tokens whose revocation is in the audit log, sorted.
func (w *world) revoked(reason string) (ids []string) {
	w.Helper()
	for e, err := range w.service().ListAudit(w.Context(), audit.Filter{}) {
		must(w, err)
		if e.Action == "token.revoke" && e.Actor == admin.Owner && strings.HasPrefix(e.Reason, reason) {
			ids = append(ids, e.Token.String())
		}
	}
	slices.Sort(ids)
	return ids
}

// idsOf are the ids of the tokens of a plan, sorted.
func idsOf(p orphans.Plan) (ids []string) {
	for _, o := range p.Orphans {
		for _, t := range o.Tokens {
			ids = append(ids, t.ID.String())
		}
	}
	slices.Sort(ids)
	return ids
}

func ownersOf(p orphans.Plan) (names []string) {
	for _, o := range p.Orphans {
		names = append(names, o.Owner.String())
	}
	return names
}

// says is a directory that answers as a test likes.
type says struct {
	directory.Directory
	presence func(context.Context, []token.Owner) ([]directory.Verdict, error)
}

func (d says) Presence(ctx context.Context, owners []token.Owner) ([]directory.Verdict, error) {
	return d.presence(ctx, owners)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// remember gives somebody of staff an entry id.
func (w *world) remember(name, id string) {
	w.Helper()
	must(w, w.store.Update(w.Context(), func(tx store.Writer) error {
		a, err := store.Accounts.Get(tx, "staff", name)
		if err != nil {
			return err
		}
		a.EntryID = id
		return store.Accounts.Put(tx, a)
	}))
}
