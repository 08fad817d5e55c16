package authoritytest

import (
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var providers = []rule{
	{"A provider is added, shown, changed and deleted", providerLife},
	{"A provider that could not be used is not taken", providerBad},
	{"Two providers have two names and two issuers", providerConflicts},
	{"Providers are an administrator's", providerRights},
	{"Who may log in at a provider is told to everybody", providerLogins},
	{"What every check finds can be asked", explainJWT},
}

func providerLife(w *world) {
	i := w.issuer("https://login.example.org")
	p := i.Provider("corp")
	p.RoleClaim, p.RoleMap, p.ClientID = "groups", []token.RoleMapping{{From: "a=b", Role: "reader"}}, "cli"
	p.Require = []token.ClaimValue{{Claim: "owner", Value: "7"}, {Claim: "owner", Value: "a=b"}}
	got, err := w.root.AddProvider(background, p)
	w.must(err)
	p.CreatedAt, p.CreatedBy, p.Revision = w.second(), local("root"), 1
	w.equal("the provider that was added", got, p)
	got, err = w.bob.Provider(background, "corp")
	w.must(err)
	w.equal("the provider that is shown", got, p)
	got.Issuer, got.Disabled, got.Leeway = "https://other.example.org", true, 0
	done := w.changes(func() {
		now, err := w.admin.SetProvider(background, got)
		w.must(err)
		got.Revision = 2
		w.equal("the provider that was changed", now, got)
	})
	w.equal("what the log says", done, []string{"provider.disable"})
	stale := got
	stale.Revision = 1
	_, err = w.admin.SetProvider(background, stale)
	w.fails(err, token.ErrConflict)
	var names []string
	for p, err := range w.bob.ListProviders(background) {
		w.must(err)
		names = append(names, p.Name)
	}
	w.equal("the list", names, []string{"corp"})
	w.must(w.admin.DeleteProvider(background, "corp"))
	_, err = w.root.Provider(background, "corp")
	w.fails(err, token.ErrNotFound)
	w.fails(w.root.DeleteProvider(background, "corp"), token.ErrNotFound)
	_, err = w.root.SetProvider(background, got)
	w.fails(err, token.ErrNotFound)
}

func providerBad(w *world) {
	i := w.issuer("https://login.example.org")
	for what, change := range map[string]func(*token.Provider){
		"no name":               func(p *token.Provider) { p.Name = "" },
		"the name local":        func(p *token.Provider) { p.Name = "local" },
		"the name Local":        func(p *token.Provider) { p.Name = "Local" },
		"no issuer":             func(p *token.Provider) { p.Issuer = "" },
		"no audience":           func(p *token.Provider) { p.Audiences = nil },
		"a symmetric algorithm": func(p *token.Provider) { p.Algorithms = []token.Algorithm{"HS256"} },
		"no signature":          func(p *token.Provider) { p.Algorithms = []token.Algorithm{"none"} },
		"six certificates": func(p *token.Provider) {
			p.Certificates = [][]byte{i.Certificate, i.Certificate, i.Certificate, i.Certificate, i.Certificate, i.Certificate}
		},
		"keys over http":      func(p *token.Provider) { p.Certificates, p.JWKSURL = nil, "http://login.example.org/keys" },
		"no claim":            func(p *token.Provider) { p.Claim = "" },
		"a leeway of an hour": func(p *token.Provider) { p.Leeway = time.Hour },
	} {
		p := i.Provider("corp")
		change(&p)
		if _, err := w.root.AddProvider(background, p); err == nil {
			w.Errorf("%s: it is taken", what)
		} else {
			w.fails(err, token.ErrUsage)
		}
	}
}

func providerConflicts(w *world) {
	i := w.issuer("https://login.example.org")
	i.add("corp", nil)
	_, err := w.root.AddProvider(background, i.Provider("corp"))
	w.fails(err, token.ErrConflict)
	_, err = w.root.AddProvider(background, i.Provider("other"))
	w.fails(err, token.ErrConflict)
	second := w.issuer("https://two.example.org").add("two", nil)
	_, err = w.root.AddProvider(background, w.issuer("https://three.example.org").Provider("CORP"))
	w.fails(err, token.ErrConflict)
	second.Issuer = i.URL
	_, err = w.root.SetProvider(background, second)
	w.fails(err, token.ErrConflict)
	_, err = w.root.AddProvider(background, w.issuer("http://127.0.0.1:8470").Provider("self"))
	w.fails(err, token.ErrConflict)
	_, err = w.root.SetPolicy(background, map[string]string{"issuer": i.URL})
	w.fails(err, token.ErrConflict)
	w.addAccount(token.Account{Owner: token.Owner{Realm: "staff", Name: "eve"}})
	_, err = w.root.AddProvider(background, w.issuer("https://three.example.org").Provider("staff"))
	w.fails(err, token.ErrConflict)
}

func providerRights(w *world) {
	i := w.issuer("https://login.example.org")
	p := i.add("corp", nil)
	for _, s := range []authority.Service{w.bob, w.auditor} {
		_, err := s.AddProvider(background, w.issuer("https://two.example.org").Provider("two"))
		w.fails(err, token.ErrRefused)
		_, err = s.SetProvider(background, p)
		w.fails(err, token.ErrRefused)
		w.fails(s.DeleteProvider(background, "corp"), token.ErrRefused)
		_, err = s.LinkIdentity(background, local("bob"), "corp", "b")
		w.fails(err, token.ErrRefused)
		_, err = s.UnlinkIdentity(background, local("bob"), "corp", "b")
		w.fails(err, token.ErrRefused)
	}
	_, err := w.bob.ExplainJWT(background, i.jwt("alice", nil))
	w.fails(err, token.ErrRefused)
	_, err = w.auditor.ExplainJWT(background, i.jwt("alice", nil))
	w.must(err)
}

func providerLogins(w *world) {
	i := w.issuer("https://login.example.org")
	i.add("corp", func(p *token.Provider) { p.ClientID, p.Audiences = "cli", []string{"a", "b"} })
	w.issuer("https://two.example.org").add("two", nil)
	w.issuer("https://off.example.org").add("off", func(p *token.Provider) { p.ClientID, p.Disabled = "cli", true })
	got, err := w.stranger().LoginProviders(background)
	w.must(err)
	w.equal("the providers to log in at", got, []token.Provider{{Name: "corp", Issuer: i.URL, ClientID: "cli", Audiences: []string{"a"}}})
}

func explainJWT(w *world) {
	i := w.corp()
	w.link("alice", "a")
	e, err := w.root.ExplainJWT(background, i.jwt("a", nil))
	w.must(err)
	if !e.Accepted || e.Owner != local("alice") || e.Provider != "corp" || len(e.Findings) < 9 {
		w.Errorf("the explanation of one that is accepted is %+v", e)
	}
	for _, f := range e.Findings {
		if !f.OK || f.Text == "" {
			w.Errorf("of one that is accepted a check finds %+v", f)
		}
	}
	e, err = w.root.ExplainJWT(background, i.jwt("a", map[string]any{"aud": "other", "nonce": "n"}))
	w.must(err)
	failed := map[string]bool{}
	for _, f := range e.Findings {
		failed[f.Check] = !f.OK
	}
	if e.Accepted || !e.Owner.IsZero() || !failed["audience"] || !failed["kind"] || failed["issuer"] {
		w.Errorf("the explanation of one for others is %+v", e)
	}
	_, err = w.root.ExplainJWT(background, w.generate(w.alice, user()).Secret)
	w.fails(err, token.ErrUsage)
}
