package authoritytest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var services = []rule{
	{"A service is kept as it was given", addService},
	{"A change of a service holds for what was seen, and the log says whether it is on", setService},
	{"A service that makes no sense changes nothing", serviceNonsense},
	{"A service stays while it has live tokens", deleteService},
	{"Who may see a token may ask how far other systems have been told", deliveryRights},
}

// addService makes a service that is on.
func (w *world) addService(name string, t token.TokenType) token.ServiceConfig {
	w.Helper()
	svc := token.NewService(name)
	svc.Enabled, svc.TokenType = true, t
	got, err := w.root.AddService(background, svc)
	w.must(err)
	return got
}

func (w *world) setService(name string, change func(*token.ServiceConfig)) {
	w.Helper()
	svc, err := w.root.Service(background, name)
	w.must(err)
	change(&svc)
	_, err = w.root.SetService(background, svc)
	w.must(err)
}

func addService(w *world) {
	svc := token.ServiceConfig{Name: "imap", DisplayName: "Mail, über alles", Enabled: true, TokenType: token.Plain08, Realm: "corp"}
	got, err := w.admin.AddService(background, svc)
	w.must(err)
	svc.CreatedAt, svc.CreatedBy, svc.Revision = w.second(), local("admin"), 1
	w.equal("what AddService gives", got, svc)
	for _, s := range []authority.Service{w.root, w.bob} {
		kept, err := s.Service(background, "imap")
		w.must(err)
		w.equal("what is kept", kept, svc)
	}
	_, err = w.root.AddService(background, token.NewService("imap"))
	w.fails(err, token.ErrConflict)
	other, err := w.root.AddService(background, token.NewService("dav"))
	w.must(err)
	want := token.NewService("dav")
	want.CreatedAt, want.CreatedBy, want.Revision = w.second(), local("root"), 1
	w.equal("one with the defaults", other, want)
	var names []string
	for svc, err := range w.bob.ListServices(background) {
		w.must(err)
		names = append(names, svc.Name)
	}
	w.equal("the list", names, []string{"dav", "imap"})
	for _, name := range []string{"IMAP", "nowhere", ""} {
		_, err = w.root.Service(background, name)
		w.fails(err, token.ErrNotFound)
		w.fails(w.root.DeleteService(background, name), token.ErrNotFound)
	}
	_, err = w.root.SetService(background, token.NewService("nowhere"))
	w.fails(err, token.ErrNotFound)
}

func setService(w *world) {
	seen := w.addService("imap", token.Plain15)
	w.wait(time.Hour)
	changed := seen
	changed.DisplayName, changed.TokenType, changed.Realm = "Mail", token.Strong, "corp"
	changed.CreatedAt, changed.CreatedBy = w.now(), local("mallory") // which are not for setting
	got, err := w.admin.SetService(background, changed)
	w.must(err)
	want := seen
	want.DisplayName, want.TokenType, want.Realm, want.Revision = "Mail", token.Strong, "corp", 2
	w.equal("what SetService gives", got, want)
	kept, err := w.root.Service(background, "imap")
	w.must(err)
	w.equal("what is kept", kept, want)
	_, err = w.root.SetService(background, changed)
	w.fails(err, token.ErrConflict)
	changed.Revision = 0 // whatever it is now
	_, err = w.root.SetService(background, changed)
	w.must(err)
	turn := func(on bool) []string {
		return w.changes(func() { w.setService("imap", func(s *token.ServiceConfig) { s.Enabled = on }) })
	}
	w.equal("the log", slices.Concat(turn(true), turn(false), turn(false), turn(true)), []string{"service.set", "service.disable", "service.set", "service.enable"})
}

func serviceNonsense(w *world) {
	w.addService("imap", token.Strong)
	w.unchanged("a service that makes no sense", func() {
		for what, change := range map[string]func(*token.ServiceConfig){
			"no name":                         func(s *token.ServiceConfig) { s.Name = "" },
			"a name with a slash":             func(s *token.ServiceConfig) { s.Name = "a/b" },
			"a name like an id":               func(s *token.ServiceConfig) { s.Name = "0123456789abcdef" },
			"no token type":                   func(s *token.ServiceConfig) { s.TokenType = "" },
			"an unknown token type":           func(s *token.ServiceConfig) { s.TokenType = "plain16" },
			"no realm":                        func(s *token.ServiceConfig) { s.Realm = "" },
			"a bad realm":                     func(s *token.ServiceConfig) { s.Realm = "a b" },
			"a long display name":             func(s *token.ServiceConfig) { s.DisplayName = strings.Repeat("x", 1025) },
			"a provisioner that is no name":   func(s *token.ServiceConfig) { s.Provisioners = []string{"a b"} },
			"a provisioner twice":             func(s *token.ServiceConfig) { s.Provisioners = []string{"mail", "mail"} },
			"a provisioner that nobody knows": func(s *token.ServiceConfig) { s.Provisioners = []string{"mail"} },
		} {
			svc := token.NewService("imap")
			change(&svc)
			if _, err := w.root.SetService(background, svc); !errors.Is(err, token.ErrUsage) {
				w.Errorf("%s, set: %v", what, err)
			}
			if svc.Name == "imap" {
				svc.Name = "dav"
			}
			if _, err := w.root.AddService(background, svc); !errors.Is(err, token.ErrUsage) {
				w.Errorf("%s, added: %v", what, err)
			}
		}
	})
}

func deleteService(w *world) {
	w.addService("imap", token.Strong)
	suspended := w.generate(w.alice, lasting(at("imap"), time.Hour))
	w.wait(time.Second)
	expiring := w.generate(w.bob, lasting(at("imap"), time.Hour))
	w.must(w.root.Suspend(background, refs(suspended), time.Time{}))
	refused := func(id token.ID) {
		w.Helper()
		w.unchanged("a service with live tokens", func() {
			err := w.root.DeleteService(background, "imap")
			w.fails(err, token.ErrConflict)
			if err == nil || !strings.Contains(err.Error(), id.String()) {
				w.Errorf("the conflict does not name %s: %v", id, err)
			}
		})
	}
	refused(suspended.Token.ID)
	w.must(w.root.Revoke(background, refs(suspended), ""))
	refused(expiring.Token.ID)
	w.until(expiring.Token.ExpiresAt)
	w.equal("the log", w.changes(func() { w.must(w.root.DeleteService(background, "imap")) }), []string{"service.delete"})
	_, err := w.root.Service(background, "imap")
	w.fails(err, token.ErrNotFound)
	_, err = w.alice.Generate(background, at("imap"))
	w.fails(err, token.ErrNotFound)
}

// deliveryRights has no other systems to be told: whether they are is told
// beside each provisioner.
func deliveryRights(w *world) {
	callers := w.callers()
	for _, r := range []right{
		{"see all deliveries", "RAU", nil, func(w *world, s authority.Service, _ authority.Issued, _ string) error {
			return last(w, s.ListDeliveries(background, authority.DeliveryFilter{Service: "imap", Provisioner: "mail", Pending: true}))
		}},
		{"see alice's deliveries", "RAUar", nil, func(w *world, s authority.Service, _ authority.Issued, _ string) error {
			return last(w, s.ListDeliveries(background, authority.DeliveryFilter{Owner: local("alice")}))
		}},
		{"see a token's deliveries", "RAUar", nil, func(w *world, s authority.Service, t authority.Issued, _ string) error {
			return last(w, s.ListDeliveries(background, authority.DeliveryFilter{Token: t.Token.ID}))
		}},
		{"wait for a token's deliveries", "RAUar", nil, func(w *world, s authority.Service, t authority.Issued, _ string) error {
			pending, err := s.Deliver(background, t.Token.ID)
			w.equal("what is pending", len(pending), 0)
			return err
		}},
		{"retry deliveries", "RA", nil, func(w *world, s authority.Service, t authority.Issued, _ string) error {
			n, err := s.RetryDeliveries(background, authority.DeliveryFilter{Token: t.Token.ID, Owner: t.Token.Owner})
			w.equal("what is retried", n, 0)
			return err
		}},
	} {
		r.check(w, callers, "alice")
	}
}
