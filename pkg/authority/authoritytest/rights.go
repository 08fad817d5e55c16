package authoritytest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var rights = []rule{
	{"Tokens are for their owner, a service account's steward and administrators", tokenRights},
	{"Accounts, connections, services, policy, keys and log are for administrators, reading them for auditors", otherRights},
	{"Everybody may read connections, services, the policy and the public keys", publicRights},
	{"Having a secret is the right to end it", revokeSecretRights},
	{"The caller is who they are, with the roles that they have now", whoAmI},
}

// callers are all who may ask, by a letter.
func (w *world) callers() map[rune]authority.Service {
	w.addAccount(token.Account{Owner: local("dora"), Roles: []token.Role{token.Admin}})
	dora := w.as("dora")
	w.disable("dora")
	return map[rune]authority.Service{
		'R': w.root, 'A': w.admin, 'U': w.auditor, 'a': w.alice, 'b': w.bob,
		'r': w.narrowed("alice", "reader"), // a credential of alice's with one of her roles
		'n': w.narrowed("admin", "reader"), // an administrator's, without what makes one
		'd': dora,                          // an administrator whose account is disabled
		's': w.stranger(),
	}
}

// a right is something that may be done, and by whom.
type right struct {
	what    string
	allowed string // letters of callers
	prepare func(w *world, name string)
	do      func(w *world, s authority.Service, t authority.Issued, name string) error
}

// check has every caller try, each on a token of their own making by root and
// under a name of their own.
func (r right) check(w *world, callers map[rune]authority.Service, owner string) {
	for letter, s := range callers {
		name := fmt.Sprintf("x%d", time.Duration(w.nanos.Add(1)))
		t := w.generate(w.root, owned(refresh("reader"), owner))
		if r.prepare != nil {
			r.prepare(w, name)
		}
		before := w.get(t.Token.ID)
		err := r.do(w, s, t, name)
		switch {
		case strings.ContainsRune(r.allowed, letter):
			if err != nil {
				w.Errorf("caller %c may not %s: %v", letter, r.what, err)
			}
		case err == nil:
			w.Errorf("caller %c may %s", letter, r.what)
		default:
			w.fails(err, token.ErrRefused)
			if strings.Contains(err.Error(), t.Token.ID.String()) && strings.Contains(err.Error(), owner) {
				w.Errorf("caller %c may not %s, but is told whose it is: %v", letter, r.what, err)
			}
			if after := w.get(t.Token.ID); !cmp.Equal(before, after) {
				w.Errorf("caller %c may not %s, but the token has changed", letter, r.what)
			}
		}
	}
}

func tokenRights(w *world) {
	callers := w.callers()
	tokens := []right{
		{what: "generate", do: func(_ *world, s authority.Service, t authority.Issued, name string) error {
			_, err := s.Generate(background, token.Spec{Kind: token.Refresh, Name: name, Owner: t.Token.Owner, Roles: []token.Role{"reader"}})
			return err
		}},
		{what: "get", do: func(_ *world, s authority.Service, t authority.Issued, _ string) error {
			_, err := s.Get(background, t.Token.ID)
			return err
		}},
		{what: "list", do: func(w *world, s authority.Service, t authority.Issued, _ string) error {
			return last(w, s.List(background, token.Selector{Owner: t.Token.Owner}))
		}},
		{what: "rotate", do: func(_ *world, s authority.Service, t authority.Issued, _ string) error {
			_, err := s.Rotate(background, ref(t), authority.Rotation{})
			return err
		}},
		{what: "take back", do: func(_ *world, s authority.Service, t authority.Issued, _ string) error {
			return s.TakeBack(background, ref(t))
		}},
		{what: "revoke", do: func(_ *world, s authority.Service, t authority.Issued, _ string) error {
			return s.Revoke(background, refs(t), "")
		}},
		{what: "suspend", do: func(_ *world, s authority.Service, t authority.Issued, _ string) error {
			return s.Suspend(background, refs(t), time.Time{})
		}},
		{what: "resume", do: func(_ *world, s authority.Service, t authority.Issued, _ string) error {
			return s.Resume(background, refs(t))
		}},
		{what: "delete", do: func(_ *world, s authority.Service, t authority.Issued, _ string) error {
			return s.Delete(background, refs(t))
		}},
	}
	for owner, may := range map[string]string{
		"alice": "RAar",
		"bob":   "RAb",
		"bot":   "RAar", // alice is its steward
		"admin": "RAn",
	} {
		for _, r := range tokens {
			if r.allowed = may; r.what == "get" || r.what == "list" {
				r.allowed += "U"
			}
			r.what += " a token of " + owner
			r.check(w, callers, owner)
		}
	}
}

func otherRights(w *world) {
	callers := w.callers()
	fail := func(_ any, err error) error { return err }
	// Whoever may not change one is told so, and not that they may not see it.
	change := func(_ any, err error) error {
		if errors.Is(err, token.ErrRefused) && strings.Contains(err.Error(), "may not see") {
			return fmt.Errorf("the refusal to change is: %v", err)
		}
		return err
	}
	account := func(w *world, name string) { w.addAccount(token.Account{Owner: local(name)}) }
	connection := func(w *world, name string) {
		_, err := w.root.AddConnection(background, token.NewConnection(name))
		w.must(err)
	}
	service := func(w *world, name string) { w.addService(name, token.Strong) }
	for _, r := range []right{
		{"list the tokens of all", "RAU", nil, func(w *world, s authority.Service, _ authority.Issued, _ string) error {
			return last(w, s.List(background, token.Selector{}))
		}},
		{"explain", "RAU", nil, func(_ *world, s authority.Service, t authority.Issued, _ string) error {
			return fail(s.Explain(background, t.Secret))
		}},
		{"explain nonsense", "RAU", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.Explain(background, secret.FromText("nonsense")))
		}},

		{"see alice's account", "RAUar", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.Account(background, local("alice")))
		}},
		{"see an account that is not there", "", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			_, err := s.Account(background, local("nobody"))
			return refusedOrMissing(err)
		}},
		{"list accounts", "RAU", nil, func(w *world, s authority.Service, _ authority.Issued, _ string) error {
			return last(w, s.ListAccounts(background, "", token.Owner{}))
		}},
		{"add an account", "RA", nil, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return fail(s.AddAccount(background, token.Account{Owner: local(name)}))
		}},
		{"set an account", "RA", account, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return change(s.SetAccount(background, token.Account{Owner: local(name), Disabled: true}))
		}},
		{"delete an account", "RA", account, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return s.DeleteAccount(background, local(name))
		}},

		{"add a connection", "RA", nil, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return fail(s.AddConnection(background, token.NewConnection(name)))
		}},
		{"set a connection", "RA", connection, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return change(s.SetConnection(background, token.NewConnection(name)))
		}},
		{"renew a client secret", "RA", func(w *world, name string) {
			c := token.NewConnection(name)
			c.AuthMethod = token.AuthPost
			_, err := w.root.AddConnection(background, c)
			w.must(err)
		}, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			_, _, err := s.RenewClientSecret(background, name)
			return err
		}},
		{"delete a connection", "RA", connection, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return s.DeleteConnection(background, name)
		}},
		{"add a service", "RA", nil, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return fail(s.AddService(background, token.NewService(name)))
		}},
		{"set a service", "RA", service, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return change(s.SetService(background, token.NewService(name)))
		}},
		{"delete a service", "RA", service, func(_ *world, s authority.Service, _ authority.Issued, name string) error {
			return s.DeleteService(background, name)
		}},
		{"set the policy", "RA", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.SetPolicy(background, map[string]string{"retention": "401d"}))
		}},

		{"list keys", "RAU", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.ListKeys(background))
		}},
		{"rotate signing keys", "RA", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.RotateSigning(background, token.EdDSA))
		}},
		{"rotate the key file", "RA", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.RotateKeyFile(background))
		}},
		{"read the log", "RAU", nil, func(w *world, s authority.Service, _ authority.Issued, _ string) error {
			return last(w, s.ListAudit(background, audit.Filter{}))
		}},
		{"verify the log", "RAU", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.VerifyAudit(background))
		}},
		{"count", "RAU", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.Stats(background))
		}},
		{"check the store", "RAU", nil, func(_ *world, s authority.Service, _ authority.Issued, _ string) error {
			return fail(s.Check(background, false))
		}},
	} {
		r.check(w, callers, "alice")
	}
}

// refusedOrMissing makes one error of two: those who may see accounts are told
// that there is none, all others that they may not.
func refusedOrMissing(err error) error {
	if err == nil {
		return nil
	}
	return token.Errorf(token.ErrRefused, "%v", err)
}

func publicRights(w *world) {
	w.addService("imap", token.Strong)
	for _, s := range []authority.Service{w.root, w.admin, w.auditor, w.alice, w.bob, w.narrowed("alice", "reader")} {
		conn, err := s.Connection(background, token.DefaultConnection)
		if conn.Name != token.DefaultConnection || err != nil {
			w.Errorf("Connection gives %+v, %v", conn, err)
		}
		w.must(last(w, s.ListConnections(background)))
		svc, err := s.Service(background, "imap")
		if svc.Name != "imap" || err != nil {
			w.Errorf("Service gives %+v, %v", svc, err)
		}
		w.must(last(w, s.ListServices(background)))
		p, err := s.Policy(background)
		if p.RefreshTokens != token.Everyone || err != nil {
			w.Errorf("Policy gives %+v, %v", p, err)
		}
		set, err := s.JWKS(background)
		if !strings.Contains(string(set), `"keys"`) || err != nil {
			w.Errorf("JWKS gives %s, %v", set, err)
		}
	}
}

func revokeSecretRights(w *world) {
	for _, s := range []authority.Service{w.root, w.admin, w.auditor, w.alice, w.bob, w.narrowed("alice", "reader")} {
		t := w.generate(w.root, owned(refresh(), "bot"))
		got, err := s.RevokeSecret(background, t.Secret, "found in a log")
		w.must(err)
		if got.ID != t.Token.ID || got.Status != token.Revoked {
			w.Errorf("RevokeSecret gives %+v", got)
		}
		w.refuses(t.Secret, authority.TokenRevoked)
	}
}

func whoAmI(w *world) {
	for name, c := range map[string]struct {
		s     authority.Service
		roles []token.Role
	}{
		"root": {w.root, []token.Role{token.Admin}}, "admin": {w.admin, []token.Role{token.Admin}},
		"auditor": {w.auditor, []token.Role{token.Auditor}}, "alice": {w.alice, []token.Role{"reader", "writer"}},
	} {
		got, err := c.s.WhoAmI(background)
		w.must(err)
		w.equal(name, [2]any{got.Owner, got.Roles}, [2]any{local(name), c.roles})
	}
	got, err := w.narrowed("alice", "writer", token.Admin).WhoAmI(background)
	w.must(err)
	w.equal("alice, narrowed to a role that she has and one that she lacks", got.Roles, []token.Role{"writer"})
	w.setAccount("alice", func(a *token.Account) { a.Roles = []token.Role{"reader"} })
	got, err = w.alice.WhoAmI(background)
	w.must(err)
	w.equal("alice with fewer roles", got.Roles, []token.Role{"reader"})
}
