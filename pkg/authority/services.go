package authority

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var services = named[token.ServiceConfig]{
	table: store.Services, article: "a", what: "service", action: "service",
	command: "tokenctl admin service", list: "tokenctl list --services",
	head: func(s *token.ServiceConfig) head {
		return head{s.Name, !s.Enabled, &s.CreatedAt, &s.CreatedBy, &s.Revision}
	},
	text:  serviceText,
	shown: asItIs[token.ServiceConfig],
}

func serviceText(s, _ *token.ServiceConfig) string {
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
	return services.add(ctx, s, svc, func(*change, *token.ServiceConfig) error { return nil })
}

// Service implements [Services].
func (s *session) Service(ctx context.Context, name string) (token.ServiceConfig, error) {
	return services.get(ctx, s, name)
}

// ListServices implements [Services].
func (s *session) ListServices(ctx context.Context) iter.Seq2[token.ServiceConfig, error] {
	return services.all(ctx, s)
}

// SetService implements [Services].
func (s *session) SetService(ctx context.Context, svc token.ServiceConfig) (token.ServiceConfig, error) {
	if err := svc.Check(); err != nil {
		return svc, err
	}
	return services.set(ctx, s, svc, func(c *change, now, was *token.ServiceConfig) error {
		others := !slices.Equal(now.Provisioners, was.Provisioners)
		// One that is there no more may stay, to be disabled with.
		if others {
			if err := s.checkService(now); err != nil {
				return err
			}
		}
		if others || now.Enabled != was.Enabled {
			return provision.ReconcileService(c, now.Name)
		}
		return nil
	})
}

// DeleteService implements [Services].
func (s *session) DeleteService(ctx context.Context, name string) error {
	if err := services.mayRemove(ctx, s, name); err != nil {
		return err
	}
	// A token that is generated after this look finds no service at its use.
	live, err := s.anyLive(ctx, token.Selector{Kind: token.Service, Service: name})
	if err != nil {
		return err
	}
	if live != nil {
		return token.Errorf(token.ErrConflict, "the service %q has live tokens, %s among them", name, live.ID).
			WithHint("revoke them first: tokenctl revoke --all-owners --service %s", name)
	}
	return services.remove(ctx, s, name, func(c *change) error { return provision.ReconcileService(c, name) })
}
