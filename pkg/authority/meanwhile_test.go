package authority_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// interrupted is a store in which something happens between two transactions.
type interrupted struct {
	store.Store
	after int // how many transactions
	do    func()
}

func (s *interrupted) View(ctx context.Context, fn func(store.Reader) error) error {
	defer s.step()
	return s.Store.View(ctx, fn)
}

func (s *interrupted) Update(ctx context.Context, fn func(store.Writer) error) error {
	defer s.step()
	return s.Store.Update(ctx, fn)
}

func (s *interrupted) step() {
	if s.after--; s.after == 0 {
		s.do()
	}
}

// TestMeanwhile lets others act in the middle of what takes more than one
// transaction. What they were told is done stays done.
func TestMeanwhile(t *testing.T) {
	alice := token.Owner{Realm: "local", Name: "alice"}
	for _, c := range []struct {
		what  string
		after int // transactions
		// meanwhile is what another does, do what is interrupted by that.
		meanwhile func(*testing.T, *stage)
		do        func(*testing.T, *stage)
	}{
		{"a token is revoked while it is exchanged", 1, func(t *testing.T, s *stage) { s.revoke(t) }, func(t *testing.T, s *stage) {
			a, err := s.root.Exchange(background, authority.Exchange{RefreshToken: s.issued.Secret})
			if !errors.Is(err, token.ErrRefused) || !a.Text.IsZero() {
				t.Errorf("Exchange gives %+v, %v", a, err)
			}
		}},
		{"a token is rotated by an exchange while it is exchanged", 2, func(t *testing.T, s *stage) {
			var err error
			s.exchanged, err = s.other.Exchange(background, authority.Exchange{RefreshToken: s.issued.Secret})
			must(t, err)
		}, func(t *testing.T, s *stage) {
			c := token.NewConnection(token.DefaultConnection)
			c.Rotate = true
			_, err := s.other.SetConnection(background, c)
			must(t, err)
			a, err := s.root.Exchange(background, authority.Exchange{RefreshToken: s.issued.Secret})
			if err != nil || a.RefreshToken.IsZero() || !a.RefreshToken.Equal(s.exchanged.RefreshToken) {
				t.Errorf("the refresh token is another's: %v", err)
			}
			must(t, verify(s.other, a.RefreshToken))
		}},
		{"a token is rotated while its old secret is exchanged", 1, func(t *testing.T, s *stage) { s.rotate(t) }, func(t *testing.T, s *stage) {
			_, err := s.root.Exchange(background, authority.Exchange{RefreshToken: s.issued.Secret})
			if !errors.Is(err, token.ErrRefused) {
				t.Errorf("Exchange: %v", err)
			}
		}},
		{"a token is deleted while it is exchanged", 1, func(t *testing.T, s *stage) { s.delete(t) }, func(t *testing.T, s *stage) {
			_, err := s.root.Exchange(background, authority.Exchange{RefreshToken: s.issued.Secret})
			if !errors.Is(err, token.ErrRefused) {
				t.Errorf("Exchange: %v", err)
			}
		}},
		{"an owner is disabled while their token is exchanged", 1, func(t *testing.T, s *stage) { s.disable(t) }, func(t *testing.T, s *stage) {
			_, err := s.root.Exchange(background, authority.Exchange{RefreshToken: s.issued.Secret})
			if !errors.Is(err, token.ErrRefused) {
				t.Errorf("Exchange: %v", err)
			}
		}},
		{"a token is revoked while it is rotated", 1, func(t *testing.T, s *stage) { s.revoke(t) }, func(t *testing.T, s *stage) {
			i, err := s.root.Rotate(background, token.Ref{ID: s.issued.Token.ID}, authority.Rotation{})
			if !errors.Is(err, token.ErrConflict) || !i.Secret.IsZero() {
				t.Errorf("Rotate gives %+v, %v", i, err)
			}
		}},
		{"a token is deleted while it is rotated", 1, func(t *testing.T, s *stage) { s.delete(t) }, func(t *testing.T, s *stage) {
			_, err := s.root.Rotate(background, token.Ref{ID: s.issued.Token.ID}, authority.Rotation{})
			if !errors.Is(err, token.ErrNotFound) {
				t.Errorf("Rotate: %v", err)
			}
		}},
		{"a token is rotated while its secret is revoked", 1, func(t *testing.T, s *stage) { s.rotate(t) }, func(t *testing.T, s *stage) {
			got, err := s.root.RevokeSecret(background, s.issued.Secret, "")
			if err != nil || got.Status != token.Revoked {
				t.Errorf("RevokeSecret gives %+v, %v", got, err)
			}
		}},
		{"a token is deleted while its use is noted", 1, func(t *testing.T, s *stage) { s.delete(t) }, func(t *testing.T, s *stage) {
			_, err := s.root.Verify(background, authority.Presented{Credential: s.issued.Secret, CountsAsUse: true})
			must(t, err)
		}},
		{"a token is rotated while its use is noted with a newer key", 1, func(t *testing.T, s *stage) { s.rotate(t) }, func(t *testing.T, s *stage) {
			s.after = -1
			_, err := s.root.RotateKeyFile(background)
			must(t, err)
			s.after = 1
			_, err = s.root.Verify(background, authority.Presented{Credential: s.issued.Secret, CountsAsUse: true})
			must(t, err)
			if err := verify(s.other, s.issued.Secret); !errors.Is(err, token.ErrRefused) {
				t.Errorf("the secret before the rotation: %v", err)
			}
			must(t, verify(s.other, s.rotated.Secret))
		}},
		{"an account is enabled while it is deleted", 2, func(t *testing.T, s *stage) {
			_, err := s.other.SetAccount(background, token.Account{Owner: alice})
			must(t, err)
		}, func(t *testing.T, s *stage) {
			if err := s.root.DeleteAccount(background, alice); !errors.Is(err, token.ErrConflict) {
				t.Errorf("DeleteAccount: %v", err)
			}
			_, err := s.other.Account(background, alice)
			must(t, err)
		}},
		{"an expired token is revoked while it is forgotten", 1, func(t *testing.T, s *stage) { s.revoke(t) }, func(t *testing.T, s *stage) {
			s.now = s.now.Add(1000 * token.Day)
			for more := true; more; {
				var err error
				more, err = s.local.Maintain(background)
				must(t, err)
			}
			got, err := s.other.Get(background, s.issued.Token.ID)
			if err != nil || got.Status != token.Revoked {
				t.Errorf("the tombstone is %+v, %v", got, err)
			}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newStage(t, alice)
			s.do = func() { c.meanwhile(t, s) }
			s.after = c.after
			c.do(t, s)
			if s.after > 0 {
				t.Fatal("nothing has happened meanwhile")
			}
			if rep, err := s.other.Check(background, true); err != nil || len(rep.Problems) > 0 {
				t.Errorf("the store is %q, %v", rep.Problems, err)
			}
		})
	}
}

// stage is one store with two services: root's is interrupted, the other's
// not. Alice has a refresh token.
type stage struct {
	interrupted
	now             time.Time
	local           *authority.Local
	root, other     authority.Service
	issued, rotated authority.Issued
	exchanged       authority.AccessToken
}

func newStage(t *testing.T, alice token.Owner) *stage {
	s := &stage{now: start}
	s.Store = memory.New()
	keys, clock := keyfile.New(start), func() time.Time { return s.now }
	owner := authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, FileOwner: true}
	s.local = authority.New(authority.Options{Store: &s.interrupted, Keys: keys, Now: clock})
	s.root = s.local.As(owner)
	s.other = authority.New(authority.Options{Store: s.Store, Keys: keys, Now: clock}).As(owner)
	_, err := s.other.AddAccount(background, token.Account{Owner: alice})
	must(t, err)
	s.issued = generate(t, s.other, token.Spec{Kind: token.Refresh, Owner: alice})
	must(t, verify(s.root, s.issued.Secret)) // both have seen the key file
	return s
}

func (s *stage) ref() token.Ref { return token.Ref{ID: s.issued.Token.ID} }

// revoke, delete, disable and rotate are what others do.

func (s *stage) revoke(t *testing.T) { must(t, s.other.Revoke(background, []token.Ref{s.ref()}, "")) }

func (s *stage) delete(t *testing.T) { must(t, s.other.Delete(background, []token.Ref{s.ref()})) }

func (s *stage) disable(t *testing.T) {
	_, err := s.other.SetAccount(background, token.Account{Owner: s.issued.Token.Owner, Disabled: true})
	must(t, err)
}

func (s *stage) rotate(t *testing.T) {
	var err error
	s.rotated, err = s.other.Rotate(background, s.ref(), authority.Rotation{})
	must(t, err)
}

// A caller's name and address are in every entry that they cause.
func TestLogSaysHow(t *testing.T) {
	local := authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(start)})
	root := local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, Via: "uid 1000", From: "192.0.2.1", FileOwner: true})
	i := generate(t, root, token.Spec{Kind: token.User})
	must(t, root.Revoke(background, []token.Ref{i.Token.Ref()}, ""))
	n := 0
	for e, err := range root.ListAudit(background, audit.Filter{}) {
		must(t, err)
		if n++; e.Via != "uid 1000" || e.Source != "192.0.2.1" || e.Actor.Name != "root" {
			t.Errorf("%s is by %s, %q, from %q", e.Action, e.Actor, e.Via, e.Source)
		}
	}
	if n < 4 {
		t.Errorf("the log has %d entries", n)
	}
}
