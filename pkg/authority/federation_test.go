package authority_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/authority/authoritytest"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/directory/list"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func federated(change ...func(*authority.Options)) (*authority.Local, authority.Service) {
	o := authority.Options{Store: memory.New(), Keys: keyfile.New(time.Now()), Serving: true, Federation: idp.New(idp.Options{})}
	for _, f := range change {
		f(&o)
	}
	l := authority.New(o)
	return l, l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
}

func verdictOn(l *authority.Local, jwt secret.Secret) (token.Identity, error) {
	return l.Verify(background, authority.Presented{Credential: jwt})
}

// The same name in the realm of a directory and of a provider would be two
// persons.
func TestProviderHasNoDirectorysRealm(t *testing.T) {
	i := authoritytest.NewIssuer(t, "https://login.example.org", time.Now)
	p := i.Provider("corp")
	p.Unlinked = true
	kept, keys := memory.New(), keyfile.New(time.Now())
	l, root := federated(func(o *authority.Options) { o.Store, o.Keys = kept, keys })
	_, err := root.AddProvider(t.Context(), p)
	must(t, err)
	if id, err := verdictOn(l, i.JWT(t, "alice", nil)); err != nil || id.Owner.String() != "corp/alice" {
		t.Fatalf("%+v, %v", id, err)
	}

	_, err = root.Exchange(t.Context(), authority.Exchange{SubjectToken: i.JWT(t, "alice", nil)})
	must(t, err)
	own, err := root.Generate(t.Context(), token.Spec{Kind: token.User, Owner: corp("alice")})
	must(t, err)
	file := filepath.Join(t.TempDir(), "staff.txt")
	must(t, os.WriteFile(file, []byte("alice\n"), 0o600))
	// The directory comes later: its realm is its own.
	d, err := list.New(list.Options{Realm: "corp", File: file})
	must(t, err)
	var warned []error
	l, root = federated(func(o *authority.Options) {
		o.Store, o.Keys, o.Directories = kept, keys, []directory.Directory{d}
		o.Warn = func(err error) { warned = append(warned, err) }
	})
	if _, err := verdictOn(l, i.JWT(t, "alice", nil)); !errors.Is(err, token.ErrRefused) {
		t.Errorf("a JWT stands for a name of the directory: %v", err)
	}
	if len(warned) == 0 {
		t.Error("nobody is warned")
	}
	// Nobody is taken for somebody of the directory.
	if _, err := l.LogIn(t.Context(), authority.Login{Name: "corp/alice", Password: secret.FromText(goodPassword)}); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("somebody logs in where two could be meant: %v", err)
	}
	if _, err := l.Verify(t.Context(), authority.Presented{Credential: own.Secret, AskDirectory: true}); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("the directory is asked about somebody of the provider: %v", err)
	}
	now, err := root.Provider(t.Context(), "corp")
	must(t, err)
	if _, err := root.SetProvider(t.Context(), now); !errors.Is(err, token.ErrConflict) {
		t.Errorf("it can be changed as if nothing were: %v", err)
	}
	now.Disabled = true
	if _, err := root.SetProvider(t.Context(), now); err != nil {
		t.Errorf("it cannot be switched off: %v", err)
	}
	must(t, root.DeleteAccount(t.Context(), corp("alice")))
	must(t, root.DeleteProvider(t.Context(), "corp"))
	if _, err := root.AddProvider(t.Context(), p); !errors.Is(err, token.ErrConflict) {
		t.Errorf("a provider takes the realm of a directory: %v", err)
	}
}

// A provider whose keys cannot be had says nothing, and is in nobody's way.
func TestProviderCannotTell(t *testing.T) {
	i := authoritytest.NewIssuer(t, "http://127.0.0.1:1", time.Now)
	p := i.Provider("corp")
	p.Certificates, p.JWKSURL, p.Unlinked = nil, "http://127.0.0.1:1/keys", true
	l, root := federated()
	_, err := root.AddProvider(t.Context(), p)
	must(t, err)
	if _, err := verdictOn(l, i.JWT(t, "alice", nil)); !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) {
		t.Errorf("without keys: %v", err)
	}
	own, err := root.Generate(t.Context(), token.Spec{Kind: token.User})
	must(t, err)
	if _, err := verdictOn(l, own.Secret); err != nil {
		t.Errorf("a token of ours: %v", err)
	}
	e, err := root.ExplainJWT(t.Context(), i.JWT(t, "alice", nil))
	if err != nil || e.Accepted || len(e.Findings) == 0 || e.Findings[len(e.Findings)-1].OK {
		t.Errorf("the explanation is %+v, %v", e, err)
	}
	if _, err := root.Explain(t.Context(), i.JWT(t, "alice", nil)); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("admin explain: %v", err)
	}
}

// What is acknowledged as ended is refused from then on, whatever was remembered.
func TestFederatedRemembersNothingStale(t *testing.T) {
	i := authoritytest.NewIssuer(t, "https://login.example.org", time.Now)
	p := i.Provider("corp")
	p.Unlinked = true
	l, root := federated()
	p, err := root.AddProvider(t.Context(), p)
	must(t, err)
	jwt := i.JWT(t, "alice", nil)
	made, err := root.Exchange(t.Context(), authority.Exchange{SubjectToken: jwt})
	must(t, err)
	var stop sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		stop.Go(func() {
			for ctx.Err() == nil {
				verdictOn(l, jwt)
				verdictOn(l, made.Text)
				root.Exchange(ctx, authority.Exchange{SubjectToken: jwt})
			}
		})
	}
	for n := range 20 {
		p.Disabled = n%2 == 0
		p, err = root.SetProvider(t.Context(), p)
		must(t, err)
		for what, s := range map[string]secret.Secret{"JWT": jwt, "access token": made.Text} {
			if _, err := verdictOn(l, s); (err != nil) != p.Disabled || err != nil && !errors.Is(err, token.ErrRefused) {
				t.Errorf("%d: disabled %v, the %s: %v", n, p.Disabled, what, err)
			}
		}
		if _, err := root.Exchange(t.Context(), authority.Exchange{SubjectToken: jwt}); (err != nil) != p.Disabled {
			t.Errorf("%d: disabled %v, the exchange: %v", n, p.Disabled, err)
		}
	}
	cancel()
	stop.Wait()
}

// Many first visits at once make one account.
func TestFirstVisitsTogether(t *testing.T) {
	i := authoritytest.NewIssuer(t, "https://login.example.org", time.Now)
	p := i.Provider("corp")
	p.Unlinked = true
	l, root := federated()
	_, err := root.AddProvider(t.Context(), p)
	must(t, err)
	var group sync.WaitGroup
	errs := make([]error, 16)
	for n := range errs {
		group.Go(func() {
			_, errs[n] = l.Verify(background, authority.Presented{Credential: i.JWT(t, fmt.Sprintf("u%d", n%2), nil), AskDirectory: true})
		})
	}
	group.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		t.Errorf("one of them: %v", errs[i])
	}
	n := 0
	for _, err := range root.ListAccounts(t.Context(), "corp", token.Owner{}) {
		must(t, err)
		n++
	}
	if n != 2 {
		t.Errorf("there are %d accounts", n)
	}
}

// An owner whom a directory knows, too, is asked for there.
func TestLinkedOwnerOfADirectory(t *testing.T) {
	d := &registry{}
	d.set("alice", directory.Identity{EntryID: "1"})
	i := authoritytest.NewIssuer(t, "https://login.example.org", time.Now)
	now := time.Now()
	l, root := federated(func(o *authority.Options) {
		o.Directories, o.Realms, o.Now = []directory.Directory{d}, []string{"corp"}, func() time.Time { return now }
	})
	_, err := root.AddProvider(t.Context(), i.Provider("login"))
	must(t, err)
	alice := corp("alice")
	_, err = root.AddAccount(t.Context(), token.Account{Owner: alice})
	must(t, err)
	_, err = root.LinkIdentity(t.Context(), alice, "login", "a")
	must(t, err)
	ask := func() error {
		_, err := l.Verify(t.Context(), authority.Presented{Credential: i.JWT(t, "a", nil), AskDirectory: true})
		return err
	}
	must(t, ask())
	d.mu.Lock()
	delete(d.people, "alice")
	d.mu.Unlock()
	now = now.Add(2 * time.Minute)
	if err := ask(); !errors.Is(err, token.ErrRefused) {
		t.Errorf("one whom the directory knows no more: %v", err)
	}
	if _, err := root.Exchange(t.Context(), authority.Exchange{SubjectToken: i.JWT(t, "a", nil)}); !errors.Is(err, token.ErrRefused) {
		t.Errorf("her JWT is exchanged: %v", err)
	}
}

// A restore gives no provider, link or access token back what was taken away.
func TestRestoreKeepsProvidersEndings(t *testing.T) {
	i := authoritytest.NewIssuer(t, "https://login.example.org", time.Now)
	other := authoritytest.NewIssuer(t, "https://two.example.org", time.Now)
	p := newPast(t)
	p.local = authority.New(authority.Options{Store: p.store, Keys: p.keys, Federation: idp.New(idp.Options{})})
	p.root = p.local.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	ctx := t.Context()
	login, two := i.Provider("corp"), other.Provider("two")
	login.Unlinked = true
	login, err := p.root.AddProvider(ctx, login)
	must(t, err)
	_, err = p.root.AddProvider(ctx, two)
	must(t, err)
	third := authoritytest.NewIssuer(t, "https://three.example.org", time.Now)
	three := third.Provider("three")
	three.Unlinked = true
	_, err = p.root.AddProvider(ctx, three)
	must(t, err)
	_, err = p.root.LinkIdentity(ctx, owner("a"), "corp", "a-1")
	must(t, err)
	access, err := p.root.Exchange(ctx, authority.Exchange{SubjectToken: i.JWT(t, "eve", nil)})
	must(t, err)
	p.backUp(t)

	_, err = p.root.LinkIdentity(ctx, owner("c"), "corp", "later")
	must(t, err)
	_, err = p.root.UnlinkIdentity(ctx, owner("a"), "corp", "a-1")
	must(t, err)
	_, err = p.root.RevokeSecret(ctx, access.Text, "leaked")
	must(t, err)
	must(t, p.root.DeleteProvider(ctx, "two"))
	// One that is deleted and added with less, and an account that came later and
	// was disabled.
	must(t, p.root.DeleteProvider(ctx, "three"))
	narrow := third.Provider("three")
	_, err = p.root.AddProvider(ctx, narrow)
	must(t, err)
	_, err = p.root.Exchange(ctx, authority.Exchange{SubjectToken: i.JWT(t, "mallory", nil)})
	must(t, err)
	mallory, err := p.root.Account(ctx, corp("mallory"))
	must(t, err)
	mallory.Disabled = true
	_, err = p.root.SetAccount(ctx, mallory)
	must(t, err)
	login.Leeway = 0
	_, err = p.root.SetProvider(ctx, login)
	must(t, err)

	into := memory.New()
	_, _, err = p.restoreInto(into, p.store)
	must(t, err)
	l := authority.New(authority.Options{Store: into, Keys: p.keys, Federation: idp.New(idp.Options{})})
	root := l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	if id, err := verdictOn(l, i.JWT(t, "a-1", nil)); err != nil || id.Owner.String() != "corp/a-1" {
		t.Errorf("a link that was removed is back: %+v, %v", id, err)
	}
	if _, err := verdictOn(l, access.Text); !errors.Is(err, token.ErrRefused) {
		t.Errorf("an access token that was revoked is back: %v", err)
	}
	if a, err := root.Account(ctx, owner("c")); err != nil || len(a.Identities) > 0 {
		t.Errorf("a link that was made later is there: %+v, %v", a, err)
	}
	if _, err := verdictOn(l, third.JWT(t, "x", nil)); !errors.Is(err, token.ErrRefused) {
		t.Errorf("a provider accepts what it does no more: %v", err)
	}
	if _, err := verdictOn(l, i.JWT(t, "mallory", nil)); !errors.Is(err, token.ErrRefused) {
		t.Errorf("somebody who was disabled comes in anew: %v", err)
	}
	if rep, err := root.Check(ctx, true); err != nil || len(rep.Problems) > 0 {
		t.Errorf("the restored store is not sound: %v, %v", rep.Problems, err)
	}
	if now, err := root.Provider(ctx, "two"); err != nil || !now.Disabled {
		t.Errorf("a provider that was deleted is back: %+v, %v", now, err)
	}
	if now, err := root.Provider(ctx, "corp"); err != nil || now.Leeway != 0 {
		t.Errorf("a provider is as it was: %+v, %v", now, err)
	}
	_, err = root.LinkIdentity(ctx, owner("b"), "corp", "a-1")
	must(t, err)
}

// What was revoked is forgotten when it would have expired, and no sooner.
func TestEndedAccessIsForgotten(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	i := authoritytest.NewIssuer(t, "https://login.example.org", clock)
	p := i.Provider("corp")
	p.Unlinked = true
	kept := memory.New()
	l, root := federated(func(o *authority.Options) {
		o.Store, o.Now, o.Federation = kept, clock, idp.New(idp.Options{Now: clock})
	})
	_, err := root.AddProvider(t.Context(), p)
	must(t, err)
	access, err := root.Exchange(t.Context(), authority.Exchange{SubjectToken: i.JWT(t, "eve", nil)})
	must(t, err)
	_, err = root.RevokeSecret(t.Context(), access.Text, "")
	must(t, err)
	for _, step := range []struct {
		wait time.Duration
		left int
	}{{30 * time.Minute, 1}, {25 * time.Hour, 0}} {
		now = now.Add(step.wait)
		for more := true; more; {
			more, err = l.Maintain(t.Context())
			must(t, err)
		}
		n := 0
		for _, err := range store.PagesAfter(t.Context(), kept, store.NewKey('c').Text("ended-access"), nil, 10) {
			must(t, err)
			n++
		}
		if n != step.left {
			t.Errorf("after %s %d are kept, want %d", step.wait, n, step.left)
		}
	}
}

// Every identity of an account leads to it, and no other does.
func TestCheckFindsIdentitiesThatLeadNowhere(t *testing.T) {
	kept := memory.New()
	_, root := federated(func(o *authority.Options) { o.Store = kept })
	i := authoritytest.NewIssuer(t, "https://login.example.org", time.Now)
	_, err := root.AddProvider(t.Context(), i.Provider("corp"))
	must(t, err)
	for _, name := range []string{"a", "b"} {
		_, err = root.AddAccount(t.Context(), token.Account{Owner: owner(name)})
		must(t, err)
		_, err = root.LinkIdentity(t.Context(), owner(name), "corp", name)
		must(t, err)
	}
	problems := func() int {
		rep, err := root.Check(t.Context(), true)
		must(t, err)
		return len(rep.Problems)
	}
	if n := problems(); n != 0 {
		t.Fatalf("%d problems are found where none is", n)
	}
	must(t, kept.Update(t.Context(), func(w store.Writer) error { return store.Identities.Delete(w, i.URL, "sub", "a") }))
	if n := problems(); n != 1 {
		t.Errorf("of an identity that leads nowhere %d problems are found", n)
	}
	must(t, kept.Update(t.Context(), func(w store.Writer) error { return store.Accounts.Delete(w, "local", "b") }))
	if n := problems(); n != 2 {
		t.Errorf("with one that leads to nobody %d problems are found", n)
	}
}

// Roles that a provider gave count at no door once it is disabled.
func TestRolesOfADisabledProvider(t *testing.T) {
	i := authoritytest.NewIssuer(t, "https://login.example.org", time.Now)
	p := i.Provider("corp")
	p.RoleClaim, p.RoleMap = "groups", []token.RoleMapping{{From: "ops", Role: "writer"}}
	l, root := federated()
	p, err := root.AddProvider(t.Context(), p)
	must(t, err)
	_, err = root.AddAccount(t.Context(), token.Account{Owner: owner("alice")})
	must(t, err)
	must(t, root.SetPassword(t.Context(), owner("alice"), secret.Secret{}, secret.FromText(goodPassword)))
	_, err = root.LinkIdentity(t.Context(), owner("alice"), "corp", "a")
	must(t, err)
	_, err = root.Exchange(t.Context(), authority.Exchange{SubjectToken: i.JWT(t, "a", map[string]any{"groups": "ops"})})
	must(t, err)
	writer := func() bool {
		id, err := l.LogIn(t.Context(), authority.Login{Name: "alice", Password: secret.FromText(goodPassword)})
		must(t, err)
		return id.HasRole("writer")
	}
	if !writer() {
		t.Error("the role that the provider gave is not there")
	}
	p.Disabled = true
	_, err = root.SetProvider(t.Context(), p)
	must(t, err)
	if writer() {
		t.Error("the role of a disabled provider is there")
	}
}

// meanwhile is a federation during whose judgement something happens, once.
type meanwhile struct {
	*idp.Set
	happens func()
}

func (m *meanwhile) Judge(ctx context.Context, jwt string) (token.Verdict, error) {
	v, err := m.Set.Judge(ctx, jwt)
	if f := m.happens; f != nil {
		m.happens = nil
		f()
	}
	return v, err
}

// What is acknowledged while a JWT waits for keys counts.
func TestProviderChangesWhileItJudges(t *testing.T) {
	i := authoritytest.NewIssuer(t, "https://login.example.org", time.Now)
	m := &meanwhile{Set: idp.New(idp.Options{})}
	l, root := federated(func(o *authority.Options) { o.Federation = m })
	p := i.Provider("corp")
	p.Unlinked = true
	p, err := root.AddProvider(t.Context(), p)
	must(t, err)
	ask := func(change func(*token.Provider)) error {
		m.happens = func() {
			change(&p)
			p, err = root.SetProvider(t.Context(), p)
			must(t, err)
		}
		_, err := verdictOn(l, i.JWT(t, "alice", nil))
		return err
	}
	must(t, ask(func(p *token.Provider) { p.Leeway = time.Second }))
	if err := ask(func(p *token.Provider) { p.Audiences = []string{"other"} }); !errors.Is(err, token.ErrRefused) {
		t.Errorf("narrowed meanwhile: %v", err)
	}
	p.Audiences = []string{authoritytest.Audience}
	p, err = root.SetProvider(t.Context(), p)
	must(t, err)
	if err := ask(func(p *token.Provider) { p.Disabled = true }); !errors.Is(err, token.ErrRefused) {
		t.Errorf("disabled meanwhile: %v", err)
	}
}
