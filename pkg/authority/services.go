package authority

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func service(r store.Reader, name string) (token.ServiceConfig, error) {
	s, err := store.Services.Get(r, name)
	if errors.Is(err, store.ErrNotFound) {
		return s, token.Errorf(token.ErrNotFound, "there is no service %q", name).WithHint("tokenctl list --services shows them")
	}
	return s, err
}

// serviceText is what the audit log says of a service.
func serviceText(s *token.ServiceConfig) string {
	text := fmt.Sprintf("%s, realm %s", s.TokenType, s.Realm)
	if len(s.Provisioners) > 0 {
		text += ", provisioners " + strings.Join(s.Provisioners, " ")
	}
	if s.Enabled {
		return "enabled, " + text
	}
	return "disabled, " + text
}

// checkService refuses a service that names what is not there.
func (s *session) checkService(svc *token.ServiceConfig) error {
	if err := svc.Check(); err != nil {
		return err
	}
	for _, name := range svc.Provisioners {
		if s.provisioners[name] == nil {
			return token.Errorf(token.ErrUsage, "there is no provisioner %q", name).WithHint("the config file names them, in the list provisioners")
		}
	}
	return nil
}

// AddService implements [Services].
func (s *session) AddService(ctx context.Context, svc token.ServiceConfig) (token.ServiceConfig, error) {
	if err := s.checkService(&svc); err != nil {
		return svc, err
	}
	err := s.once(ctx, func(c *change) (string, error) {
		if err := c.by.needs(c, "add services", token.Admin); err != nil {
			return "", err
		}
		has, err := store.Services.Has(c, svc.Name)
		if err != nil {
			return "", err
		}
		if has {
			return "", token.Errorf(token.ErrConflict, "there is a service %q already", svc.Name).WithHint("change it: tokenctl admin service set %s", svc.Name)
		}
		svc.CreatedAt, svc.CreatedBy, svc.Revision = c.now, c.by.caller.Owner, 1
		c.note(audit.Entry{Action: "service.add", Object: svc.Name, Detail: serviceText(&svc)})
		return "", store.Services.Put(c, svc)
	}, func(c *change, _ string) (err error) {
		c.note(audit.Entry{Action: "service.add", Object: svc.Name, Detail: replayed})
		svc, err = store.Services.Get(c, svc.Name)
		return goneSince(err)
	})
	return svc, err
}

// Service implements [Services].
func (s *session) Service(ctx context.Context, name string) (svc token.ServiceConfig, err error) {
	err = s.view(ctx, func(r store.Reader) (err error) {
		svc, err = service(r, name)
		return err
	})
	return svc, err
}

// ListServices implements [Services].
func (s *session) ListServices(ctx context.Context) iter.Seq2[token.ServiceConfig, error] {
	return func(yield func(token.ServiceConfig, error) bool) {
		if err := s.view(ctx, func(store.Reader) error { return nil }); err != nil {
			yield(token.ServiceConfig{}, err)
			return
		}
		store.Services.Pages(ctx, s.store)(yield)
	}
}

// SetService implements [Services].
func (s *session) SetService(ctx context.Context, svc token.ServiceConfig) (token.ServiceConfig, error) {
	if err := svc.Check(); err != nil {
		return svc, err
	}
	var now token.ServiceConfig
	err := s.update(ctx, func(c *change) error {
		if err := c.by.needs(c, "change services", token.Admin); err != nil {
			return err
		}
		was, err := service(c, svc.Name)
		if err != nil {
			return err
		}
		if svc.Revision != 0 && svc.Revision != was.Revision {
			return token.Errorf(token.ErrConflict, "the service %q has changed meanwhile", svc.Name).WithHint("look again: tokenctl admin service show %s", svc.Name)
		}
		// One that is there no more may stay, to be disabled with.
		if !slices.Equal(svc.Provisioners, was.Provisioners) {
			if err := s.checkService(&svc); err != nil {
				return err
			}
		}
		now = svc // fn may run again: the request stays as it is
		now.CreatedAt, now.CreatedBy, now.Revision = was.CreatedAt, was.CreatedBy, was.Revision+1
		action := "service.set"
		switch {
		case now.Enabled && !was.Enabled:
			action = "service.enable"
		case !now.Enabled && was.Enabled:
			action = "service.disable"
		}
		c.note(audit.Entry{Action: action, Object: now.Name, Detail: serviceText(&now)})
		if now.Enabled != was.Enabled || !slices.Equal(now.Provisioners, was.Provisioners) {
			if err := provision.ReconcileService(c, now.Name); err != nil {
				return err
			}
		}
		return store.Services.Put(c, now)
	})
	return now, err
}

// DeleteService implements [Services].
func (s *session) DeleteService(ctx context.Context, name string) error {
	err := s.view(ctx, func(r store.Reader) error {
		if err := s.needs(r, "delete services", token.Admin); err != nil {
			return err
		}
		_, err := service(r, name)
		return err
	})
	if err != nil {
		return err
	}
	// A token that is generated after this look finds no service at its use.
	for t, err := range s.List(ctx, token.Selector{Kind: token.Service, Service: name}) {
		if err != nil {
			return err
		}
		return token.Errorf(token.ErrConflict, "the service %q has live tokens, %s among them", name, t.ID).
			WithHint("revoke them first: tokenctl revoke --all-owners --service %s", name)
	}
	return s.update(ctx, func(c *change) error {
		if err := c.by.needs(c, "delete services", token.Admin); err != nil {
			return err
		}
		if _, err := service(c, name); err != nil {
			return err
		}
		c.note(audit.Entry{Action: "service.delete", Object: name})
		if err := provision.ReconcileService(c, name); err != nil {
			return err
		}
		return store.Services.Delete(c, name)
	})
}
