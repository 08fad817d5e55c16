//go:build linux

package cmd_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// clockwork is a service on a real file whose clock the test sets.
type clockwork struct {
	authority.Service
	now time.Time
}

func newClockwork(t *testing.T) *clockwork {
	t.Helper()
	m := newMachine(t)
	keys, err := keyfile.Create(m.key(), time.Now())
	if err == nil {
		err = bolt.Create(m.db())
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(bolt.Options{Path: m.db(), Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	owner, err := token.ParseOwner("keeper")
	if err != nil {
		t.Fatal(err)
	}
	c := &clockwork{now: time.Now()}
	c.Service = authority.New(authority.Options{Store: s, Keys: keys, Now: func() time.Time { return c.now }}).
		As(authority.Caller{Owner: owner, Via: "test", FileOwner: true})
	return c
}

func (c *clockwork) verify(s secret.Secret) error {
	_, err := c.Verify(context.Background(), authority.Presented{Credential: s})
	return err
}

// A clock that is set back makes nothing live that has ended for good, and
// breaks neither store nor audit log; what has an end still has one.
func TestHostileClockSetBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := newClockwork(t)
	issued, err := c.Generate(ctx, token.Spec{Kind: token.Refresh, Name: "ci", Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	access, err := c.Exchange(ctx, authority.Exchange{RefreshToken: issued.Secret})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := c.Generate(ctx, token.Spec{Kind: token.Refresh, Name: "gone"})
	if err == nil {
		err = c.Revoke(ctx, []token.Ref{gone.Token.Ref()}, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, back := range []time.Duration{time.Second, time.Minute, 24 * time.Hour, 50 * 365 * 24 * time.Hour} {
		c.now = time.Now().Add(-back)
		if err := c.verify(issued.Secret); err != nil {
			t.Errorf("%v back: the token: %v", back, err)
		}
		if err := c.verify(access.Text); err != nil && !errors.Is(err, token.ErrRefused) {
			t.Errorf("%v back: the access token: %v", back, err)
		}
		if err := c.verify(gone.Secret); !errors.Is(err, token.ErrRefused) {
			t.Errorf("%v back: the revoked token: %v", back, err)
		}
		next, err := c.Rotate(ctx, token.Ref{ID: issued.Token.ID}, authority.Rotation{Grace: time.Minute})
		if err != nil {
			t.Fatalf("%v back: %v", back, err)
		}
		if err := c.TakeBack(ctx, next.Token.Ref()); err != nil {
			t.Errorf("%v back: taking back: %v", back, err)
		}
		if _, err := c.Exchange(ctx, authority.Exchange{RefreshToken: issued.Secret}); err != nil {
			t.Errorf("%v back: exchange: %v", back, err)
		}
		if made, err := c.Generate(ctx, token.Spec{Kind: token.Refresh, Lifetime: time.Hour}); err != nil || made.Token.ExpiresAt.After(c.now.Add(2*time.Hour)) {
			t.Errorf("%v back: made %v, %v", back, made.Token.ExpiresAt, err)
		}
	}
	c.whole(t)
	c.now = time.Now().Add(2 * time.Hour)
	for _, s := range []secret.Secret{issued.Secret, access.Text, gone.Secret} {
		if err := c.verify(s); !errors.Is(err, token.ErrRefused) {
			t.Errorf("after its end: %v", err)
		}
	}
	c.whole(t)
}

// Clocks that are far off, such as those of machines without a battery: an
// error, or a token with its end; never one that lives for ever, and no panic.
func TestHostileClockFarOff(t *testing.T) {
	t.Parallel()
	for _, now := range []string{
		"0001-01-01T00:00:00Z", "1901-12-13T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:10Z", "2038-01-19T03:14:08Z",
		"2106-02-07T06:28:15Z", "2106-02-07T06:28:17Z", "2200-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
	} {
		c := newClockwork(t)
		var err error
		if c.now, err = time.Parse(time.RFC3339, now); err != nil {
			t.Fatal(err)
		}
		issued, err := c.Generate(t.Context(), token.Spec{Kind: token.Refresh, Lifetime: time.Hour})
		if err != nil {
			t.Logf("%s: %v", now, err)
			continue
		}
		if issued.Token.ExpiresAt.IsZero() {
			t.Errorf("%s: a token that never expires", now)
		}
		if err := c.verify(issued.Secret); err != nil && !errors.Is(err, token.ErrRefused) {
			t.Errorf("%s: verify: %v", now, err)
		}
		if access, err := c.Exchange(t.Context(), authority.Exchange{RefreshToken: issued.Secret}); err == nil && access.ExpiresIn > time.Hour {
			t.Errorf("%s: an access token for %v", now, access.ExpiresIn)
		}
		for _, err := range c.List(t.Context(), token.Selector{Ended: true}) {
			if err != nil {
				t.Errorf("%s: list: %v", now, err)
			}
		}
		c.now = c.now.Add(2 * time.Hour)
		if err := c.verify(issued.Secret); !errors.Is(err, token.ErrRefused) {
			t.Errorf("%s: it lives on: %v", now, err)
		}
		c.whole(t)
	}
}

func (c *clockwork) whole(t *testing.T) {
	t.Helper()
	found, err := c.Check(t.Context(), true)
	if err != nil || len(found.Problems) > 0 {
		t.Errorf("check --deep: %q, %v", found.Problems, err)
	}
}
