package authority_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/authority/authoritytest"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A server answers as a local file does, whatever it remembers.
func TestServing(t *testing.T) {
	for name, open := range map[string]func(*testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memory.New() },
		"bolt":   func(t *testing.T) store.Store { return openBolt(t, true) },
	} {
		t.Run(name, func(t *testing.T) {
			authoritytest.Run(t, func(t *testing.T, now func() time.Time) authoritytest.Authority {
				l := authority.New(authority.Options{Store: open(t), Keys: keyfile.New(now()), Now: now, Serving: true, Federation: idp.New(idp.Options{Now: now})})
				return authoritytest.Authority{As: l.As, Maintain: l.Maintain}
			})
		})
	}
}

// server is a serving authority over a store in memory, with root, who owns
// the file, and alice.
type server struct {
	local       *authority.Local
	root, alice authority.Service
	stop        func() // runs down and waits
}

func serve(t *testing.T, s store.Store) *server {
	t.Helper()
	l := authority.New(authority.Options{Store: s, Keys: keyfile.New(time.Now()), Serving: true, Warn: func(err error) { t.Error(err) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	v := &server{local: l, root: l.As(authority.Caller{Owner: owner("root"), Via: "uid 0", FileOwner: true})}
	v.alice = l.As(authority.Caller{Owner: owner("alice"), Via: "token x", From: "192.0.2.1"})
	v.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := v.root.AddAccount(t.Context(), token.Account{Owner: owner("alice"), Kind: token.Person}); err != nil {
		t.Fatal(err)
	}
	return v
}

func owner(name string) token.Owner { return token.Owner{Realm: token.LocalRealm, Name: name} }

func (v *server) generate(t *testing.T, spec token.Spec) authority.Issued {
	t.Helper()
	i, err := v.root.Generate(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (v *server) audit(t *testing.T, action string) (all []audit.Entry) {
	t.Helper()
	for e, err := range v.root.ListAudit(t.Context(), audit.Filter{Action: action}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// A busy token is written once in half a minute, and shown as used at once.
func TestServingNotesUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		v := serve(t, s)
		i := v.generate(t, token.Spec{Kind: token.User, Owner: owner("alice")})
		before, _ := s.Generation()
		last := time.Now().UTC().Truncate(time.Second)
		for range 25 {
			if _, err := v.local.Verify(t.Context(), authority.Presented{Credential: i.Secret, CountsAsUse: true, From: "192.0.2.7"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if after, _ := s.Generation(); after != before {
			t.Errorf("25 uses in 25 s made %d writes", after-before)
		}
		shown := func(when string) {
			t.Helper()
			got, err := v.root.Get(t.Context(), i.Token.ID)
			if err != nil || !got.LastUsedAt.Equal(last) || got.LastUsedFrom != "192.0.2.7" {
				t.Errorf("%s: last used at %s from %q, want %s, %v", when, got.LastUsedAt, got.LastUsedFrom, last, err)
			}
			for got, err := range v.root.List(t.Context(), token.Selector{}) {
				if err != nil || !got.LastUsedAt.Equal(last) {
					t.Errorf("%s: listed as last used at %s, %v", when, got.LastUsedAt, err)
				}
			}
		}
		shown("noted")
		time.Sleep(31 * time.Second)
		shown("written")
		if after, _ := s.Generation(); after == before {
			t.Error("nothing was written")
		}
		last = time.Now().UTC().Truncate(time.Second)
		if _, err := v.local.Verify(t.Context(), authority.Presented{Credential: i.Secret, CountsAsUse: true, From: "192.0.2.7"}); err != nil {
			t.Fatal(err)
		}
		v.stop()
		shown("at the end")
		// What was noted is in the store itself.
		err := s.View(t.Context(), func(r store.Reader) error {
			u, err := store.GetUse(r, i.Token.ID)
			if err == nil && !u.At.Equal(last) {
				err = fmt.Errorf("the store has %s, want %s", u.At, last)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// A use of a token that was deleted meanwhile leaves nothing behind.
func TestServingForgetsUsesOfTheDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, memory.New())
		i := v.generate(t, token.Spec{Kind: token.User, Owner: owner("alice")})
		if _, err := v.local.Verify(t.Context(), authority.Presented{Credential: i.Secret, CountsAsUse: true}); err != nil {
			t.Fatal(err)
		}
		if err := v.root.Delete(t.Context(), []token.Ref{i.Token.Ref()}); err != nil {
			t.Fatal(err)
		}
		v.stop()
		report, err := v.root.Check(t.Context(), true)
		if err != nil || len(report.Problems) > 0 {
			t.Errorf("%v, %v", report.Problems, err)
		}
	})
}

// Refused credentials are in the log, a hundred of them and the number of the
// rest: a flood does not fill the disk.
func TestServingSamplesRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, memory.New())
		id := secret.NewID(time.Now())
		for range 1000 {
			_, err := v.local.Verify(t.Context(), authority.Presented{Credential: secret.New(secret.Passcode, id), CountsAsUse: true, From: "192.0.2.66"})
			if !errors.Is(err, token.ErrRefused) {
				t.Fatal(err)
			}
		}
		// Looking at a credential is no try.
		v.local.Verify(t.Context(), authority.Presented{Credential: secret.New(secret.Passcode, id)})
		v.stop()
		log := v.audit(t, "credential.refused")
		if len(log) != 101 || log[0].Reason != string(authority.UnknownToken) || log[0].Source != "192.0.2.66" || log[100].Detail != "and 900 more" {
			t.Errorf("%d entries: %+v … %+v", len(log), log[0], log[len(log)-1])
		}
	})
}

// A credential that is good, but not here, was tried all the same.
func TestServingSamplesMisuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, memory.New())
		r := v.generate(t, token.Spec{Kind: token.Refresh})
		for why, p := range map[authority.Reason]authority.Presented{
			authority.WrongKind:   {Credential: r.Secret, Kinds: []token.Kind{token.User}},
			authority.MissingRole: {Credential: r.Secret, Role: "deploy"},
			authority.Malformed:   {Credential: secret.FromText("garbage")},
		} {
			p.CountsAsUse = true
			if _, err := v.local.Verify(t.Context(), p); !errors.Is(err, token.ErrRefused) {
				t.Errorf("%s: %v", why, err)
			}
		}
		v.stop()
		if log := v.audit(t, "credential.refused"); len(log) != 3 {
			t.Errorf("the log has %+v", log)
		}
	})
}

// What a caller may not do is in the log within moments, with who it was.
func TestServingAuditsDeniedAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, memory.New())
		i := v.generate(t, token.Spec{Kind: token.User})
		before := len(v.audit(t, ""))
		if err := v.alice.Revoke(t.Context(), []token.Ref{i.Token.Ref()}, ""); !errors.Is(err, token.ErrRefused) {
			t.Fatal(err)
		}
		if _, err := v.alice.Get(t.Context(), i.Token.ID); !errors.Is(err, token.ErrRefused) {
			t.Fatal(err)
		}
		// Rules that stand elsewhere, such as the purge of orphans.
		who := authority.Caller{Owner: owner("alice"), Via: "token x", From: "192.0.2.1"}
		if err := v.local.Require(t.Context(), who, "purge "+i.Token.ID.String(), token.Admin); !errors.Is(err, token.ErrRefused) {
			t.Fatal(err)
		}
		if _, err := v.alice.WhoAmI(t.Context()); err != nil { // what is allowed is not told
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		log := v.audit(t, "")[before:]
		if len(log) != 3 {
			t.Fatalf("%d entries: %+v", len(log), log)
		}
		for _, e := range log {
			if e.Action != "access.refused" || e.Actor != owner("alice") || e.Via != "token x" || e.Source != "192.0.2.1" || !strings.Contains(e.Detail, i.Token.ID.String()) {
				t.Errorf("%+v", e)
			}
		}
		v.stop()
	})
}

// What is remembered never outlives a change.
func TestServingRemembersNothingStale(t *testing.T) {
	v := serve(t, openBolt(t, true))
	defer v.stop()
	accepted := func(s secret.Secret) bool {
		_, err := v.local.Verify(t.Context(), authority.Presented{Credential: s})
		if err != nil && !errors.Is(err, token.ErrRefused) {
			t.Error(err)
		}
		return err == nil
	}
	for range 50 {
		i := v.generate(t, token.Spec{Kind: token.User, Owner: owner("alice")})
		// Readers that keep the memory full while it is emptied.
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				accepted(i.Secret)
			}
		}()
		if !accepted(i.Secret) {
			t.Fatal("a new token is refused")
		}
		if err := v.root.Delete(t.Context(), []token.Ref{i.Token.Ref()}); err != nil {
			t.Fatal(err)
		}
		if accepted(i.Secret) {
			t.Fatal("a token is accepted after its deletion was acknowledged")
		}
		cancel()
		<-done
		if accepted(i.Secret) {
			t.Fatal("a deleted token is accepted again")
		}
	}
}

// A store that may have lost a change takes no more of them: the server ends,
// so that whoever watches it starts it anew.
func TestServingEndsAfterAnUnknownOutcome(t *testing.T) {
	s := &flaky{memory.New(), func(err error) error { return err }}
	l := authority.New(authority.Options{Store: s, Keys: keyfile.New(time.Now()), Serving: true})
	root := l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	generate(t, root, token.Spec{Kind: token.Refresh}) // the store is ready
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }()
	s.fail = func(error) error { return fmt.Errorf("fsync: %w", store.ErrOutcomeUnknown) }
	if _, err := root.Generate(t.Context(), token.Spec{Kind: token.User}); !errors.Is(err, authority.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, authority.ErrOutcomeUnknown) || !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("Run ends with %v", err)
	}
}
