package authority_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// registry is a directory of which a test decides when it answers, and what
// happens meanwhile. All that does not depend on that is tested with a real one.
type registry struct {
	mu     sync.Mutex
	people map[string]directory.Identity
	down   bool
	during func() // while a question is under way
	asked  int
}

var errDown = token.Errorf(token.ErrCannotTell, "the directory corp is down")

func (r *registry) Realm() string                              { return "corp" }
func (r *registry) Canonical(name string) (token.Owner, error) { return directory.Fold("corp", name) }
func (r *registry) Canary() token.Owner                        { return token.Owner{} }
func (r *registry) Close() error                               { return nil }
func (r *registry) set(name string, id directory.Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id.Owner = corp(name)
	if r.people == nil {
		r.people = map[string]directory.Identity{}
	}
	r.people[name] = id
}

func (r *registry) Presence(ctx context.Context, owners []token.Owner) (all []directory.Verdict, err error) {
	for _, o := range owners {
		v, err := r.Lookup(ctx, o)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (r *registry) Lookup(_ context.Context, o token.Owner) (directory.Verdict, error) {
	r.mu.Lock()
	id, has := r.people[o.Name]
	down, during := r.down, r.during
	r.asked++
	r.mu.Unlock()
	if during != nil {
		during()
	}
	switch {
	case down:
		return directory.Verdict{}, errDown
	case !has:
		return directory.Verdict{Identity: directory.Identity{Owner: o}, State: directory.Absent}, nil
	}
	return directory.Verdict{Identity: id, State: directory.Present}, nil
}

// Authenticate takes one password for right, of everybody.
func (r *registry) Authenticate(ctx context.Context, name string, password secret.Secret) (directory.Identity, error) {
	v, err := r.Lookup(ctx, corp(name))
	if err == nil && (v.State != directory.Present || v.Disabled || password.Reveal() != goodPassword) {
		err = token.Errorf(token.ErrRefused, "not the password of %s", name)
	}
	return v.Identity, err
}

func corp(name string) token.Owner { return token.Owner{Realm: "corp", Name: name} }

// town is an authority beside a registry, with alice of corp in it.
func town(t *testing.T, s store.Store, r *registry) (*authority.Local, authority.Service) {
	t.Helper()
	l := authority.New(authority.Options{Store: s, Keys: keyfile.New(time.Now()), Serving: true, Directories: []directory.Directory{r}})
	return l, l.As(authority.Caller{Owner: owner("root"), Via: "test", FileOwner: true})
}

func accepted(l *authority.Local, s secret.Secret) bool {
	_, err := l.Verify(background, authority.Presented{Credential: s})
	return err == nil
}

// refuses makes an Update fail, the n-th from now.
type refuses struct {
	store.Store
	after int
}

var errFull = errors.New("no space left")

func (s *refuses) Update(ctx context.Context, fn func(store.Writer) error) error {
	if s.after--; s.after == 0 {
		return errFull
	}
	return s.Store.Update(ctx, fn)
}

// Wherever the end of another person's tokens breaks off, the next log-in goes
// on, and until then nobody has the account: not when an administrator enables
// it, either.
func TestSuccessionGoesOn(t *testing.T) {
	for at := 1; ; at++ {
		r, s := &registry{}, &refuses{Store: memory.New()}
		l, root := town(t, s, r)
		r.set("alice", directory.Identity{EntryID: "1"})
		_, err := logsIn(l, "corp/alice", goodPassword)
		must(t, err)
		var hers []secret.Secret
		for _, spec := range []token.Spec{{Kind: token.User, Owner: corp("alice")}, {Kind: token.Refresh, Owner: corp("alice"), Name: "a"}, {Kind: token.Refresh, Owner: corp("alice"), Name: "b"}} {
			i, err := root.Generate(background, spec)
			must(t, err)
			hers = append(hers, i.Secret)
		}
		bot := token.Account{Owner: owner("bot"), Kind: token.ServiceAccount, Steward: corp("ALICE")} // in any spelling
		_, err = root.AddAccount(background, bot)
		must(t, err)

		r.set("alice", directory.Identity{EntryID: "2"})
		s.after = at
		_, broke := logsIn(l, "corp/alice", goodPassword)
		s.after = 0
		if at > 1 && broke != nil { // the first step is done
			for i, secret := range hers {
				if accepted(l, secret) {
					t.Errorf("broken off at step %d, token %d is accepted", at, i)
				}
			}
			a, err := root.Account(background, corp("alice"))
			must(t, err)
			a.Disabled = false
			_, err = root.SetAccount(background, a)
			must(t, err)
			// The last step is of the other person.
			if _, err := root.Generate(background, token.Spec{Kind: token.Refresh, Owner: corp("alice"), Name: "c"}); err == nil && a.EntryID == "1" {
				t.Errorf("broken off at step %d, a token is made", at)
			}
		}
		id, err := logsIn(l, "corp/alice", goodPassword)
		if err != nil || id.Owner != corp("alice") {
			t.Fatalf("broken off at step %d, the next log-in: %v", at, err)
		}
		for i, secret := range hers {
			if accepted(l, secret) {
				t.Errorf("broken off at step %d, at last token %d is accepted", at, i)
			}
		}
		now, err := root.Account(background, bot.Owner)
		must(t, err)
		if !now.Disabled || !now.Steward.IsZero() {
			t.Errorf("broken off at step %d, the service account is %+v", at, now)
		}
		if broke == nil {
			if at < 6 {
				t.Errorf("only %d steps", at)
			}
			return
		}
	}
}

// An answer about the person before, that comes late, changes nothing of the one
// who is there now.
func TestLateAnswer(t *testing.T) {
	r := &registry{}
	l, root := town(t, memory.New(), r)
	r.set("alice", directory.Identity{EntryID: "1"})
	_, err := logsIn(l, "corp/alice", goodPassword)
	must(t, err)
	old, err := root.Generate(background, token.Spec{Kind: token.Refresh, Owner: corp("alice"), Name: "old"})
	must(t, err)
	r.set("alice", directory.Identity{EntryID: "1", DisplayName: "Alice the First"})
	var now authority.Issued
	r.during = func() {
		r.during = nil
		r.set("alice", directory.Identity{EntryID: "2", DisplayName: "another"})
		_, err := logsIn(l, "corp/alice", goodPassword)
		must(t, err)
		now, err = root.Generate(background, token.Spec{Kind: token.User, Owner: corp("alice")})
		must(t, err)
	}
	if _, err := root.Exchange(background, authority.Exchange{RefreshToken: old.Secret}); err == nil {
		t.Error("the person before gets an access token")
	}
	if !accepted(l, now.Secret) {
		t.Error("the late answer has ended the other's token")
	}
	if a, err := root.Account(background, corp("alice")); err != nil || a.EntryID != "2" {
		t.Errorf("%+v, %v", a, err)
	}
}

// The last known answer may have been a no.
func TestLastKnownNo(t *testing.T) {
	for name, no := range map[string]func(*registry){
		"absent":   func(r *registry) { delete(r.people, "alice") },
		"disabled": func(r *registry) { r.set("alice", directory.Identity{EntryID: "1", Disabled: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &registry{}
				l, root := town(t, memory.New(), r)
				_, err := root.SetPolicy(background, map[string]string{"directory_unreachable": "last_known"})
				must(t, err)
				r.set("alice", directory.Identity{EntryID: "1", Roles: []token.Role{"editor"}})
				_, err = logsIn(l, "corp/alice", goodPassword)
				must(t, err)
				i, err := root.Generate(background, token.Spec{Kind: token.Refresh, Owner: corp("alice"), Name: "ci", Roles: []token.Role{"editor"}})
				must(t, err)
				exchange := func() error {
					_, err := root.Exchange(background, authority.Exchange{RefreshToken: i.Secret})
					return err
				}
				must(t, exchange())
				r.down = true
				time.Sleep(2 * time.Minute)
				must(t, exchange()) // as it said last
				r.down = false
				no(r)
				if err := exchange(); !errors.Is(err, token.ErrRefused) {
					t.Errorf("who is %s: %v", name, err)
				}
				r.down = true
				time.Sleep(2 * time.Minute)
				if err := exchange(); err == nil {
					t.Errorf("who was %s, while nobody answers, gets an access token", name)
				}
				r.down = false
				r.set("alice", directory.Identity{EntryID: "1", Roles: []token.Role{"editor"}})
				must(t, exchange())
			})
		})
	}
}

// A role that the directory has given since is asked for; one of a directory
// that is asked no more is not believed for ever.
func TestRolesOfToday(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s, keys := &registry{}, memory.New(), keyfile.New(time.Now())
		open := func(dirs ...directory.Directory) *authority.Local {
			return authority.New(authority.Options{Store: s, Keys: keys, Directories: dirs})
		}
		l := open(r)
		root := l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
		r.set("alice", directory.Identity{EntryID: "1", Roles: []token.Role{"editor"}})
		_, err := logsIn(l, "corp/alice", goodPassword)
		must(t, err)
		i, err := root.Generate(background, token.Spec{Kind: token.User, Owner: corp("alice")})
		must(t, err)
		verify := func(l *authority.Local, role token.Role) error {
			_, err := l.Verify(background, authority.Presented{Credential: i.Secret, Role: role})
			return err
		}
		must(t, verify(l, "editor"))
		if err := verify(l, "chief"); !errors.Is(err, token.ErrRefused) {
			t.Errorf("a role that she lacks: %v", err)
		}
		time.Sleep(2 * time.Minute)
		r.set("alice", directory.Identity{EntryID: "1", Roles: []token.Role{"chief", "editor"}})
		must(t, verify(l, "chief"))
		asked := r.asked
		if verify(l, "other"); r.asked != asked {
			t.Error("what she lacks is asked for at every request")
		}
		time.Sleep(2 * time.Minute)
		r.down = true
		if err := verify(l, "other"); !errors.Is(err, token.ErrRefused) {
			t.Errorf("a role that she lacks, while nobody answers: %v", err)
		}
		must(t, verify(open(), "chief"))
		refresh, err := root.Generate(background, token.Spec{Kind: token.Refresh, Owner: corp("alice"), Name: "ci"})
		must(t, err)
		_, err = open().As(authority.Caller{}).Exchange(background, authority.Exchange{RefreshToken: refresh.Secret})
		if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) {
			t.Errorf("an exchange, with her directory asked no more: %v", err)
		}
		time.Sleep(25 * time.Hour)
		if err := verify(open(), "chief"); !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) {
			t.Errorf("an old role of a directory that is asked no more: %v", err)
		}
	})
}

// Many guesses at once are not more than one after the other, and whoever asks
// from elsewhere waits no longer for them.
func TestGuessesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{}
		l, _ := town(t, memory.New(), r)
		r.set("alice", directory.Identity{EntryID: "1"})
		guess := func(from string, n int) {
			for i := range n {
				go l.LogIn(t.Context(), authority.Login{Name: "corp/alice", Password: secret.FromText(fmt.Sprint("guess number ", i)), From: from})
			}
		}
		guess("192.0.2.7", 1000)
		time.Sleep(time.Second)
		r.mu.Lock()
		if r.asked > 5 {
			t.Errorf("%d of 1000 guesses at once were tried within a second", r.asked)
		}
		r.mu.Unlock()
		for i := range 500 {
			guess(fmt.Sprintf("2001:db8::%x", i), 2) // all of one network
			guess(fmt.Sprintf("198.51.%d.%d", i/250, i%250), 3)
		}
		synctest.Wait()
		begun := time.Now()
		_, err := l.LogIn(t.Context(), authority.Login{Name: "corp/alice", Password: secret.FromText(goodPassword), From: "203.0.113.9"})
		if took := time.Since(begun); err != nil || took > 4*time.Second {
			t.Errorf("alice herself, from elsewhere: %v after %s", err, took)
		}
		time.Sleep(time.Minute) // for all to end
	})
}

// Many tries at once to show the old password are not more than eleven.
func TestPasswordTriesAtOnce(t *testing.T) {
	_, root, alice := people(t, memory.New(), keyfile.New(time.Now()))
	var group sync.WaitGroup
	texts := make([]string, 60)
	for i := range texts {
		group.Go(func() {
			old := fmt.Sprint("wrong old one ", i)
			if i == 50 {
				old = goodPassword
			}
			if err := alice.SetPassword(background, token.Owner{}, secret.FromText(old), secret.FromText(otherPassword)); err != nil {
				texts[i] = err.Error()
			}
		})
	}
	group.Wait()
	a, err := root.Account(background, owner("alice"))
	must(t, err)
	changed := texts[50] == ""
	if !changed && !slices.Contains(texts[:50], texts[50]) {
		t.Errorf("the right one is told from the others: %q", texts[50])
	}
	if !a.Disabled && !changed {
		t.Errorf("after 59 wrong ones the account is %+v", a)
	}
	tried := 0
	for e, err := range root.ListAudit(background, audit.Filter{}) {
		must(t, err)
		if e.Action == "account.password-refused" {
			tried++
		}
	}
	if !changed && tried > 11 {
		t.Errorf("%d were tried", tried)
	}
}

// A log-in is newer than what the directory said a moment before: whoever came
// back, or has the name of somebody else now, is not refused for the rest of the
// minute.
func TestLogInIsNewerThanAnAnswer(t *testing.T) {
	r := &registry{}
	l, root := town(t, memory.New(), r)
	r.set("alice", directory.Identity{EntryID: "1"})
	_, err := logsIn(l, "corp/alice", goodPassword)
	must(t, err)
	i, err := root.Generate(background, token.Spec{Kind: token.User, Owner: corp("alice")})
	must(t, err)
	asks := func(s secret.Secret) error {
		_, err := l.Verify(background, authority.Presented{Credential: s, AskDirectory: true})
		return err
	}
	must(t, asks(i.Secret)) // remembered: she is 1
	r.set("alice", directory.Identity{EntryID: "2", Roles: []token.Role{"editor"}})
	id, err := logsIn(l, "corp/alice", goodPassword)
	must(t, err)
	if !id.HasRole("editor") {
		t.Fatalf("%+v", id)
	}
	i, err = root.Generate(background, token.Spec{Kind: token.User, Owner: corp("alice")})
	must(t, err)
	if err := asks(i.Secret); err != nil {
		t.Errorf("the other alice, who has just logged in: %v", err)
	}
	if a, err := root.Account(background, corp("alice")); err != nil || len(a.DirectoryRoles) != 1 {
		t.Errorf("her roles are gone: %+v, %v", a, err)
	}
}

// How long a refusal takes tells nobody who is in the directory.
func TestRefusalTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{}
		l, _ := town(t, memory.New(), r)
		r.set("alice", directory.Identity{EntryID: "1"})
		for _, name := range []string{"corp/alice", "corp/nobody"} {
			begun := time.Now()
			if _, err := logsIn(l, name, otherPassword); !errors.Is(err, token.ErrRefused) {
				t.Fatal(err)
			}
			if took := time.Since(begun); took != 250*time.Millisecond {
				t.Errorf("of %s it took %s", name, took)
			}
		}
	})
}
