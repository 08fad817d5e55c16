package authoritytest

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/token"
)

var settings = []rule{
	{"A new store has a connection and the default policy", defaults},
	{"A connection is kept as it was given", addConnection},
	{"A change of a connection holds for what was seen", setConnection},
	{"A connection that makes no sense changes nothing", connectionNonsense},
	{"A connection stays while live refresh tokens belong to it", deleteConnection},
	{"The policy is set all or not at all", setPolicy},
}

func defaults(w *world) {
	conn, err := w.root.Connection(background, token.DefaultConnection)
	w.must(err)
	want := token.NewConnection("default")
	want.CreatedAt, want.Revision = w.second(), 1
	w.equal("the connection", conn, want)
	p, err := w.root.Policy(background)
	w.must(err)
	policy := token.DefaultPolicy()
	policy.RefreshTokens, policy.Revision = token.Everyone, 2 // since this suite has set it
	w.equal("the policy", p, policy)
}

func addConnection(w *world) {
	conn := token.Connection{
		Name: "crm", EntityID: "https://crm.example.org", AccessLifetime: 5*time.Minute + 400*time.Millisecond, RoleClaim: "roles",
		Roles: []token.Role{"reader", "writer"}, Algorithm: token.ES256,
		Rotate: true, Reuse: token.ReuseAlert, RetryWindow: 10*time.Second + 400*time.Millisecond,
	}
	got, err := w.root.AddConnection(background, conn)
	w.must(err)
	conn.AccessLifetime, conn.RetryWindow, conn.CreatedAt, conn.Revision = 5*time.Minute, 10*time.Second, w.second(), 1
	conn.AuthMethod = token.AuthNone // what is not said
	w.equal("what AddConnection gives", got, conn)
	kept, err := w.root.Connection(background, "crm")
	w.must(err)
	w.equal("what is kept", kept, conn)
	_, err = w.root.AddConnection(background, token.NewConnection("crm"))
	w.fails(err, token.ErrConflict)
	var names []string
	for c, err := range w.root.ListConnections(background) {
		w.must(err)
		names = append(names, c.Name)
	}
	w.equal("the list", names, []string{"crm", "default", "tokenctl"})
}

func setConnection(w *world) {
	seen, err := w.root.Connection(background, "default")
	w.must(err)
	w.wait(time.Hour)
	changed := seen
	changed.EntityID, changed.CreatedAt = "urn:x:y", w.now()
	got, err := w.root.SetConnection(background, changed)
	w.must(err)
	seen.EntityID, seen.Revision = "urn:x:y", seen.Revision+1
	w.equal("what SetConnection gives", got, seen)
	_, err = w.root.SetConnection(background, changed)
	w.fails(err, token.ErrConflict)
	changed.Revision = 0
	_, err = w.root.SetConnection(background, changed)
	w.must(err)
	for _, name := range []string{"crm", "Default"} {
		_, err = w.root.SetConnection(background, token.NewConnection(name))
		w.fails(err, token.ErrNotFound)
		_, err = w.root.Connection(background, name)
		w.fails(err, token.ErrNotFound)
		w.fails(w.root.DeleteConnection(background, name), token.ErrNotFound)
	}
}

func connectionNonsense(w *world) {
	w.unchanged("a connection that makes no sense", func() {
		for what, change := range map[string]func(*token.Connection){
			"no name":             func(c *token.Connection) { c.Name = "" },
			"name like an id":     func(c *token.Connection) { c.Name = "0123456789abcdef" },
			"no entity id":        func(c *token.Connection) { c.EntityID = "" },
			"relative entity id":  func(c *token.Connection) { c.EntityID = "api" },
			"no lifetime":         func(c *token.Connection) { c.AccessLifetime = 0 },
			"least lifetime":      func(c *token.Connection) { c.AccessLifetime = math.MinInt64 },
			"claim sub":           func(c *token.Connection) { c.RoleClaim = "sub" },
			"claim may_act":       func(c *token.Connection) { c.RoleClaim = "may_act" },
			"bad role":            func(c *token.Connection) { c.Roles = []token.Role{"two words"} },
			"algorithm none":      func(c *token.Connection) { c.Algorithm = "none" },
			"a method unheard of": func(c *token.Connection) { c.AuthMethod = "client_secret_jwt" },
			"algorithm HS256":     func(c *token.Connection) { c.Algorithm = "HS256" },
		} {
			conn := token.NewConnection("default")
			change(&conn)
			if _, err := w.root.SetConnection(background, conn); !errors.Is(err, token.ErrUsage) {
				w.Errorf("%s, set: %v", what, err)
			}
			if conn.Name == "default" {
				conn.Name = "crm"
			}
			if _, err := w.root.AddConnection(background, conn); !errors.Is(err, token.ErrUsage) {
				w.Errorf("%s, added: %v", what, err)
			}
		}
	})
}

func deleteConnection(w *world) {
	_, err := w.root.AddConnection(background, token.NewConnection("crm"))
	w.must(err)
	spec := lasting(refresh(), time.Hour)
	spec.Connection = "crm"
	suspended := w.generate(w.alice, spec)
	w.wait(time.Second)
	expiring := w.generate(w.bob, spec)
	w.must(w.root.Suspend(background, refs(suspended), time.Time{}))
	refused := func(id token.ID) {
		w.Helper()
		err := w.root.DeleteConnection(background, "crm")
		w.fails(err, token.ErrConflict)
		if err == nil || !strings.Contains(err.Error(), id.String()) {
			w.Errorf("the conflict does not name %s: %v", id, err)
		}
	}
	refused(suspended.Token.ID)
	w.must(w.root.Revoke(background, refs(suspended), ""))
	refused(expiring.Token.ID)
	w.until(expiring.Token.ExpiresAt)
	w.must(w.root.DeleteConnection(background, "crm"))
	_, err = w.root.Connection(background, "crm")
	w.fails(err, token.ErrNotFound)
	_, err = w.alice.Generate(background, spec)
	w.fails(err, token.ErrNotFound)
}

func setPolicy(w *world) {
	before, err := w.root.Policy(background)
	w.must(err)
	got, err := w.root.SetPolicy(background, map[string]string{"user_token_lifetime": "30d", "issuer": "https://x.example.org", "refresh_token_lifetime": "2d", "refresh_token_max_lifetime": "3d"})
	w.must(err)
	want := before
	want.UserTokenLifetime, want.Issuer, want.RefreshTokenLifetime, want.RefreshTokenMaxLifetime = 30*token.Day, "https://x.example.org", 2*token.Day, 3*token.Day
	want.Revision++
	w.equal("what SetPolicy gives", got, want)
	for what, settings := range map[string]map[string]string{
		"an unknown setting":         {"user_token_lifetime": "1d", "colour": "red"},
		"a bad value":                {"user_token_lifetime": "1d", "retention": "0"},
		"an endless refresh token":   {"user_token_lifetime": "1d", "refresh_token_lifetime": "unlimited"},
		"a default over the maximum": {"user_token_lifetime": "1d", "refresh_token_lifetime": "4d"},
		"a maximum under it":         {"refresh_token_max_lifetime": "1d"},
		"an issuer with a query":     {"issuer": "https://x.example.org?y"},
	} {
		if _, err := w.root.SetPolicy(background, settings); !errors.Is(err, token.ErrUsage) {
			w.Errorf("%s: %v", what, err)
		}
		if kept, err := w.root.Policy(background); err != nil || !cmp.Equal(kept, want) {
			w.Errorf("%s: %s, %v", what, cmp.Diff(want, kept), err)
		}
	}
}
