package authority_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// shelf is another system that keeps what it is told of, in clear. A real one
// takes its place in package ldap and in the tests of commands; this one shows
// what the rules ask for, and when.
type shelf struct {
	mu   sync.Mutex
	has  map[string]bool // owner, service and password
	down bool
}

func (s *shelf) Name() string              { return "shelf" }
func (s *shelf) Order() int                { return 1 }
func (s *shelf) Serves(o token.Owner) bool { return o.Name != "root" }
func (s *shelf) key(t provision.Target, v []byte) string {
	return t.Owner.String() + " " + t.Service + " " + string(v)
}

func (s *shelf) Prepare(_ context.Context, _ provision.Target, plain secret.Secret) ([]byte, error) {
	return []byte(plain.Reveal()), nil
}

func (s *shelf) Apply(_ context.Context, e *provision.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return fmt.Errorf("the shelf is away")
	}
	for _, v := range e.Present {
		s.has[s.key(e.Target, v)] = true
	}
	for _, v := range e.Absent {
		delete(s.has, s.key(e.Target, v))
	}
	return nil
}

// holds fails unless the shelf has exactly these passwords, at imap, of alice.
func (s *shelf) holds(t *testing.T, when string, want ...secret.Secret) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for _, w := range want {
		keys = append(keys, "local/alice imap "+w.Reveal())
	}
	slices.Sort(keys)
	var got []string
	for k := range s.has {
		got = append(got, k)
	}
	slices.Sort(got)
	if !slices.Equal(got, keys) {
		t.Errorf("%s: the shelf has\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(keys, "\n"))
	}
}

// post is an authority with a shelf, a service imap and alice.
func post(t *testing.T, s *memory.Store, keys *keyfile.Keys, at *shelf) (*authority.Local, authority.Service) {
	t.Helper()
	l := authority.New(authority.Options{Store: s, Keys: keys, Provisioners: []provision.Provisioner{at}})
	root := l.As(authority.Caller{Owner: owner("root"), Via: "test", FileOwner: true})
	if _, err := root.Service(background, "imap"); err != nil {
		svc := token.NewService("imap")
		svc.Enabled, svc.Provisioners = true, []string{"shelf"}
		_, err := root.AddService(background, svc)
		must(t, err)
		_, err = root.AddAccount(background, token.Account{Owner: owner("alice"), Kind: token.Person})
		must(t, err)
	}
	return l, root
}

// What other systems hold follows the token, whatever happens to it.
func TestProvisioningFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := &shelf{has: map[string]bool{}}
		l, root := post(t, memory.New(), keyfile.New(time.Now()), at)
		deliver := func() {
			t.Helper()
			pending, err := l.DeliverDue(background)
			must(t, err)
			if len(pending) > 0 && !at.down {
				t.Fatalf("pending: %+v", pending)
			}
		}
		spec := token.Spec{Kind: token.Service, Service: "imap", Owner: owner("alice"), Replace: true}
		first, err := root.Generate(background, spec)
		must(t, err)
		deliver()
		at.holds(t, "made", first.Secret)

		must(t, root.Suspend(background, []token.Ref{{ID: first.Token.ID}}, time.Now().Add(time.Hour)))
		deliver()
		at.holds(t, "suspended")
		time.Sleep(time.Hour)
		deliver()
		at.holds(t, "when its suspension has ended", first.Secret)

		rotated, err := root.Rotate(background, token.Ref{ID: first.Token.ID}, authority.Rotation{Grace: time.Hour})
		must(t, err)
		deliver()
		at.holds(t, "rotated with grace", first.Secret, rotated.Secret)
		must(t, root.TakeBack(background, rotated.Token.Ref()))
		deliver()
		at.holds(t, "the rotation taken back", first.Secret)
		rotated, err = root.Rotate(background, token.Ref{ID: first.Token.ID}, authority.Rotation{Grace: time.Hour})
		must(t, err)
		time.Sleep(2 * time.Hour)
		deliver()
		at.holds(t, "after the grace", rotated.Secret)

		second, err := root.Generate(background, spec)
		must(t, err)
		deliver()
		at.holds(t, "replaced", second.Secret)
		must(t, root.TakeBack(background, second.Token.Ref()))
		deliver()
		at.holds(t, "the replacement taken back", rotated.Secret)
		if _, err := l.Verify(background, authority.Presented{Credential: rotated.Secret, User: "alice", Service: "imap"}); err != nil {
			t.Errorf("what was given back is not accepted: %v", err)
		}

		// What was revoked does not come back, though it was replaced before.
		third, err := root.Generate(background, spec)
		must(t, err)
		must(t, root.Revoke(background, []token.Ref{{ID: first.Token.ID}}, "stolen"))
		must(t, root.TakeBack(background, third.Token.Ref()))
		deliver()
		at.holds(t, "revoked after it was replaced")
		rotated, err = root.Generate(background, spec)
		must(t, err)
		first = rotated
		deliver()

		a, err := root.Account(background, owner("alice"))
		must(t, err)
		for _, disabled := range []bool{true, false} {
			a.Disabled, a.Revision = disabled, 0
			_, err = root.SetAccount(background, a)
			must(t, err)
			deliver()
			if disabled {
				at.holds(t, "owner disabled")
			} else {
				at.holds(t, "owner enabled", rotated.Secret)
			}
		}
		svc, err := root.Service(background, "imap")
		must(t, err)
		for _, enabled := range []bool{false, true} {
			svc.Enabled, svc.Revision = enabled, 0
			_, err = root.SetService(background, svc)
			must(t, err)
			deliver()
			if enabled {
				at.holds(t, "service enabled", rotated.Secret)
			} else {
				at.holds(t, "service disabled")
			}
		}

		at.down = true
		must(t, root.Revoke(background, []token.Ref{{ID: first.Token.ID}}, ""))
		deliver()
		at.holds(t, "revoked while it is away", rotated.Secret)
		at.down = false
		if _, err := root.RetryDeliveries(background, authority.DeliveryFilter{}); err != nil {
			t.Fatal(err)
		}
		deliver()
		at.holds(t, "back again")
		for d, err := range root.ListDeliveries(background, authority.DeliveryFilter{Token: first.Token.ID}) {
			t.Errorf("what is withdrawn for ever is still known: %+v, %v", d, err)
		}
	})
}

// A password that was made after a backup is withdrawn when the backup comes
// back: nobody could revoke it any more.
func TestProvisioningAfterRestore(t *testing.T) {
	at, s, keys := &shelf{has: map[string]bool{}}, memory.New(), keyfile.New(time.Now())
	l, root := post(t, s, keys, at)
	spec := token.Spec{Kind: token.Service, Service: "imap", Owner: owner("alice"), Replace: true}
	before, err := root.Generate(background, spec)
	must(t, err)
	var backup bytes.Buffer
	must(t, root.Backup(background, &backup))
	after, err := root.Generate(background, spec)
	must(t, err)
	_, err = l.DeliverDue(background)
	must(t, err)
	at.holds(t, "before the restore", after.Secret)

	back := memory.New()
	rep, err := authority.Restore(background, authority.RestoreOptions{
		Backup: bytes.NewReader(backup.Bytes()), Into: back, Present: s, Keys: keys, By: authority.Caller{Owner: owner("root")},
	})
	must(t, err)
	if !rep.Continues {
		t.Fatalf("%+v", rep)
	}
	l, _ = post(t, back, keys, at)
	_, err = l.DeliverDue(background)
	must(t, err)
	at.holds(t, "after the restore")
	if _, err := l.Verify(background, authority.Presented{Credential: before.Secret, User: "alice", Service: "imap"}); err == nil {
		t.Error("what was replaced after the backup is good again")
	}
}

// A secret that was rotated away while a provisioner was none of the service's
// does not come back with it, and a rotation that is taken back leaves nothing.
func TestProvisioningDropped(t *testing.T) {
	at := &shelf{has: map[string]bool{}}
	l, root := post(t, memory.New(), keyfile.New(time.Now()), at)
	deliver := func() {
		t.Helper()
		_, err := l.DeliverDue(background)
		must(t, err)
	}
	provisioners := func(names ...string) {
		t.Helper()
		svc, err := root.Service(background, "imap")
		must(t, err)
		svc.Provisioners = names
		_, err = root.SetService(background, svc)
		must(t, err)
		deliver()
	}
	first, err := root.Generate(background, token.Spec{Kind: token.Service, Service: "imap", Owner: owner("alice")})
	must(t, err)
	deliver()
	provisioners()
	at.holds(t, "taken away")
	_, err = root.Rotate(background, token.Ref{ID: first.Token.ID}, authority.Rotation{})
	must(t, err)
	provisioners("shelf")
	at.holds(t, "given back after a rotation")

	rotated, err := root.Rotate(background, token.Ref{ID: first.Token.ID}, authority.Rotation{})
	must(t, err)
	deliver()
	at.holds(t, "rotated", rotated.Secret)
	must(t, root.TakeBack(background, rotated.Token.Ref()))
	deliver()
	at.holds(t, "and taken back") // the one before was never told
}

// A service that was disabled since a backup is so after its restore.
func TestRestoreKeepsServices(t *testing.T) {
	at, s, keys := &shelf{has: map[string]bool{}}, memory.New(), keyfile.New(time.Now())
	_, root := post(t, s, keys, at)
	i, err := root.Generate(background, token.Spec{Kind: token.Service, Service: "imap", Owner: owner("alice")})
	must(t, err)
	var backup bytes.Buffer
	must(t, root.Backup(background, &backup))
	svc, err := root.Service(background, "imap")
	must(t, err)
	svc.Enabled = false
	_, err = root.SetService(background, svc)
	must(t, err)
	back := memory.New()
	_, err = authority.Restore(background, authority.RestoreOptions{
		Backup: bytes.NewReader(backup.Bytes()), Into: back, Present: s, Keys: keys, By: authority.Caller{Owner: owner("root")},
	})
	must(t, err)
	l, _ := post(t, back, keys, at)
	if _, err := l.Verify(background, authority.Presented{Credential: i.Secret, User: "alice", Service: "imap"}); err == nil {
		t.Error("its passwords are good again")
	}
}
