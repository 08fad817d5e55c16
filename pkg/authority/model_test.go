package authority_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var (
	background = context.Background()
	start      = time.Date(2026, 11, 22, 7, 0, 0, 500_000_000, time.UTC)
	owners     = []token.Owner{{Realm: "local", Name: "alice"}, {Realm: "corp", Name: "bob"}}
)

// modelToken is what the model knows of a token: what the sentences of the
// product say, and none of how they are kept.
type modelToken struct {
	id       token.ID
	kind     token.Kind
	owner    token.Owner
	name     string
	made     time.Time
	expires  time.Time // zero: never
	revoked  time.Time
	deleted  bool
	rests    bool
	restsTo  time.Time // zero: until resumed
	current  int       // its secret, by number
	previous int       // the one before, or none
	grace    time.Time // when that ends
	untilUse bool      // or when the current one is used
	undo     replaced  // what the last rotation put aside
	lastUse  time.Time
	revision uint64
	change   token.Change
	changed  time.Time
}

const none = -1

type replaced struct {
	previous int
	grace    time.Time
	untilUse bool
}

// modelSecret is a secret that was once shown, or an access token.
type modelSecret struct {
	text    secret.Secret
	of      *modelToken
	expires time.Time // access tokens only
	hashed  int       // number of the key of the key file that it was hashed with
}

// model runs beside a Local.
type model struct {
	now       time.Time
	local     *authority.Local
	root      authority.Service
	tokens    []*modelToken
	secrets   []modelSecret
	disabled  map[token.Owner]bool
	fileKey   int
	retention time.Duration
}

func newModel(t *rapid.T) *model {
	m := &model{now: start, disabled: map[token.Owner]bool{}, fileKey: 1, retention: token.Day}
	m.local = authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(start), Now: func() time.Time { return m.now }})
	m.root = m.local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, FileOwner: true})
	_, err := m.root.SetPolicy(background, map[string]string{"retention": "1d", "refresh_token_lifetime": "1h"})
	ok(t, err)
	for _, o := range owners {
		_, err := m.root.AddAccount(background, token.Account{Owner: o, Roles: []token.Role{"reader"}})
		ok(t, err)
	}
	return m
}

func ok(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect compares an error with the kind that the model says.
func expect(t *rapid.T, what string, err, kind error) {
	t.Helper()
	if kind == nil && err != nil || kind != nil && !errors.Is(err, kind) {
		t.Fatalf("%s: %v, want %v", what, err, kind)
	}
}

func (m *model) second() time.Time { return m.now.Truncate(time.Second) }

func (k *modelToken) status(now time.Time) token.Status {
	switch {
	case !k.revoked.IsZero():
		return token.Revoked
	case !k.expires.IsZero() && !now.Before(k.expires):
		return token.Expired
	case k.rests && (k.restsTo.IsZero() || now.Before(k.restsTo)):
		return token.Suspended
	}
	return token.Active
}

func (k *modelToken) live(now time.Time) bool {
	s := k.status(now)
	return !k.deleted && (s == token.Active || s == token.Suspended)
}

// ended is the conflict of changing what is there no longer, or has ended.
func (m *model) ended(k *modelToken) error {
	switch {
	case k.deleted:
		return token.ErrNotFound
	case !k.live(m.now):
		return token.ErrConflict
	}
	return nil
}

// verdict is why a secret is refused now, or "".
func (m *model) verdict(n int) authority.Reason {
	s := m.secrets[n]
	k := s.of
	access := !s.expires.IsZero()
	switch {
	case access && !m.now.Before(s.expires):
		return authority.WrongSignature
	case k.deleted:
		return authority.UnknownToken
	case !k.revoked.IsZero():
		return authority.TokenRevoked
	case !access && n != k.current && (n != k.previous || !m.now.Before(k.grace)):
		return authority.WrongSecret
	}
	switch k.status(m.now) {
	case token.Expired:
		return authority.TokenExpired
	case token.Suspended:
		return authority.TokenSuspended
	}
	if m.disabled[k.owner] {
		return authority.OwnerDisabled
	}
	return ""
}

func (m *model) keep(text secret.Secret, k *modelToken, expires time.Time) int {
	m.secrets = append(m.secrets, modelSecret{text, k, expires, m.fileKey})
	return len(m.secrets) - 1
}

// touch is a change of a token.
func (m *model) touch(k *modelToken, change token.Change) {
	k.revision++
	k.change, k.changed = change, m.second()
}

// used is a use that counts.
func (m *model) used(n int) {
	k := m.secrets[n].of
	arrived := n == k.current && k.untilUse && k.previous != none
	outdated := n == k.current && m.secrets[n].hashed != m.fileKey
	if !arrived && !outdated && m.second().Sub(k.lastUse) < 30*time.Second {
		return
	}
	if arrived {
		k.previous = none
	}
	if outdated {
		m.secrets[n].hashed = m.fileKey
	}
	k.lastUse = m.second()
}

func (m *model) generate(t *rapid.T) {
	spec := token.Spec{Kind: rapid.SampledFrom([]token.Kind{token.User, token.Refresh}).Draw(t, "kind"), Owner: rapid.SampledFrom(owners).Draw(t, "owner")}
	if spec.Kind == token.Refresh {
		spec.Name = rapid.SampledFrom([]string{"", "ci"}).Draw(t, "name")
	}
	if rapid.Bool().Draw(t, "limited") {
		spec.Lifetime = time.Duration(rapid.IntRange(1, 90).Draw(t, "life")) * time.Second
	}
	holds := func(k *modelToken) bool {
		return k.live(m.now) && k.kind == spec.Kind && k.owner == spec.Owner && k.name == spec.Name && (k.kind == token.User || k.name != "")
	}
	var want error
	switch {
	case m.disabled[spec.Owner]:
		want = token.ErrRefused
	case slices.ContainsFunc(m.tokens, holds):
		want = token.ErrConflict
	}
	i, err := m.root.Generate(background, spec)
	expect(t, "Generate", err, want)
	if err != nil {
		return
	}
	k := &modelToken{id: i.Token.ID, kind: spec.Kind, owner: spec.Owner, name: spec.Name, made: m.second(), previous: none}
	switch {
	case spec.Lifetime > 0:
		k.expires = k.made.Add(spec.Lifetime)
	case spec.Kind == token.Refresh:
		k.expires = k.made.Add(time.Hour)
	}
	m.touch(k, token.Made)
	k.current = m.keep(i.Secret, k, time.Time{})
	m.tokens = append(m.tokens, k)
}

func (m *model) token(t *rapid.T) *modelToken {
	if len(m.tokens) == 0 {
		t.Skip("there is no token")
	}
	return rapid.SampledFrom(m.tokens).Draw(t, "token")
}

func (m *model) rotate(t *rapid.T) {
	k := m.token(t)
	r := authority.Rotation{UntilUsed: rapid.Bool().Draw(t, "until used")}
	if rapid.Bool().Draw(t, "with grace") {
		r.Grace = time.Duration(rapid.IntRange(1, 90).Draw(t, "grace")) * time.Second
	}
	i, err := m.root.Rotate(background, token.Ref{ID: k.id, Revision: k.revision}, r)
	expect(t, "Rotate", err, m.ended(k))
	if err != nil {
		return
	}
	m.touch(k, token.Rotated)
	k.undo = replaced{k.previous, k.grace, k.untilUse}
	k.previous, k.grace, k.untilUse = k.current, k.changed.Add(r.Grace), r.UntilUsed
	if r.UntilUsed && r.Grace == 0 {
		k.grace = k.changed.Add(token.MaxLifetime)
	}
	k.current = m.keep(i.Secret, k, time.Time{})
}

func (m *model) takeBack(t *rapid.T) {
	k := m.token(t)
	var want error
	switch {
	case k.deleted:
		want = token.ErrNotFound
	case k.change == token.Other, m.second().Sub(k.changed) > 10*time.Minute, k.change == token.Rotated && k.previous == none:
		want = token.ErrConflict
	}
	err := m.root.TakeBack(background, token.Ref{ID: k.id, Revision: k.revision})
	expect(t, "TakeBack", err, want)
	if err != nil {
		return
	}
	if k.change == token.Made {
		k.deleted = true
		return
	}
	m.touch(k, token.Other)
	k.current = k.previous
	k.previous, k.grace, k.untilUse = k.undo.previous, k.undo.grace, k.undo.untilUse
}

func (m *model) end(t *rapid.T) {
	k := m.token(t)
	ref := []token.Ref{{ID: k.id, Revision: k.revision}}
	switch rapid.SampledFrom([]string{"revoke", "delete", "suspend", "resume"}).Draw(t, "how") {
	case "revoke":
		var want error
		if k.deleted {
			want = token.ErrNotFound
		}
		err := m.root.Revoke(background, ref, "lost")
		expect(t, "Revoke", err, want)
		if err == nil && k.revoked.IsZero() {
			m.touch(k, token.Other)
			k.revoked, k.previous = k.changed, none
		}
	case "delete":
		var want error
		switch {
		case k.deleted:
			want = token.ErrNotFound
		case !k.revoked.IsZero():
			want = token.ErrConflict
		}
		expect(t, "Delete", m.root.Delete(background, ref), want)
		k.deleted = k.deleted || want == nil
	case "suspend":
		until := time.Time{}
		if rapid.Bool().Draw(t, "with an end") {
			until = m.second().Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
		}
		err := m.root.Suspend(background, ref, until)
		expect(t, "Suspend", err, m.ended(k))
		if err == nil {
			m.touch(k, token.Other)
			k.rests, k.restsTo = true, until
		}
	default:
		err := m.root.Resume(background, ref)
		expect(t, "Resume", err, m.ended(k))
		if err == nil && k.rests {
			m.touch(k, token.Other)
			k.rests, k.restsTo = false, time.Time{}
		}
	}
}

func (m *model) secret(t *rapid.T) int {
	if len(m.secrets) == 0 {
		t.Skip("there is no secret")
	}
	return rapid.IntRange(0, len(m.secrets)-1).Draw(t, "secret")
}

func (m *model) use(t *rapid.T) {
	n := m.secret(t)
	_, err := m.root.Verify(background, authority.Presented{Credential: m.secrets[n].text, CountsAsUse: true})
	if m.verdict(n) != "" {
		expect(t, "Verify", err, token.ErrRefused)
		return
	}
	ok(t, err)
	m.used(n)
}

func (m *model) exchange(t *rapid.T) {
	n := m.secret(t)
	s := m.secrets[n]
	a, err := m.root.Exchange(background, authority.Exchange{RefreshToken: s.text})
	if m.verdict(n) != "" || s.of.kind != token.Refresh || !s.expires.IsZero() {
		expect(t, "Exchange", err, token.ErrRefused)
		return
	}
	ok(t, err)
	m.used(n)
	expires := m.second().Add(time.Hour)
	if s.of.expires.Before(expires) {
		expires = s.of.expires
	}
	m.keep(a.Text, s.of, expires)
}

func (m *model) account(t *rapid.T) {
	o := rapid.SampledFrom(owners).Draw(t, "owner")
	m.disabled[o] = !m.disabled[o]
	a, err := m.root.Account(background, o)
	ok(t, err)
	a.Disabled = m.disabled[o]
	_, err = m.root.SetAccount(background, a)
	ok(t, err)
}

func (m *model) wait(t *rapid.T) {
	m.now = m.now.Add(time.Duration(cmp.Or(
		rapid.SampledFrom([]int{0, 1, 29, 30, 600, 3600, 86400}).Draw(t, "often"),
		rapid.IntRange(1, 100).Draw(t, "seconds"),
	)) * time.Second)
}

func (m *model) maintain(t *rapid.T) {
	for more := true; more; {
		var err error
		more, err = m.local.Maintain(background)
		ok(t, err)
	}
	before := m.second().Add(-m.retention)
	for _, k := range m.tokens {
		end := k.revoked
		if end.IsZero() {
			end = k.expires
		}
		if !end.IsZero() && end.Before(before) {
			k.deleted = true
		}
	}
}

func (m *model) rotateKeys(t *rapid.T) {
	if rapid.Bool().Draw(t, "of the file") {
		_, err := m.root.RotateKeyFile(background)
		ok(t, err)
		m.fileKey++
		return
	}
	_, err := m.root.RotateSigning(background, token.EdDSA)
	ok(t, err)
}

// check compares everything that can be asked with the model.
func (m *model) check(t *rapid.T) {
	for n, s := range m.secrets {
		want := m.verdict(n)
		id, err := m.root.Verify(background, authority.Presented{Credential: s.text})
		if (want == "") != (err == nil) || err != nil && !errors.Is(err, token.ErrRefused) || err == nil && (id.Owner != s.of.owner || id.ID != s.of.id) {
			t.Fatalf("secret %d of %+v: %+v, %v, want %q", n, *s.of, id, err, want)
		}
		e, err := m.root.Explain(background, s.text)
		// A retired signing key may be gone before the last word on its tokens.
		if err != nil || e.Reason != want && (s.expires.IsZero() || want == "") {
			t.Fatalf("secret %d of %+v: explained with %q, %v, want %q", n, *s.of, e.Reason, err, want)
		}
	}
	m.checkList(t)
	rep, err := m.root.Check(background, true)
	if err != nil || len(rep.Problems) > 0 {
		t.Fatalf("the store is not whole: %q, %v", rep.Problems, err)
	}
}

func (m *model) checkList(t *rapid.T) {
	line := func(id token.ID, s token.Status, revision uint64, used, expires time.Time) string {
		return fmt.Sprint(id, " ", s, " ", revision, " used ", used, " expires ", expires)
	}
	var want, got []string
	for _, k := range m.tokens {
		if !k.deleted {
			want = append(want, line(k.id, k.status(m.now), k.revision, k.lastUse, k.expires))
		}
	}
	for k, err := range m.root.List(background, token.Selector{Ended: true}) {
		ok(t, err)
		got = append(got, line(k.ID, k.Status, k.Revision, k.LastUsedAt, k.ExpiresAt))
	}
	slices.Sort(want) // within a second ids are random
	if !slices.Equal(got, want) {
		t.Fatalf("List gives\n%q, want\n%q", got, want)
	}
}

// Whatever is done in whatever order, at whatever time: every secret that was
// ever shown is accepted or refused as the model says.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"Generate": m.generate, "Generate2": m.generate, "Rotate": m.rotate, "TakeBack": m.takeBack, "End": m.end,
			"Use": m.use, "Exchange": m.exchange, "Account": m.account, "Wait": m.wait, "Maintain": m.maintain, "Keys": m.rotateKeys,
			"": m.check,
		})
	})
}
