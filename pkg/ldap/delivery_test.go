package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// deliverer brings alice's tokens to a server.
func deliverer(t testing.TB, p *Provisioner) *provision.Deliverer {
	return &provision.Deliverer{
		Store: memory.New(), Provisioners: []provision.Provisioner{p},
		Open: func(sealed []byte, _ string) ([]byte, error) { return sealed, nil },
		Warn: func(err error) { t.Error(err) },
		Wanted: func(r store.Reader, s *provision.State) (bool, time.Time, bool, error) {
			_, err := store.GetToken(r, s.Token)
			if errors.Is(err, store.ErrNotFound) {
				return false, time.Time{}, true, nil
			}
			return err == nil, time.Time{}, false, err
		},
	}
}

// generate makes a token of alice's with a password.
func generate(t testing.TB, d *provision.Deliverer, p *Provisioner, password string) token.Record {
	t.Helper()
	now := time.Now()
	rec := token.Record{ID: secret.NewID(now), Kind: token.Service, Owner: owner("alice"), Service: "imap", CreatedAt: now, CreatedBy: owner("alice")}
	v := prepare(t, p, password)
	must(t, d.Store.Update(t.Context(), func(w store.Writer) error {
		made := provision.Made{Provisioner: p.Name(), Order: p.Order(), Target: aliceAtIMAP, Sealed: v}
		return errors.Join(store.PutToken(w, nil, &rec), provision.Renew(w, rec.ID, 1, []provision.Made{made}, time.Time{}, now))
	}))
	return rec
}

// What a server could not be told while it was down it learns when it is back,
// without being asked.
func TestDelivery(t *testing.T) {
	s, p := passwords(t, nil)
	d := deliverer(t, p)
	s.Kill()
	rec := generate(t, d, p, "Abcdefgh1234567")
	pending, err := d.Once(t.Context(), rec.ID)
	if err != nil || len(pending) != 1 || pending[0].Attempts != 1 || !strings.Contains(pending[0].LastError, "connection refused") {
		t.Errorf("while it is down: %+v, %v", pending, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() { d.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	s.Restart()
	until(t, func() bool { return s.Bind(slapd.DN("alice"), "Abcdefgh1234567") == 0 })
	binds(t, s, map[string]bool{ownPassword: true})

	must(t, d.Store.Update(t.Context(), func(w store.Writer) error {
		return errors.Join(store.DeleteToken(w, &rec), provision.Reconcile(w, rec.ID, time.Now()))
	}))
	d.Wake()
	until(t, func() bool { return s.Bind(slapd.DN("alice"), "Abcdefgh1234567") == 49 })
	binds(t, s, map[string]bool{ownPassword: true})
	changes(t, s, "alice", "userPassword", 1, 1)
}

func until(t testing.TB, good func() bool) {
	t.Helper()
	for range 300 {
		if good() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("it does not come to be")
}

// BenchmarkBind says what a bind costs a server with so many passwords of
// applications besides the person's own, which it tries one after the other.
func BenchmarkBind(b *testing.B) {
	s := slapd.Start(b, slapd.Options{Passwords: true, Quiet: true})
	s.Add("alice", ownPassword)
	p := provisioner(b, s, nil)
	var last string
	for n := 0; n <= 20; n++ {
		if n > 0 {
			last = fmt.Sprintf("Password%07d", n)
			must(b, p.Apply(b.Context(), &provision.Event{Target: aliceAtIMAP, Present: list(prepare(b, p, last))}))
		}
		if n != 0 && n != 1 && n != 5 && n != 20 {
			continue
		}
		for what, password := range map[string]string{"own": ownPassword, "last": last, "wrong": "wrong"} {
			if password == "" {
				continue
			}
			b.Run(fmt.Sprintf("%d values/%s", n, what), func(b *testing.B) {
				for b.Loop() {
					s.Bind(slapd.DN("alice"), password)
				}
			})
		}
	}
}

// BenchmarkApply adds a value and removes it again: two searches and two
// changes.
func BenchmarkApply(b *testing.B) {
	s := slapd.Start(b, slapd.Options{Passwords: true, Quiet: true})
	s.Add("alice", ownPassword)
	p := provisioner(b, s, nil)
	v := list(prepare(b, p, "Abcdefgh1234567"))
	for b.Loop() {
		must(b, p.Apply(b.Context(), &provision.Event{Target: aliceAtIMAP, Present: v}))
		must(b, p.Apply(b.Context(), &provision.Event{Target: aliceAtIMAP, Absent: v}))
	}
}

// Whose entry got the first value is known from then on, also where no account
// told it: a value follows a renamed entry, and no other person gets it.
func TestDeliveryKnowsWhoGotIt(t *testing.T) {
	s := slapd.Start(t, slapd.Options{Passwords: true})
	s.Add("alice", ownPassword)
	p := provisioner(t, s, nil)
	e := provision.Event{Target: provision.Target{Owner: owner("alice"), Service: "imap"}, Present: list(prepare(t, p, "Password0000001"))}
	must(t, p.Apply(t.Context(), &e))
	if e.EntryID == "" {
		t.Fatal("nobody knows whose entry it was")
	}
	s.Remove("alice")
	s.Add("alice", "another alice's password")
	if err := p.Apply(t.Context(), &e); !errors.Is(err, token.ErrRefused) {
		t.Errorf("another person of her name: %v", err)
	}
}
