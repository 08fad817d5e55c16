package authoritytest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var background = context.Background()

// start is between two seconds, as any moment is.
var start = time.Date(2026, 11, 22, 7, 0, 0, 250_000_000, time.UTC)

// world is an authority with people around it:
//
//   - root owns the file;
//   - admin and auditor have the role of that name;
//   - alice has the roles reader and writer, bob the role reader;
//   - bot is a service account with the role reader, whose steward alice is.
//
// Everyone may have refresh tokens.
type world struct {
	*testing.T
	Authority
	nanos atomic.Int64 // the time, after start

	root, admin, auditor, alice, bob authority.Service
}

func local(name string) token.Owner { return token.Owner{Realm: token.LocalRealm, Name: name} }

func newWorld(t *testing.T, open func(*testing.T, func() time.Time) Authority) *world {
	w := &world{T: t}
	w.Authority = open(t, w.now)
	w.root = w.As(authority.Caller{Owner: local("root"), Via: "uid 0", FileOwner: true})
	w.set(w.root, "refresh_tokens", "everyone")
	for _, a := range []token.Account{
		{Owner: local("admin"), Roles: []token.Role{token.Admin}},
		{Owner: local("auditor"), Roles: []token.Role{token.Auditor}},
		{Owner: local("alice"), Roles: []token.Role{"reader", "writer"}},
		{Owner: local("bob"), Roles: []token.Role{"reader"}},
		{Owner: local("bot"), Roles: []token.Role{"reader"}, Kind: token.ServiceAccount, Steward: local("alice")},
	} {
		w.addAccount(a)
	}
	w.admin, w.auditor, w.alice, w.bob = w.as("admin"), w.as("auditor"), w.as("alice"), w.as("bob")
	return w
}

func (w *world) now() time.Time { return start.Add(time.Duration(w.nanos.Load())) }

// second is the present in the precision of the store.
func (w *world) second() time.Time { return w.now().Truncate(time.Second) }

func (w *world) wait(d time.Duration) { w.nanos.Add(int64(d)) }

// until moves the clock to a moment.
func (w *world) until(t time.Time) { w.nanos.Store(int64(t.Sub(start))) }

func (w *world) as(name string) authority.Service {
	return w.As(authority.Caller{Owner: local(name), Via: "test"})
}

// narrowed is the service as a credential has it that has fewer roles than its
// owner.
func (w *world) narrowed(name string, roles ...token.Role) authority.Service {
	return w.As(authority.Caller{Owner: local(name), Via: "test", Narrowed: true, Roles: roles})
}

func (w *world) stranger() authority.Service { return w.As(authority.Caller{Via: "test"}) }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// outcomes are the kinds of error that a service may answer with.
var outcomes = []error{token.ErrRefused, token.ErrUsage, token.ErrNotFound, token.ErrConflict, token.ErrCannotTell, token.ErrUnsafe}

// fails sees to it that an error is of a kind, and of no other.
func (w *world) fails(err, kind error) {
	w.Helper()
	var found []error
	for _, k := range outcomes {
		if errors.Is(err, k) {
			found = append(found, k)
		}
	}
	if len(found) != 1 || !errors.Is(err, kind) {
		w.Errorf("the error is %v, of the kinds %v, want %v", err, found, kind)
	}
	if err != nil && secret.Contains(err.Error()) {
		w.Errorf("the error shows a secret: %v", err)
	}
}

func (w *world) equal(what string, got, want any) {
	w.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("%s is not what it should be (-want +got):\n%s", what, diff)
	}
}

func (w *world) addAccount(a token.Account) token.Account {
	w.Helper()
	got, err := w.root.AddAccount(background, a)
	w.must(err)
	return got
}

// setAccount changes an account.
func (w *world) setAccount(name string, change func(*token.Account)) {
	w.Helper()
	a, err := w.root.Account(background, local(name))
	w.must(err)
	change(&a)
	_, err = w.root.SetAccount(background, a)
	w.must(err)
}

func (w *world) disable(name string) {
	w.Helper()
	w.setAccount(name, func(a *token.Account) { a.Disabled = true })
}

func (w *world) set(s authority.Settings, setting, value string) {
	w.Helper()
	_, err := s.SetPolicy(background, map[string]string{setting: value})
	w.must(err)
}

// user, refresh and named are what a token is asked for by.
func user() token.Spec { return token.Spec{Kind: token.User} }

func refresh(roles ...token.Role) token.Spec {
	return token.Spec{Kind: token.Refresh, Roles: roles}
}

func named(name string) token.Spec { return token.Spec{Kind: token.Refresh, Name: name} }

func owned(s token.Spec, name string) token.Spec {
	s.Owner = local(name)
	return s
}

func lasting(s token.Spec, d time.Duration) token.Spec {
	s.Lifetime = d
	return s
}

func (w *world) generate(s authority.Tokens, spec token.Spec) authority.Issued {
	w.Helper()
	issued, err := s.Generate(background, spec)
	w.must(err)
	if issued.Secret.IsZero() {
		w.Fatal("the secret is empty")
	}
	return issued
}

func (w *world) get(id token.ID) token.Token {
	w.Helper()
	t, err := w.root.Get(background, id)
	w.must(err)
	return t
}

// seen is a reference to a token as it is now.
func (w *world) seen(i authority.Issued) token.Ref {
	w.Helper()
	t := w.get(i.Token.ID)
	return t.Ref()
}

// gone sees to it that nothing is left of a token.
func (w *world) gone(id token.ID) {
	w.Helper()
	_, err := w.root.Get(background, id)
	w.fails(err, token.ErrNotFound)
}

func (w *world) list(s authority.Tokens, sel token.Selector) (all []token.Token) {
	w.Helper()
	for t, err := range s.List(background, sel) {
		w.must(err)
		all = append(all, t)
	}
	return all
}

func ids(tokens []token.Token) (all []token.ID) {
	for _, t := range tokens {
		all = append(all, t.ID)
	}
	return all
}

// last is the error that a sequence ends with. It comes alone and once.
func last[T any](w *world, seq func(yield func(T, error) bool)) (last error) {
	w.Helper()
	for _, err := range seq {
		if last != nil {
			w.Error("the sequence goes on after its error")
		}
		last = err
	}
	return last
}

func ref(i authority.Issued) token.Ref { return i.Token.Ref() }

// refs are references to tokens as they are now, whatever has become of them.
func refs(issued ...authority.Issued) (all []token.Ref) {
	for _, i := range issued {
		all = append(all, token.Ref{ID: i.Token.ID})
	}
	return all
}

// pair is what Basic authentication presents of a user token.
func pair(i authority.Issued) secret.Secret {
	return secret.FromText(i.Token.ID.String() + ":" + i.Secret.Reveal())
}

func (w *world) verify(s secret.Secret) (token.Identity, error) {
	return w.root.Verify(background, authority.Presented{Credential: s})
}

// accepts sees to it that a credential is good, and says whose it is.
func (w *world) accepts(s secret.Secret) token.Identity {
	w.Helper()
	id, err := w.verify(s)
	if err != nil {
		w.Errorf("the credential is not accepted: %v", err)
	}
	if e, err := w.root.Explain(background, s); err != nil || !e.Accepted || e.Reason != "" {
		w.Errorf("the explanation of an accepted credential is %+v, %v", e, err)
	}
	return id
}

// refuses sees to it that a credential is refused, in words that tell nothing,
// and that an administrator is told why.
func (w *world) refuses(s secret.Secret, why authority.Reason) {
	w.Helper()
	id, err := w.verify(s)
	w.fails(err, token.ErrRefused)
	w.equal("the identity of a refused credential", id, token.Identity{})
	e, err := w.root.Explain(background, s)
	w.must(err)
	if e.Accepted || e.Reason != why || e.Text == "" {
		w.Errorf("the explanation is %q (%s), want %s", e.Text, e.Reason, why)
	}
	if secret.Contains(e.Text) {
		w.Errorf("the explanation shows a secret: %s", e.Text)
	}
}

// use presents a credential where that counts.
func (w *world) use(s secret.Secret, from string) {
	w.Helper()
	_, err := w.root.Verify(background, authority.Presented{Credential: s, CountsAsUse: true, From: from})
	w.must(err)
}

func (w *world) exchange(s secret.Secret) authority.AccessToken {
	w.Helper()
	a, err := w.root.Exchange(background, authority.Exchange{RefreshToken: s})
	w.must(err)
	return a
}

func (w *world) audit(f audit.Filter) (all []audit.Entry) {
	w.Helper()
	for e, err := range w.root.ListAudit(background, f) {
		w.must(err)
		all = append(all, e)
	}
	return all
}

// actions are what the log says was done, from some entry on.
func (w *world) actions(from int) []string {
	w.Helper()
	var all []string
	for _, e := range w.audit(audit.Filter{})[from:] {
		all = append(all, e.Action)
	}
	return all
}

// changes runs fn and says what the log says was done in it.
func (w *world) changes(fn func()) []string {
	w.Helper()
	before := len(w.actions(0))
	fn()
	return w.actions(before)
}

// unchanged sees to it that fn leaves no trace in the log and all tokens as
// they are.
func (w *world) unchanged(what string, fn func()) {
	w.Helper()
	before := w.list(w.root, token.Selector{Ended: true})
	if done := w.changes(fn); len(done) > 0 {
		w.Errorf("%s: the log says %s", what, strings.Join(done, ", "))
	}
	if after := w.list(w.root, token.Selector{Ended: true}); !slices.EqualFunc(before, after, func(a, b token.Token) bool { return cmp.Equal(a, b) }) {
		w.Errorf("%s: tokens have changed: %s", what, cmp.Diff(before, after))
	}
}
