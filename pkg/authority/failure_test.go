package authority_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

func lastAudit(s authority.Service) error { return last(s.ListAudit(background, audit.Filter{})) }

func TestStoreThatCannotBeRead(t *testing.T) {
	s := memory.New()
	root := over(s, keyfile.New(start))
	i := generate(t, root, token.Spec{Kind: token.Refresh})
	must(t, s.Close())
	cannotTell(t, root, i)
}

func TestContextThatHasEnded(t *testing.T) {
	root := over(memory.New(), keyfile.New(start))
	i := generate(t, root, token.Spec{Kind: token.Refresh})
	was := background
	defer func() { background = was }()
	ctx, cancel := context.WithCancel(was)
	cancel()
	background = ctx
	cannotTell(t, root, i)
}

// flaky is a store whose Updates end as they are told to.
type flaky struct {
	store.Store
	fail func(error) error
}

func (f *flaky) Update(ctx context.Context, fn func(store.Writer) error) error {
	return f.fail(f.Store.Update(ctx, fn))
}

// After an unknown outcome nobody gets a secret, and is told what it is.
func TestOutcomeUnknown(t *testing.T) {
	s := &flaky{memory.New(), func(err error) error { return err }}
	root := over(s, keyfile.New(start))
	i := generate(t, root, token.Spec{Kind: token.Refresh})
	s.fail = func(error) error { return fmt.Errorf("fsync: %w", store.ErrOutcomeUnknown) }
	got, err := root.Generate(background, token.Spec{Kind: token.User})
	if !errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, token.ErrCannotTell) || !got.Secret.IsZero() {
		t.Errorf("Generate gives %+v, %v", got, err)
	}
	got, err = root.Rotate(background, i.Token.Ref(), authority.Rotation{})
	if !errors.Is(err, store.ErrOutcomeUnknown) || !got.Secret.IsZero() {
		t.Errorf("Rotate gives %+v, %v", got, err)
	}
}

// torn is a store whose Updates do all and end with an error, made or not.
type torn struct {
	store.Store
	made bool
	err  error
}

func (s *torn) Update(ctx context.Context, fn func(store.Writer) error) error {
	switch {
	case s.err == nil:
		return s.Store.Update(ctx, fn)
	case s.made:
		if err := s.Store.Update(ctx, fn); err != nil {
			return err
		}
		return s.err
	}
	return s.Store.Update(ctx, func(w store.Writer) error {
		if err := fn(w); err != nil {
			return err
		}
		return s.err
	})
}

// Whatever becomes of an exchange that rotates, the old refresh token gets an
// answer afterwards, and that is the family's.
func TestRotationThatFails(t *testing.T) {
	full := token.Errorf(token.ErrCannotTell, "the disk is full")
	unknown := fmt.Errorf("fsync: %w", store.ErrOutcomeUnknown)
	for what, c := range map[string]torn{
		"it is not made":                   {made: false, err: full},
		"it is not made, and nobody knows": {made: false, err: unknown},
		"it is made, and nobody knows":     {made: true, err: unknown},
	} {
		s := &torn{Store: memory.New(), made: c.made}
		root := over(s, keyfile.New(start))
		i := generate(t, root, token.Spec{Kind: token.Refresh, Connection: rotating(t, root)})
		redeem := func(text secret.Secret) (authority.AccessToken, error) {
			return root.Exchange(background, authority.Exchange{RefreshToken: text})
		}
		s.err = c.err
		got, err := redeem(i.Secret)
		if !errors.Is(err, c.err) || !got.Text.IsZero() || !got.RefreshToken.IsZero() {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
		s.err = nil
		if good := verify(root, i.Secret) == nil; good == c.made {
			t.Errorf("%s: the old one is good: %v", what, good)
		}
		second, err := redeem(i.Secret)
		must(t, err)
		must(t, verify(root, second.RefreshToken))
		again, err := redeem(i.Secret)
		if err != nil || !again.RefreshToken.Equal(second.RefreshToken) {
			t.Errorf("%s: the retry gets another: %v", what, err)
		}
		rotations := 0
		for e, err := range root.ListAudit(background, audit.Filter{}) {
			must(t, err)
			if e.Action == "token.rotate" {
				rotations++
			}
		}
		if rotations != 1 {
			t.Errorf("%s: it was rotated %d times", what, rotations)
		}
	}
}

// A last use that cannot be written does not change the answer.
func TestUseThatCannotBeNoted(t *testing.T) {
	s := &flaky{memory.New(), func(err error) error { return err }}
	var warned []error
	local := authority.New(authority.Options{Store: s, Keys: keyfile.New(start), Warn: func(err error) { warned = append(warned, err) }})
	i := generate(t, local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, FileOwner: true}), token.Spec{Kind: token.User})
	s.fail = func(error) error { return token.Errorf(token.ErrCannotTell, "the disk is full") }
	if _, err := local.Verify(background, authority.Presented{Credential: i.Secret, CountsAsUse: true}); err != nil {
		t.Error(err)
	}
	if len(warned) != 1 || !errors.Is(warned[0], token.ErrCannotTell) || secret.Contains(warned[0].Error()) {
		t.Errorf("the warnings are %v", warned)
	}
}

// Whatever rots, nobody is let in or turned away because of it.
func TestDamagedRecords(t *testing.T) {
	alice := token.Owner{Realm: "local", Name: "alice"}
	for what, c := range map[string]struct {
		key func(token.ID) store.Key
		ask func(root, alice authority.Service, i authority.Issued, access secret.Secret) error
	}{
		"the token": {
			func(id token.ID) store.Key { return store.NewKey('t').ID(id) },
			func(root, _ authority.Service, i authority.Issued, _ secret.Secret) error {
				return verify(root, i.Secret)
			},
		},
		"the token of an access token": {
			func(id token.ID) store.Key { return store.NewKey('t').ID(id) },
			func(root, _ authority.Service, _ authority.Issued, a secret.Secret) error { return verify(root, a) },
		},
		"its last use": {
			func(id token.ID) store.Key { return store.NewKey('u').ID(id) },
			func(root, _ authority.Service, i authority.Issued, _ secret.Secret) error {
				return verify(root, i.Secret)
			},
		},
		"the owner's account": {
			func(token.ID) store.Key { return store.NewKey('c').Text("account").Owner(alice) },
			func(root, _ authority.Service, i authority.Issued, _ secret.Secret) error {
				return verify(root, i.Secret)
			},
		},
		"the owner's account, of an access token": {
			func(token.ID) store.Key { return store.NewKey('c').Text("account").Owner(alice) },
			func(root, _ authority.Service, _ authority.Issued, a secret.Secret) error { return verify(root, a) },
		},
		"the caller's account": {
			func(token.ID) store.Key { return store.NewKey('c').Text("account").Owner(alice) },
			func(_, alice authority.Service, i authority.Issued, _ secret.Secret) error {
				return alice.Revoke(background, []token.Ref{{ID: i.Token.ID}}, "")
			},
		},
		"the account of a service account's token": {
			func(token.ID) store.Key {
				return store.NewKey('c').Text("account").Owner(token.Owner{Realm: "local", Name: "bot"})
			},
			func(_, alice authority.Service, _ authority.Issued, _ secret.Secret) error {
				return last(alice.List(background, token.Selector{Owner: token.Owner{Realm: "local", Name: "bot"}}))
			},
		},
		"the policy": {
			func(token.ID) store.Key { return store.NewKey('c').Text("policy") },
			func(root, _ authority.Service, _ authority.Issued, a secret.Secret) error { return verify(root, a) },
		},
		"the connection": {
			func(token.ID) store.Key { return store.NewKey('c').Text("connection").Text("default") },
			func(root, _ authority.Service, i authority.Issued, _ secret.Secret) error {
				_, err := root.Exchange(background, authority.Exchange{RefreshToken: i.Secret})
				return err
			},
		},
		"the slot": {
			func(token.ID) store.Key { return store.NewKey('n').Owner(alice).Text("refresh").Text("ci") },
			func(_, alice authority.Service, _ authority.Issued, _ secret.Secret) error {
				_, err := alice.Generate(background, token.Spec{Kind: token.Refresh, Name: "ci"})
				return err
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := memory.New()
			local := authority.New(authority.Options{Store: s, Keys: keyfile.New(start)})
			root := local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, FileOwner: true})
			_, err := root.SetPolicy(background, map[string]string{"refresh_tokens": "everyone"})
			must(t, err)
			for _, a := range []token.Account{{Owner: alice}, {Owner: token.Owner{Realm: "local", Name: "bot"}, Kind: token.ServiceAccount, Steward: alice}} {
				_, err := root.AddAccount(background, a)
				must(t, err)
			}
			as := local.As(authority.Caller{Owner: alice})
			i := generate(t, as, token.Spec{Kind: token.Refresh, Name: "ci"})
			access, err := root.Exchange(background, authority.Exchange{RefreshToken: i.Secret})
			must(t, err)
			key := c.key(i.Token.ID)
			must(t, s.Update(background, func(w store.Writer) error {
				value, err := w.Get(key)
				if err != nil {
					return err
				}
				return w.Put(key, append([]byte{value[0] ^ 1}, value[1:]...))
			}))
			err = c.ask(root, as, i, access.Text)
			if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) {
				t.Errorf("the answer is %v", err)
			}
			if rep, err := root.Check(background, true); err != nil || len(rep.Problems) == 0 {
				t.Errorf("a deep check finds %q, %v", rep.Problems, err)
			}
		})
	}
}

func verify(s authority.Verifier, text secret.Secret) error {
	_, err := s.Verify(background, authority.Presented{Credential: text})
	return err
}

// What exchanges leave of a token that they rotate is looked at as the token is.
func TestCheckOfFamily(t *testing.T) {
	type family = token.Family
	for what, damage := range map[string]func(*token.Record, *family){
		"":                            func(*token.Record, *family) {},
		"of a user token":             func(r *token.Record, _ *family) { r.Kind, r.Name = token.User, "" },
		"too many":                    func(_ *token.Record, f *family) { f.Retries = slices.Repeat(f.Retries, 65) },
		"as many as are kept":         func(_ *token.Record, f *family) { f.Retries = slices.Repeat(f.Retries, 64) },
		"no verifier":                 func(_ *token.Record, f *family) { f.Retries[0].Verifier = nil },
		"a verifier that is none":     func(_ *token.Record, f *family) { f.Retries[0].Verifier = secret.Verifier("x") },
		"a key that is not there":     func(_ *token.Record, f *family) { f.Retries[0].Verifier[1] = 9 },
		"no end":                      func(_ *token.Record, f *family) { f.Retries[0].Until = time.Time{} },
		"no successor":                func(_ *token.Record, f *family) { f.Retries[0].Sealed = nil },
		"a successor that is changed": func(_ *token.Record, f *family) { f.Retries[0].Sealed[20] ^= 1 },
		"another one's successor":     func(r *token.Record, _ *family) { r.ID[9] ^= 1 },
	} {
		s := memory.New()
		root := over(s, keyfile.New(start))
		i := generate(t, root, token.Spec{Kind: token.Refresh, Connection: rotating(t, root)})
		_, err := root.Exchange(background, authority.Exchange{RefreshToken: i.Secret})
		must(t, err)
		must(t, s.Update(background, func(w store.Writer) error {
			rec, err := store.GetToken(w, i.Token.ID)
			if err == nil {
				err = store.DeleteToken(w, &rec)
			}
			if err != nil {
				return err
			}
			damage(&rec, rec.Family)
			return store.PutToken(w, nil, &rec)
		}))
		rep, err := root.Check(background, true)
		if good := what == "" || what == "as many as are kept"; err != nil || len(rep.Problems) == 0 != good {
			t.Errorf("%s: %q, %v", what, rep.Problems, err)
		}
	}
}

// rotating makes a connection that rotates, and says its name.
func rotating(t testing.TB, s authority.Service) string {
	t.Helper()
	c := token.NewConnection("rotating")
	c.Rotate = true
	_, err := s.AddConnection(background, c)
	must(t, err)
	return c.Name
}

// A store that is damaged all over gives a report that can be read.
func TestCheckIsBounded(t *testing.T) {
	s := memory.New()
	root := over(s, keyfile.New(start))
	generate(t, root, token.Spec{Kind: token.User})
	must(t, s.Update(background, func(w store.Writer) error {
		for i := range 300 {
			if err := w.Put(store.NewKey('t').ID(token.ID{byte(i), byte(i >> 8)}), []byte("garbage")); err != nil {
				return err
			}
		}
		return nil
	}))
	rep, err := root.Check(background, false)
	if err != nil || len(rep.Problems) != 101 || rep.Problems[100] != "and more" || rep.Tokens != 1 {
		t.Errorf("%d problems of %d tokens, %v", len(rep.Problems), rep.Tokens, err)
	}
}

// A caller without an account has no rights, and one without an owner none
// either.
func TestCallersWithoutAccount(t *testing.T) {
	local := authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(start)})
	i := generate(t, local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, FileOwner: true}), token.Spec{Kind: token.User})
	public := map[string]bool{
		"Verify": true, "Verify, counting": true, "Exchange": true, "RevokeSecret": true,
		"Connection": true, "ListConnections": true, "Policy": true, "JWKS": true, "WhoAmI": true,
	}
	for _, c := range []authority.Caller{{}, {Owner: token.Owner{Realm: "local", Name: "nobody"}}, {Owner: token.Owner{Realm: "corp", Name: "root"}}} {
		for what, err := range everything(local.As(c), i) {
			if !public[what] && !errors.Is(err, token.ErrRefused) {
				t.Errorf("%s by %q: %v", what, c.Owner, err)
			}
		}
	}
}

// A busy credential does not cost a write each time, whatever it is.
func TestUsesDoNotWrite(t *testing.T) {
	s, now := memory.New(), start
	local := authority.New(authority.Options{Store: s, Keys: keyfile.New(start), Now: func() time.Time { return now }})
	root := local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, FileOwner: true})
	user, refresh := generate(t, root, token.Spec{Kind: token.User}), generate(t, root, token.Spec{Kind: token.Refresh})
	access, err := root.Exchange(background, authority.Exchange{RefreshToken: refresh.Secret})
	must(t, err)
	for _, text := range []secret.Secret{user.Secret, refresh.Secret, access.Text} {
		ask := func() {
			_, err := root.Verify(background, authority.Presented{Credential: text, CountsAsUse: true, From: "192.0.2.1"})
			must(t, err)
		}
		now = now.Add(time.Minute)
		ask()
		before, _ := s.Generation()
		for range 29 {
			now = now.Add(time.Second)
			ask()
		}
		if after, _ := s.Generation(); after != before {
			t.Errorf("29 uses in 29 seconds made %d writes", after-before)
		}
	}
}

// More tokens than one transaction holds are changed in batches.
func TestManyAtOnce(t *testing.T) {
	root := over(memory.New(), keyfile.New(start))
	var refs []token.Ref
	for range 1500 {
		refs = append(refs, token.Ref{ID: generate(t, root, token.Spec{Kind: token.Refresh}).Token.ID})
	}
	for _, step := range []struct {
		do   func() error
		want token.Status
	}{
		{func() error { return root.Suspend(background, refs, time.Time{}) }, token.Suspended},
		{func() error { return root.Resume(background, refs) }, token.Active},
		{func() error { return root.Revoke(background, refs, "all") }, token.Revoked},
	} {
		must(t, step.do())
		stats, err := root.Stats(background)
		if err != nil || stats.ByStatus[string(step.want)] != len(refs) {
			t.Errorf("%s are %v, %v", step.want, stats.ByStatus, err)
		}
	}
	if rep, err := root.Check(background, true); err != nil || len(rep.Problems) > 0 || rep.Audit < 3*len(refs) {
		t.Errorf("the report is %+v, %v", rep, err)
	}
}

// Who pastes an access token ends the token that it comes from: nothing less
// can be ended.
func TestRevokeSecretOfAccessToken(t *testing.T) {
	root := over(memory.New(), keyfile.New(start))
	for _, suspended := range []bool{false, true} {
		i := generate(t, root, token.Spec{Kind: token.Refresh})
		access, err := root.Exchange(background, authority.Exchange{RefreshToken: i.Secret})
		must(t, err)
		if suspended {
			must(t, root.Suspend(background, []token.Ref{i.Token.Ref()}, time.Time{}))
		}
		got, err := root.RevokeSecret(background, access.Text, "")
		if err != nil || got.ID != i.Token.ID || got.Status != token.Revoked {
			t.Errorf("RevokeSecret gives %+v, %v", got, err)
		}
	}
}

func TestCheckForm(t *testing.T) {
	id := secret.NewID(start)
	passcode, refresh := secret.New(secret.Passcode, id), secret.New(secret.RefreshToken, id)
	for _, good := range []string{passcode.Reveal(), refresh.Reveal(), id.String() + ":" + passcode.Reveal(), "a.b.c"} {
		if err := authority.CheckForm(secret.FromText(good)); err != nil {
			t.Errorf("%.8s…: %v", good, err)
		}
	}
	for _, bad := range []string{"", "x", passcode.Reveal() + "\n", id.String(), id.String() + ":" + refresh.Reveal(), "alice:" + passcode.Reveal(), "a.b", "a.b.c.d", ":"} {
		err := authority.CheckForm(secret.FromText(bad))
		var no *authority.Refusal
		if !errors.Is(err, token.ErrMalformed) || !errors.Is(err, token.ErrRefused) || !errors.As(err, &no) || no.Reason != authority.Malformed || strings.Contains(err.Error(), "tk") {
			t.Errorf("%.8s…: %v", bad, err)
		}
	}
	if err := (&authority.Refusal{Reason: authority.WrongSecret}); !errors.Is(err, token.ErrRefused) || errors.Is(err, token.ErrMalformed) {
		t.Error("a wrong secret is malformed")
	}
}

// FuzzCredential shows any text: it is refused, and is never more than that.
func FuzzCredential(f *testing.F) {
	root := over(memory.New(), keyfile.New(start))
	user, err := root.Generate(background, token.Spec{Kind: token.User})
	if err != nil {
		f.Fatal(err)
	}
	good := map[string]bool{user.Secret.Reveal(): true, user.Token.ID.String() + ":" + user.Secret.Reveal(): true}
	for text := range good {
		f.Add(text)
	}
	for _, seed := range []string{"", ":", "..", "a.b.c", "tkp_", "eyJhbGciOiJub25lIn0.e30.", secret.New(secret.RefreshToken, user.Token.ID).Reveal()} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := verify(root, secret.FromText(text))
		if (err == nil) != good[text] || err != nil && (!errors.Is(err, token.ErrRefused) || errors.Is(err, token.ErrCannotTell) || err.Error() != "credential not accepted") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
