package authority_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// past is a store with a token for every fate, and its backup.
type past struct {
	store  store.Store
	keys   *keyfile.Keys
	local  *authority.Local
	root   authority.Service
	tokens map[string]authority.Issued
	backup []byte
}

var fates = []string{"stays", "revoked", "deleted", "rotated", "suspended", "owner disabled", "owner deleted", "ended before"}

func newPast(t *testing.T) *past {
	t.Helper()
	p := &past{store: memory.New(), keys: keyfile.New(time.Now()), tokens: map[string]authority.Issued{}}
	p.local = authority.New(authority.Options{Store: p.store, Keys: p.keys})
	p.root = p.local.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	for i, fate := range fates {
		o := owner(string(rune('a' + i)))
		_, err := p.root.AddAccount(t.Context(), token.Account{Owner: o, Kind: token.Person, Roles: []token.Role{token.Auditor}})
		must(t, err)
		p.tokens[fate], err = p.root.Generate(t.Context(), token.Spec{Kind: token.User, Owner: o})
		must(t, err)
	}
	must(t, p.root.Revoke(t.Context(), p.refs("ended before"), "early"))
	p.backUp(t)
	return p
}

func (p *past) backUp(t *testing.T) {
	t.Helper()
	var b bytes.Buffer
	must(t, p.root.Backup(t.Context(), &b))
	p.backup = b.Bytes()
}

func (p *past) refs(fate string) []token.Ref { return []token.Ref{{ID: p.tokens[fate].Token.ID}} }

// restore brings the backup back, into a store that replaces present.
func (p *past) restore(present store.Store) (*authority.Local, authority.RestoreReport, error) {
	return p.restoreInto(memory.New(), present)
}

func (p *past) restoreInto(into, present store.Store) (*authority.Local, authority.RestoreReport, error) {
	rep, err := authority.Restore(background, authority.RestoreOptions{
		Backup: bytes.NewReader(p.backup), Into: into, Present: present, Keys: p.keys, By: authority.Caller{Owner: owner("root"), Via: "uid 0"},
	})
	return authority.New(authority.Options{Store: into, Keys: p.keys}), rep, err
}

func accepts(l *authority.Local, s secret.Secret) bool {
	_, err := l.Verify(background, authority.Presented{Credential: s})
	return err == nil
}

// A restore brings back what was there, and nothing that was ended since.
func TestRestoreKeepsEndings(t *testing.T) {
	p := newPast(t)
	must(t, p.root.Revoke(t.Context(), p.refs("revoked"), "leaked"))
	must(t, p.root.Delete(t.Context(), p.refs("deleted")))
	must(t, p.root.Suspend(t.Context(), p.refs("suspended"), time.Time{}))
	rotated, err := p.root.Rotate(t.Context(), p.refs("rotated")[0], authority.Rotation{})
	must(t, err)
	disabled, err := p.root.Account(t.Context(), p.tokens["owner disabled"].Token.Owner)
	must(t, err)
	disabled.Disabled = true
	_, err = p.root.SetAccount(t.Context(), disabled)
	must(t, err)
	must(t, p.root.DeleteAccount(t.Context(), p.tokens["owner deleted"].Token.Owner))
	later, err := p.root.Generate(t.Context(), token.Spec{Kind: token.Refresh, Name: "later"})
	must(t, err)

	// What was taken away in between, and a key that was replaced in haste.
	auditor := p.tokens["stays"].Token.Owner
	demoted, err := p.root.Account(t.Context(), auditor)
	must(t, err)
	demoted.Roles = nil
	_, err = p.root.SetAccount(t.Context(), demoted)
	must(t, err)
	key, err := p.root.RotateSigning(t.Context(), token.EdDSA)
	must(t, err)

	l, rep, err := p.restore(p.store)
	must(t, err)
	if !rep.Continues || rep.Tokens != len(fates) || rep.Kept != 8 || rep.Taken.IsZero() {
		t.Errorf("the report is %+v", rep)
	}
	for _, fate := range fates {
		if got, want := accepts(l, p.tokens[fate].Secret), fate == "stays"; got != want {
			t.Errorf("the token that %s: accepted %v", fate, got)
		}
	}
	if !accepts(l, rotated.Secret) {
		t.Error("the new secret of a rotated token is refused")
	}
	if accepts(l, later.Secret) {
		t.Error("a token that was made later is there")
	}
	root := l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	if a, err := root.Account(t.Context(), auditor); err != nil || len(a.Roles) > 0 || a.Disabled {
		t.Errorf("roles that were taken away are back: %+v, %v", a, err)
	}
	keys, err := root.ListKeys(t.Context())
	must(t, err)
	for _, k := range keys {
		if k.State == "active" && k.ID != key.ID && k.Use == "sign" {
			t.Errorf("a signing key that was replaced signs again: %+v", k)
		}
	}
	report, err := root.Check(t.Context(), true)
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("the restored store is not sound: %v, %v", report.Problems, err)
	}
	var last audit.Entry
	for last, err = range root.ListAudit(t.Context(), audit.Filter{}) {
		must(t, err)
	}
	if last.Action != "store.restore" || last.Actor != owner("root") {
		t.Errorf("the last entry of the log is %+v", last)
	}
}

// A backup that is restored again, or after what it holds was forgotten, brings
// nothing to life either.
func TestRestoreAgain(t *testing.T) {
	now := time.Now()
	p := newPast(t)
	p.local = authority.New(authority.Options{Store: p.store, Keys: p.keys, Now: func() time.Time { return now }})
	p.root = p.local.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	must(t, p.root.Revoke(t.Context(), p.refs("revoked"), ""))
	must(t, p.root.Delete(t.Context(), p.refs("deleted")))
	must(t, p.root.DeleteAccount(t.Context(), p.tokens["owner deleted"].Token.Owner))
	disabled, err := p.root.Account(t.Context(), p.tokens["owner disabled"].Token.Owner)
	must(t, err)
	disabled.Disabled = true
	_, err = p.root.SetAccount(t.Context(), disabled)
	must(t, err)
	now = now.Add(401 * token.Day)
	if _, err := p.local.Maintain(t.Context()); err != nil { // forgets tombstones, and not the log yet
		t.Fatal(err)
	}
	present := p.store
	for range 3 {
		into := memory.New()
		l, rep, err := p.restoreInto(into, present)
		must(t, err)
		for _, fate := range []string{"revoked", "deleted", "owner deleted", "owner disabled", "ended before"} {
			if rep.Continues && accepts(l, p.tokens[fate].Secret) {
				t.Errorf("the token that %s is back", fate)
			}
		}
		if !rep.Continues || !accepts(l, p.tokens["stays"].Secret) {
			t.Errorf("%+v", rep)
		}
		present = into
	}
}

// A backup from before connections rotated, or were strict, does not make them
// what they were.
func TestRestoreKeepsRotation(t *testing.T) {
	type rotation struct {
		on     bool
		reuse  token.Reuse
		window time.Duration
	}
	cases := map[string]struct{ was, now, want rotation }{
		"switched-on":  {rotation{false, token.ReuseOff, 0}, rotation{true, token.ReuseAlert, time.Minute}, rotation{true, token.ReuseAlert, time.Minute}},
		"switched-off": {rotation{true, token.ReuseAlert, time.Minute}, rotation{false, token.ReuseRevoke, 0}, rotation{true, token.ReuseAlert, time.Minute}},
		"stricter":     {rotation{true, token.ReuseAlert, time.Minute}, rotation{true, token.ReuseRevoke, time.Second}, rotation{true, token.ReuseRevoke, time.Second}},
		"laxer":        {rotation{true, token.ReuseRevoke, time.Second}, rotation{true, token.ReuseOff, time.Minute}, rotation{true, token.ReuseRevoke, time.Second}},
		"never":        {rotation{false, token.ReuseOff, 0}, rotation{false, token.ReuseRevoke, time.Minute}, rotation{false, token.ReuseOff, 0}},
	}
	p := newPast(t)
	set := func(name string, r rotation, put func(token.Connection) error) {
		c := token.NewConnection(name)
		c.Rotate, c.Reuse, c.RetryWindow = r.on, r.reuse, r.window
		must(t, put(c))
	}
	for name, c := range cases {
		set(name, c.was, func(c token.Connection) error { _, err := p.root.AddConnection(t.Context(), c); return err })
	}
	var b bytes.Buffer
	must(t, p.root.Backup(t.Context(), &b))
	p.backup = b.Bytes()
	for name, c := range cases {
		set(name, c.now, func(c token.Connection) error { _, err := p.root.SetConnection(t.Context(), c); return err })
	}
	l, rep, err := p.restore(p.store)
	must(t, err)
	for name, c := range cases {
		got, err := l.As(authority.Caller{Owner: owner("root"), FileOwner: true}).Connection(t.Context(), name)
		if err != nil || (rotation{got.Rotate, got.Reuse, got.RetryWindow}) != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if rep.Kept != 2 {
		t.Errorf("%d changes were kept", rep.Kept)
	}
}

// What exchanges have rotated since is as they left it, though they were all in
// one second.
func TestRestoreKeepsWhatExchangesRotated(t *testing.T) {
	p, now := newPast(t), time.Now()
	p.local = authority.New(authority.Options{Store: p.store, Keys: p.keys, Now: func() time.Time { return now }})
	p.root = p.local.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	first, err := p.root.Generate(t.Context(), token.Spec{Kind: token.Refresh, Connection: rotating(t, p.root)})
	must(t, err)
	second, err := p.root.Exchange(t.Context(), authority.Exchange{RefreshToken: first.Secret})
	must(t, err)
	var b bytes.Buffer
	must(t, p.root.Backup(t.Context(), &b))
	p.backup = b.Bytes()
	third, err := p.root.Exchange(t.Context(), authority.Exchange{RefreshToken: second.RefreshToken})
	must(t, err)
	l, _, err := p.restore(p.store)
	must(t, err)
	if accepts(l, second.RefreshToken) || !accepts(l, third.RefreshToken) {
		t.Error("the refresh token of before the backup is the good one")
	}
}

// Without the present store, or beside another one, the backup comes back as it
// was, and the report says so.
func TestRestoreWithoutThePresent(t *testing.T) {
	p := newPast(t)
	must(t, p.root.Delete(t.Context(), p.refs("deleted")))
	other := newPast(t)
	must(t, other.root.Revoke(t.Context(), other.refs("stays"), ""))
	for what, present := range map[string]store.Store{"none": nil, "an empty one": memory.New(), "another": other.store} {
		l, rep, err := p.restore(present)
		if err != nil || rep.Continues || rep.Kept != 0 || rep.Tokens != len(fates) {
			t.Errorf("%s: %+v, %v", what, rep, err)
		}
		if !accepts(l, p.tokens["stays"].Secret) || !accepts(l, p.tokens["deleted"].Secret) || accepts(l, p.tokens["ended before"].Secret) {
			t.Errorf("%s: the tokens are not what they were", what)
		}
	}
}

// Whatever was changed in a backup is noticed before anything is written.
func TestRestoreRefusesDamage(t *testing.T) {
	p := newPast(t)
	whole := p.backup
	try := func(what string, b []byte) {
		t.Helper()
		p.backup = b
		into := memory.New()
		_, err := authority.Restore(background, authority.RestoreOptions{Backup: bytes.NewReader(b), Into: into, Keys: p.keys})
		if !errors.Is(err, store.ErrBackup) || !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("%s: %v", what, err)
		}
		if n := entries(t, into); n > 0 {
			t.Errorf("%s: %d entries were written", what, n)
		}
	}
	for i := 0; i < len(whole); i += 1 + len(whole)/400 {
		try("cut off", whole[:i])
		flipped := slices.Clone(whole)
		flipped[i] ^= 0x10
		try("a changed bit", flipped)
	}
	try("something behind it", append(slices.Clone(whole), 0))
	try("twice", append(slices.Clone(whole), whole...))
	p.backup = whole
	if _, _, err := p.restore(nil); err != nil {
		t.Errorf("the whole backup: %v", err)
	}
	// A key file that is not its own is noticed too.
	p.keys = keyfile.New(time.Now())
	if _, _, err := p.restore(nil); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("with another key file: %v", err)
	}
}

// A client secret that was renewed since stays ended.
func TestRestoreKeepsClientSecrets(t *testing.T) {
	p := newPast(t)
	conn := token.NewConnection("billing")
	conn.AuthMethod = token.AuthBasic
	_, err := p.root.AddConnection(t.Context(), conn)
	must(t, err)
	_, before, err := p.root.RenewClientSecret(t.Context(), "billing")
	must(t, err)
	p.backUp(t)
	_, after, err := p.root.RenewClientSecret(t.Context(), "billing")
	must(t, err)
	l, _, err := p.restore(p.store)
	must(t, err)
	if _, err := l.AuthenticateClient(t.Context(), authority.ClientAuth{ID: "billing", Secret: after}); err != nil {
		t.Errorf("the secret of now: %v", err)
	}
	if _, err := l.AuthenticateClient(t.Context(), authority.ClientAuth{ID: "billing", Secret: before}); !errors.Is(err, token.ErrRefused) {
		t.Errorf("the secret of then: %v", err)
	}
}
