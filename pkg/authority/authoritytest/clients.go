package authoritytest

import (
	"errors"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var clients = []rule{
	{"A client secret is shown when it is made and never again", clientSecret},
	{"Whoever has a refresh token of a confidential client needs its secret, too", confidentialExchange},
	{"A client that needs a secret and has none yet is refused", secretlessClient},
	{"A new secret takes the place of the old one at once", renewsSecret},
	{"A secret goes with the method none, and stays with all other changes", keepsSecret},
	{"A refused client uses nothing up", refusedClientRotatesNothing},
	{"A client secret survives a new key in the key file", clientSecretRekeyed},
}

// confidential makes a connection whose clients have a secret, and a refresh
// token of it.
func (w *world) confidential(name string, change ...func(*token.Connection)) (secret.Secret, authority.Issued) {
	w.Helper()
	c := token.NewConnection(name)
	c.AuthMethod = token.AuthBasic
	for _, f := range change {
		f(&c)
	}
	_, err := w.root.AddConnection(background, c)
	w.must(err)
	plain := w.renewSecret(name)
	return plain, w.generate(w.alice, token.Spec{Kind: token.Refresh, Connection: name, Roles: []token.Role{"reader"}})
}

func (w *world) renewSecret(name string) secret.Secret {
	w.Helper()
	_, plain, err := w.root.RenewClientSecret(background, name)
	w.must(err)
	return plain
}

// redeemAs shows a refresh token as the client of a name, which may be empty.
func (w *world) redeemAs(client string, s, plain secret.Secret) (authority.AccessToken, error) {
	return w.stranger().Exchange(background, authority.Exchange{RefreshToken: s, ClientID: client, ClientSecret: plain})
}

// invalidClient sees to it that a client is refused, in the same words for every
// reason.
func (w *world) invalidClient(what string, err error) {
	w.Helper()
	w.fails(err, token.ErrRefused)
	if !errors.Is(err, authority.ErrInvalidClient) || err.Error() != "the client is not accepted: its secret is wrong, missing or not wanted" {
		w.Errorf("%s: %v", what, err)
	}
}

func clientSecret(w *world) {
	c := token.NewConnection("crm")
	c.AuthMethod, c.SecretVerifier, c.SecretSince = token.AuthPost, secret.Verifier("mine"), w.now()
	c, err := w.root.AddConnection(background, c)
	w.must(err)
	if !c.SecretSince.IsZero() || c.SecretVerifier != nil || c.AuthMethod != token.AuthPost {
		w.Errorf("a new connection is %+v", c)
	}
	w.wait(time.Hour)
	got, plain, err := w.admin.RenewClientSecret(background, "crm")
	w.must(err)
	if text, err := secret.Parse(plain.Reveal()); err != nil || text.Form != secret.ClientSecret {
		w.Errorf("the secret has the form %s: %v", text.Form, err)
	}
	c.SecretSince, c.Revision = w.second(), c.Revision+1
	w.equal("what RenewClientSecret gives", got, c)
	kept, err := w.alice.Connection(background, "crm")
	w.must(err)
	w.equal("what is shown", kept, c)
	for shown, err := range w.alice.ListConnections(background) {
		w.must(err)
		if shown.SecretVerifier != nil || (shown.Name == "crm") != !shown.SecretSince.IsZero() {
			w.Errorf("in the list it is %+v", shown)
		}
	}
	c.SecretVerifier = secret.Verifier("mine")
	set, err := w.root.SetConnection(background, c)
	w.must(err)
	if set.SecretVerifier != nil || !set.SecretSince.Equal(c.SecretSince) {
		w.Errorf("after a change it is %+v", set)
	}
	r := w.generate(w.alice, token.Spec{Kind: token.Refresh, Connection: "crm"})
	_, err = w.redeemAs("crm", r.Secret, plain)
	w.must(err)
	_, _, err = w.root.RenewClientSecret(background, "default")
	w.fails(err, token.ErrConflict) // its clients are public
	for _, name := range []string{"nobody", "", "a b"} {
		_, _, err = w.root.RenewClientSecret(background, name)
		w.fails(err, token.ErrNotFound)
	}
}

func confidentialExchange(w *world) {
	plain, r := w.confidential("crm")
	other, _ := w.confidential("erp")
	public := w.generate(w.alice, refresh("reader"))
	for _, client := range []string{"crm", ""} {
		a, err := w.redeemAs(client, r.Secret, plain)
		w.must(err)
		w.accepts(a.Text)
	}
	for what, c := range map[string]struct {
		client string
		token  secret.Secret
		plain  secret.Secret
	}{
		"no secret":                     {"crm", r.Secret, secret.Secret{}},
		"no secret and no name":         {"", r.Secret, secret.Secret{}},
		"another's secret":              {"crm", r.Secret, other},
		"another's secret, no name":     {"", r.Secret, other},
		"a secret that nobody has":      {"crm", r.Secret, secret.New(secret.ClientSecret, secret.NewID(w.now()))},
		"a word":                        {"crm", r.Secret, secret.FromText("secret")},
		"another text of the secret":    {"crm", r.Secret, disguised(plain, "tkp_")},
		"the refresh token":             {"crm", r.Secret, r.Secret},
		"an unknown client":             {"nobody", r.Secret, plain},
		"an unknown client, no secret":  {"nobody", r.Secret, secret.Secret{}},
		"a public client with a secret": {"default", public.Secret, plain},
		"a secret that is not wanted":   {"", public.Secret, plain},
		"before the token is looked at": {"crm", secret.FromText("garbage"), other},
		"before a token that is gone":   {"crm", secret.New(secret.RefreshToken, secret.NewID(w.now())), secret.Secret{}},
	} {
		w.unchanged(what, func() {
			_, err := w.redeemAs(c.client, c.token, c.plain)
			w.invalidClient(what, err)
		})
	}
	// Whoever has not got the token learns nothing of its client.
	for what, s := range map[string]secret.Secret{"garbage": secret.FromText("garbage"), "a wrong secret": secret.New(secret.RefreshToken, r.Token.ID)} {
		if _, err := w.redeemAs("", s, secret.Secret{}); !errors.Is(err, token.ErrRefused) || errors.Is(err, authority.ErrInvalidClient) {
			w.Errorf("%s: %v", what, err)
		}
	}
	// A client that is right gets no token of another.
	if _, err := w.redeemAs("erp", r.Secret, other); !errors.Is(err, token.ErrRefused) || errors.Is(err, authority.ErrInvalidClient) {
		w.Errorf("the token of another client: %v", err)
	}
	if _, err := w.redeemAs("default", r.Secret, secret.Secret{}); !errors.Is(err, token.ErrRefused) {
		w.Errorf("the token of a confidential client, by a public one: %v", err)
	}
	// Having a token is the right to end it, and needs no client.
	_, err := w.alice.RevokeSecret(background, r.Secret, "")
	w.must(err)
}

func secretlessClient(w *world) {
	c := token.NewConnection("crm")
	c.AuthMethod = token.AuthPost
	_, err := w.root.AddConnection(background, c)
	w.must(err)
	r := w.generate(w.alice, token.Spec{Kind: token.Refresh, Connection: "crm"})
	for _, client := range []string{"crm", ""} {
		for _, plain := range []secret.Secret{{}, secret.FromText(""), secret.New(secret.ClientSecret, secret.NewID(w.now()))} {
			_, err := w.redeemAs(client, r.Secret, plain)
			w.invalidClient("before the first secret", err)
		}
	}
	_, err = w.redeemAs("crm", r.Secret, w.renewSecret("crm"))
	w.must(err)
}

func renewsSecret(w *world) {
	old, r := w.confidential("crm")
	w.wait(time.Hour)
	fresh := w.renewSecret("crm")
	_, err := w.redeemAs("crm", r.Secret, old)
	w.invalidClient("the old secret", err)
	_, err = w.redeemAs("crm", r.Secret, fresh)
	w.must(err)
	// One of the same name that is made later has no secret of this one.
	w.must(w.root.Revoke(background, refs(r), ""))
	w.must(w.root.DeleteConnection(background, "crm"))
	c := token.NewConnection("crm")
	c.AuthMethod = token.AuthBasic
	c, err = w.root.AddConnection(background, c)
	w.must(err)
	if !c.SecretSince.IsZero() {
		w.Errorf("a new connection has a secret: %+v", c)
	}
	r = w.generate(w.alice, token.Spec{Kind: token.Refresh, Connection: "crm"})
	_, err = w.redeemAs("crm", r.Secret, fresh)
	w.invalidClient("the secret of a connection that was deleted", err)
}

func keepsSecret(w *world) {
	plain, r := w.confidential("crm")
	set := func(change func(*token.Connection)) token.Connection {
		w.Helper()
		c, err := w.root.Connection(background, "crm")
		w.must(err)
		change(&c)
		c, err = w.root.SetConnection(background, c)
		w.must(err)
		return c
	}
	for what, change := range map[string]func(*token.Connection){
		"another method":   func(c *token.Connection) { c.AuthMethod = token.AuthPost },
		"no method said":   func(c *token.Connection) { c.AuthMethod = "" },
		"another lifetime": func(c *token.Connection) { c.AccessLifetime = time.Minute },
		"a false time":     func(c *token.Connection) { c.SecretSince = time.Time{} },
	} {
		if c := set(change); !c.Confidential() || c.SecretSince.IsZero() {
			w.Errorf("%s: %+v", what, c)
		}
		_, err := w.redeemAs("crm", r.Secret, plain)
		w.must(err)
		_, err = w.redeemAs("crm", r.Secret, secret.Secret{})
		w.invalidClient(what, err)
	}
	if c := set(func(c *token.Connection) { c.AuthMethod = token.AuthNone }); !c.SecretSince.IsZero() {
		w.Errorf("a public one has a secret: %+v", c)
	}
	_, err := w.redeemAs("crm", r.Secret, secret.Secret{})
	w.must(err)
	_, err = w.redeemAs("crm", r.Secret, plain)
	w.invalidClient("the secret of a client that is public now", err)
	set(func(c *token.Connection) { c.AuthMethod = token.AuthBasic })
	_, err = w.redeemAs("crm", r.Secret, plain)
	w.invalidClient("the secret that was dropped", err)
	log := w.audit(audit.Filter{Action: "connection."})
	w.equal("the last change in the log", log[len(log)-1].Action, "connection.set")
}

func refusedClientRotatesNothing(w *world) {
	plain, r := w.confidential("crm", func(c *token.Connection) { c.Rotate, c.RetryWindow = true, 0 })
	_, err := w.redeemAs("", r.Secret, secret.Secret{})
	w.invalidClient("no secret", err)
	_, err = w.redeemAs("crm", r.Secret, secret.FromText("x"))
	w.invalidClient("a wrong secret", err)
	got, err := w.redeemAs("", r.Secret, plain)
	w.must(err)
	if got.RefreshToken.IsZero() {
		w.Fatal("there is no new refresh token")
	}
	// An old one in the hands of who is not the client ends nothing.
	_, err = w.redeemAs("crm", r.Secret, secret.Secret{})
	w.invalidClient("an old one", err)
	_, err = w.redeemAs("crm", got.RefreshToken, plain)
	w.must(err)
}

func clientSecretRekeyed(w *world) {
	plain, r := w.confidential("crm")
	_, err := w.root.RotateKeyFile(background)
	w.must(err)
	for range 3 {
		_, err = w.redeemAs("crm", r.Secret, plain)
		w.must(err)
	}
	_, err = w.redeemAs("crm", r.Secret, secret.New(secret.ClientSecret, secret.NewID(w.now())))
	w.invalidClient("a wrong one", err)
	c, err := w.root.Connection(background, "crm")
	w.must(err)
	w.equal("the revision", c.Revision, uint64(2))
}
