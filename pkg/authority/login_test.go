package authority_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const (
	goodPassword  = "correct horse battery"
	otherPassword = "staple of another horse"
)

// people are an authority with alice, who has a password.
func people(t *testing.T, s store.Store, keys *keyfile.Keys) (l *authority.Local, root, alice authority.Service) {
	t.Helper()
	l = authority.New(authority.Options{Store: s, Keys: keys, Serving: true})
	root = l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	alice = l.As(authority.Caller{Owner: owner("alice"), Via: "test"})
	if _, err := root.Account(t.Context(), owner("alice")); errors.Is(err, token.ErrNotFound) {
		_, err := root.AddAccount(t.Context(), token.Account{Owner: owner("alice"), Kind: token.Person, Roles: []token.Role{"reader"}})
		must(t, err)
		must(t, root.SetPassword(t.Context(), owner("alice"), secret.Secret{}, secret.FromText(goodPassword)))
	}
	return l, root, alice
}

func logsIn(l *authority.Local, name, password string) (token.Identity, error) {
	return l.LogIn(background, authority.Login{Name: name, Password: secret.FromText(password), From: "192.0.2.1"})
}

func TestLogIn(t *testing.T) {
	l, root, _ := people(t, memory.New(), keyfile.New(time.Now()))
	for _, name := range []string{"alice", "local/alice", "ALICE", " alice "} {
		id, err := logsIn(l, name, goodPassword)
		if err != nil || id.Owner != owner("alice") || len(id.Roles) != 1 {
			t.Errorf("%q: %+v, %v", name, id, err)
		}
	}
	var one error
	for _, c := range [][2]string{
		{"alice", otherPassword}, {"alice", goodPassword + " "}, {"alice", ""}, {"bob", goodPassword}, {"root", goodPassword}, {"corp/alice", goodPassword},
		{"", goodPassword}, {"al\x00ice", goodPassword}, {"alice", string(make([]byte, 2000))},
	} {
		_, err := logsIn(l, c[0], c[1])
		var no *authority.Refusal
		if !errors.As(err, &no) || !errors.Is(err, token.ErrRefused) {
			t.Errorf("%q: %v", c, err)
			continue
		}
		if one == nil {
			one = err
		}
		if err.Error() != one.Error() {
			t.Errorf("%q is told from others: %v", c, err)
		}
	}
	a, err := root.Account(t.Context(), owner("alice"))
	must(t, err)
	if len(a.Password) > 0 || !a.HasPassword {
		t.Errorf("the account is shown with %d bytes of its password", len(a.Password))
	}
	a.Disabled = true
	_, err = root.SetAccount(t.Context(), a)
	must(t, err)
	if _, err := logsIn(l, "alice", goodPassword); !errors.Is(err, token.ErrRefused) {
		t.Errorf("a disabled account: %v", err)
	}
	if a, err := root.Account(t.Context(), owner("alice")); err != nil || !a.Disabled {
		t.Errorf("a log-in enables it: %+v, %v", a, err)
	}
}

// Guessing takes longer each time, and the owner's own password always works.
func TestLogInSlowsGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := people(t, memory.New(), keyfile.New(time.Now()))
		begun := time.Now()
		for i := range 20 {
			name := []string{"alice", "ALICE", "local/alice"}[i%3] // one counter for all spellings
			if _, err := logsIn(l, name, fmt.Sprintf("guess number %d", i)); !errors.Is(err, token.ErrRefused) {
				t.Fatal(err)
			}
		}
		guesses := time.Since(begun)
		if guesses < 40*time.Second || guesses > 80*time.Second {
			t.Errorf("20 guesses took %s", guesses)
		}
		begun = time.Now()
		if _, err := logsIn(l, "alice", goodPassword); err != nil {
			t.Errorf("the right one after 20 wrong ones: %v", err)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("it had to wait %s", took)
		}
		begun = time.Now()
		if _, err := logsIn(l, "alice", goodPassword); err != nil || time.Since(begun) > 0 {
			t.Errorf("after a success: %v, %s", err, time.Since(begun))
		}
	})
}

// Ten wrong old passwords leave the account as it is, the eleventh disables it,
// also with a restart in between.
func TestSetPassword(t *testing.T) {
	s, keys := memory.New(), keyfile.New(time.Now())
	l, root, alice := people(t, s, keys)
	set := func(old, fresh string) error {
		return alice.SetPassword(background, token.Owner{}, secret.FromText(old), secret.FromText(fresh))
	}
	for i := range 10 {
		if err := set(fmt.Sprintf("wrong old one %d", i), otherPassword); !errors.Is(err, token.ErrRefused) {
			t.Fatal(err)
		}
		l, root, alice = people(t, s, keys) // as after a restart
	}
	must(t, set(goodPassword, otherPassword))
	if _, err := logsIn(l, "alice", otherPassword); err != nil {
		t.Errorf("the new one: %v", err)
	}
	if _, err := logsIn(l, "alice", goodPassword); !errors.Is(err, token.ErrRefused) {
		t.Errorf("the old one: %v", err)
	}
	for i := range 11 {
		if err := set(goodPassword, otherPassword); !errors.Is(err, token.ErrRefused) {
			t.Fatal(i, err)
		}
		l, root, alice = people(t, s, keys)
	}
	if err := set(otherPassword, goodPassword); !errors.Is(err, token.ErrRefused) {
		t.Errorf("the right one for a disabled account: %v", err)
	}
	a, err := root.Account(t.Context(), owner("alice"))
	must(t, err)
	if !a.Disabled || a.WrongPasswords != 11 {
		t.Errorf("after 11 wrong ones: %+v", a)
	}
	a.Disabled = false
	_, err = root.SetAccount(t.Context(), a)
	must(t, err)
	must(t, set(otherPassword, goodPassword))

	for _, bad := range []string{"", "short", "alice", string(make([]byte, 2000)), "bad \xff utf-8 here"} {
		if err := set(goodPassword, bad); !errors.Is(err, token.ErrUsage) {
			t.Errorf("%q as a password: %v", bad, err)
		}
	}
	if err := alice.SetPassword(background, owner("root"), secret.Secret{}, secret.FromText(goodPassword)); !errors.Is(err, token.ErrRefused) {
		t.Errorf("another's password: %v", err)
	}
	narrow := l.As(authority.Caller{Owner: owner("alice"), Narrowed: true, Roles: []token.Role{"reader"}})
	if err := narrow.SetPassword(background, token.Owner{}, secret.FromText(goodPassword), secret.FromText(otherPassword)); !errors.Is(err, token.ErrRefused) {
		t.Errorf("by a narrowed credential: %v", err)
	}
}

// What slows guessing down outlasts a restart, and success ends it there too.
func TestGuessesOutlastRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keys := memory.New(), keyfile.New(time.Now())
		serve := func(do func(*authority.Local)) {
			l, _, _ := people(t, s, keys)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- l.Run(ctx) }()
			do(l)
			stop()
			must(t, <-done)
		}
		takes := func(l *authority.Local, password string) time.Duration {
			begun := time.Now()
			logsIn(l, "alice", password)
			return time.Since(begun)
		}
		serve(func(l *authority.Local) {
			for range 10 {
				takes(l, "a guess at it")
				logsIn(l, "nobody", "a guess at it")
			}
		})
		serve(func(l *authority.Local) {
			if took := takes(l, goodPassword); took < 4*time.Second {
				t.Errorf("after a restart the next one took %s", took)
			}
		})
		serve(func(l *authority.Local) {
			if took := takes(l, otherPassword); took > 0 {
				t.Errorf("a success is forgotten by a restart: %s", took)
			}
			begun := time.Now()
			if logsIn(l, "nobody", otherPassword); time.Since(begun) > 0 {
				t.Errorf("the store remembers who does not exist")
			}
		})
	})
}
