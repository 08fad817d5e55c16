package authority

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Policy implements [Settings].
func (s *session) Policy(ctx context.Context) (p token.Policy, err error) {
	err = s.view(ctx, func(r store.Reader) (err error) {
		p, err = policy(r)
		return err
	})
	return p, err
}

// SetPolicy implements [Settings].
func (s *session) SetPolicy(ctx context.Context, settings map[string]string) (p token.Policy, err error) {
	err = s.update(ctx, func(c *change) error {
		if err := c.by.needs(c, "change the policy", token.Admin); err != nil {
			return err
		}
		var err error
		if p, err = policy(c); err != nil {
			return err
		}
		var detail []string
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			if err := p.Set(name, settings[name]); err != nil {
				return err
			}
			detail = append(detail, fmt.Sprintf("%s=%s", name, settings[name]))
		}
		if err := p.Check(); err != nil {
			return err
		}
		for other, err := range store.Providers.Scan(c) {
			if err != nil {
				return err
			}
			if other.Issuer == p.Issuer {
				return token.Errorf(token.ErrConflict, "the issuer %s is that of the identity provider %q", p.Issuer, other.Name)
			}
		}
		p.LongestAccessLifetime = max(p.LongestAccessLifetime, p.AccessTokenMaxLifetime)
		p.Revision++
		c.note(audit.Entry{Action: "policy.set", Detail: strings.Join(detail, " ")})
		return store.Policies.Put(c, p)
	})
	return p, err
}

// WhoAmI implements [Settings].
func (s *session) WhoAmI(ctx context.Context) (id token.Identity, err error) {
	err = s.view(ctx, func(r store.Reader) (err error) {
		id = token.Identity{Owner: s.caller.Owner}
		id.Roles, err = s.rights(r)
		return err
	})
	return id, err
}
